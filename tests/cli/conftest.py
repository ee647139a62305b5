"""The town of the command line tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("tests.cli.terminal")

from tests.cli.town import Town, new_town  # noqa: E402 - what is rewritten must not be imported before


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with new_town(tmp_path) as made:
        yield made
