"""The town of the command line tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cli.town import Town, new_town


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with new_town(tmp_path) as made:
        yield made
