"""What the store's tests share: a clock that stands still, counted ids, small records, raw looks into the file."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bot.domain.attempt import Attempt, AttemptPhase, Worker, WorkerKind
from bot.domain.intents import Intent, IntentSource
from bot.domain.model import (
    AttemptId,
    InstallationId,
    IssueKey,
    Item,
    ItemState,
    Person,
    PullLink,
    RepoId,
    RepoKey,
    ThoughtRef,
)
from bot.domain.repository import RepoRecord
from bot.store.engine import SqlStore, open_store
from bot.store.migrate import prepare

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
REPO = RepoKey(InstallationId(1), RepoId(10))
OTHER_TENANT = RepoKey(InstallationId(2), RepoId(10))
ISSUE = IssueKey(REPO.installation, REPO.repo, 7)
ALICE = Person(100, "alice")


class StillClock:
    """Moves only when told to."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def advance(self, by: timedelta) -> None:
        self.at += by


class CountedIds:
    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def new(self, prefix: str) -> str:
        return f"{prefix}{next(self._numbers)}"


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def template_in(folder: Path) -> Path:
    """A migrated, empty database to copy: copying is ten times as quick as migrating."""
    template = folder / "template.db"
    prepare(url_of(template), StillClock())
    return template


def copy_template(template: Path, path: Path) -> None:
    """The file a fresh database would be, its mode included."""
    shutil.copyfile(template, path)
    path.chmod(0o600)


def fresh_store(
    path: Path,
    clock: StillClock,
    *,
    before_commit: Callable[[], None] | None = None,
    after_commit: Callable[[], None] | None = None,
) -> SqlStore:
    """A migrated, open store on the file."""
    prepare(url_of(path), clock)
    return open_store(url_of(path), clock, CountedIds(), before_commit=before_commit, after_commit=after_commit)


def fail(error: BaseException) -> None:
    """What a router tells its errors in tests that expect none."""
    raise AssertionError("the router met an error") from error


def ask(path: Path, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Rows of a query on the file, past the store."""
    with closing(sqlite3.connect(path)) as driver:
        return driver.execute(sql, parameters).fetchall()


def tell(path: Path, sql: str) -> None:
    """A statement on the file, past the store."""
    with closing(sqlite3.connect(path, isolation_level=None)) as driver:
        driver.execute(sql)


def a_repo(key: RepoKey = REPO, name: str = "octo/widgets") -> RepoRecord:
    return RepoRecord(key=key, full_name=name, owner_id=5, default_branch="main", private=False)


def an_item(key: IssueKey = ISSUE, *, thought: str | None = None, pull: PullLink | None = None) -> Item:
    ref = None if thought is None else ThoughtRef(thought, "c" * 40, "p" * 40, "r" * 40)
    return Item(
        key=key,
        node_id=f"I_{key.number}",
        title="Add a door",
        state=ItemState.READY,
        since=START,
        thought=ref,
        pull=pull,
    )


def a_pull(number: int = 70, *, sha: str = "a" * 40, branch: str = "tgs/7-add-a-door") -> PullLink:
    return PullLink(number=number, node_id="PR_1", branch=branch, head_sha=sha, fence=1, opened_at=START)


def an_attempt(id_: str = "att_1", key: IssueKey = ISSUE, *, fence: int = 1, run_id: int | None = None) -> Attempt:
    return Attempt(
        id=AttemptId(id_),
        key=key,
        number=fence,
        fence=fence,
        phase=AttemptPhase.CLAIMED,
        worker=Worker(WorkerKind.ACTIONS, "run"),
        branch="tgs/7-add-a-door",
        claimed_at=START,
        run_id=run_id,
    )


def an_intent(id_: str = "comment:1:0", key: IssueKey = ISSUE, *, at: datetime = START, verb: str = "start") -> Intent:
    source, number, _ = id_.split(":")
    return Intent(
        id=id_,
        key=key,
        source=IntentSource(source),
        verb=verb,
        args=(),
        actor=ALICE,
        created_at=at,
        comment_id=int(number),
    )
