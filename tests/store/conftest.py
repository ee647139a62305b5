"""A migrated, open store for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.store.engine import SqliteStore
from tests.store.support import StillClock, a_repo, an_item, fresh_store


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tgs.db"


@pytest.fixture
async def store(path: Path, clock: StillClock) -> AsyncIterator[SqliteStore]:
    """Holds one repository with one item."""
    async with fresh_store(path, clock) as opened:
        await opened.write(lambda tx: tx.put_repo(a_repo()))
        await opened.write(lambda tx: tx.insert_item(an_item()))
        yield opened
