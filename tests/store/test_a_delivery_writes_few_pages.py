"""SQLite writes whole pages: of what a delivery and a look change, each page more is felt with every one of them.

Counted in the database's log, so it is the same on each machine; speed itself is for the benchmarks.
"""

from __future__ import annotations

import statistics
from pathlib import Path

from bot.domain.intake import Intake, SeenRepo, Touch, TouchKind
from bot.domain.model import RepoId, RepoKey
from bot.store.engine import SqlStore
from bot.store.inbox import SqlInbox
from bot.store.keyrows import StoreKeyRows
from tests.store.support import REPO

PAGE = 4096
FRAME = PAGE + 24
"""Bytes of a page in the log, with its head (https://www.sqlite.org/fileformat2.html, section 4.1)."""
SOME = 20
"""Now and then a page is full and split: the median is that of the others."""


def pages(path: Path) -> int:
    """Pages written since the log began; nobody brings them into the file before 64 commits."""
    return (path.parent / f"{path.name}-wal").stat().st_size // FRAME


def a_push(repo: RepoKey) -> Intake:
    """To the default branch: it says what the repository is called, and points at its thoughts."""
    seen = SeenRepo(repo, f"octo/widgets-{repo.repo}", 5, private=False, default_branch="main")
    return Intake(touches=(Touch(TouchKind.REPO, repo.installation, repo.repo, "", ""),), repos=(seen,))


async def pages_of_each(path: Path, inbox: SqlInbox, repos: list[RepoKey]) -> float:
    """Of a delivery for each of them, all alone."""
    written = []
    for number, repo in enumerate(repos):
        before = pages(path)
        assert await inbox.accept(f"{repo.repo}-{before}-{number}", "push", None, a_push(repo), None)
        written.append(pages(path) - before)
    return statistics.median(written)


async def test_a_delivery_of_a_new_repository_writes_six_pages_and_of_a_known_one_four(
    store: SqlStore, path: Path
) -> None:
    inbox = SqlInbox(store, nudge=lambda: None)
    repos = [RepoKey(REPO.installation, RepoId(1000 + number)) for number in range(SOME)]
    assert await pages_of_each(path, inbox, repos) == 6
    assert await pages_of_each(path, inbox, repos) == 4


async def test_the_end_of_a_look_writes_two_pages(store: SqlStore, path: Path) -> None:
    inbox, rows = SqlInbox(store, nudge=lambda: None), StoreKeyRows(store)
    repos = [RepoKey(REPO.installation, RepoId(1000 + number)) for number in range(SOME)]
    await pages_of_each(path, inbox, repos)
    written = []
    for repo in repos:
        row = await rows.begin(str(repo))
        assert row is not None
        before = pages(path)
        await rows.finish(row.key, row.wanted, None)
        written.append(pages(path) - before)
    assert statistics.median(written) == 2
