"""A bench for each test: a queue on a migrated store."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.queue.bench import Bench
from tests.store.support import StillClock, copy_template, fresh_store, template_in


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "q.db"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template_in(tmp_path_factory.mktemp("template"))


@pytest.fixture
async def bench(path: Path, template: Path) -> AsyncIterator[Bench]:
    copy_template(template, path)
    clock = StillClock()
    async with fresh_store(path, clock) as store:
        yield Bench(store, clock)
