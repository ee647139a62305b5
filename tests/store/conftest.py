"""A migrated, open store for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.store.engine import SqlStore
from bot.store.inbox import SqlInbox
from bot.store.migrate import prepare
from bot.store.router import Router
from tests.databases import PostgresqlServer
from tests.store.support import StillClock, a_repo, an_item, copy_template, fail, fresh_store, template_in, url_of


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


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty, migrated database of each kind."""
    if request.param == "SQLite":
        found = url_of(tmp_path / "tgs.db")
        prepare(found, StillClock())
        return found
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return server.fresh()


@pytest.fixture
def inbox(store: SqlStore) -> SqlInbox:
    return SqlInbox(store)


@pytest.fixture
def router(store: SqlStore) -> Router:
    return Router(store, fail)
