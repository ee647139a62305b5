"""Claude Code itself, against a scripted model on loopback. `make test-agent` installs it and runs these tests.

Without the program they are skipped, unless `TGS_REQUIRE_AGENT=1` says that a skipped test counts as failed.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.worker.adapters.claude_code import find_program
from bot.worker.isolation import OtherUid, SameUser
from bot.worker.workspace import create, fill
from tests.agent.desk import Desk
from tests.agent.required import pytest_runtest_makereport
from tests.worker.support import Origin, context, make_origin

__all__ = ["pytest_runtest_makereport"]


@pytest.fixture(scope="session", autouse=True)
def _program() -> None:
    if find_program() is None:
        pytest.skip("Claude Code is not installed (`make test-agent` installs it)")


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return make_origin(tmp_path / "hub")


@pytest.fixture
async def desk(origin: Origin, tmp_path: Path) -> AsyncIterator[Desk]:
    """A workspace of an agent that is another user where this machine can do that."""
    launcher = OtherUid(str(tmp_path)) if os.geteuid() == 0 else SameUser()
    place = create()
    try:
        await fill(place, context(origin), origin.source, launcher)
        yield Desk(origin, place, launcher)
    finally:
        await launcher.remove(place.root)
