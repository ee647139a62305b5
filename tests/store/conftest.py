"""A migrated, open store for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.store.engine import SqlStore
from tests.store.support import StillClock, a_repo, an_item, copy_template, fresh_store, template_in


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tgs.db"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template_in(tmp_path_factory.mktemp("template"))


@pytest.fixture
async def store(path: Path, clock: StillClock, template: Path) -> AsyncIterator[SqlStore]:
    """Holds one repository with one item."""
    copy_template(template, path)
    async with fresh_store(path, clock) as opened:
        await opened.write(lambda tx: tx.put_repo(a_repo()))
        await opened.write(lambda tx: tx.insert_item(an_item()))
        yield opened
