"""Turns committed deliveries into keys to look at again.

One transaction per batch: touches are resolved to keys by joins, the keys' wanted revisions raised, the deliveries
marked routed. A crash before the commit leaves them unrouted, and they are routed at the next start; after it, the
keys' rows say what is due. What a touch points at and nobody owns resolves to nothing.

A quick run can complete before its id is stored: its touch then finds no attempt here, and the attempt finds the
touch when it learns its run id (`bot.store.attempts`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Integer,
    Select,
    Table,
    and_,
    bindparam,
    exists,
    or_,
    select,
    union,
    update,
)

from bot.domain.intake import TouchKind
from bot.domain.model import InstallationId, IssueKey, Key, RepoId, RepoKey
from bot.store.attempts import LIVE, RUN_COMPLETED
from bot.store.dialect import QuickSelect, QuickWrite, driver_cursor
from bot.store.ledger import SqlLedger, Writes
from bot.store.tables import attempts, deliveries, intents, items, repos, touches
from bot.store.types import UtcTime, to_micros

# One transaction routes at most this many deliveries, so that a backlog never holds the writer for long.
BATCH = 256

# After a failed batch (a full disk, say): soon enough to go unnoticed, rare enough not to fill the log.
RETRY_SECONDS = 1.0

# The hint on an issue's touch which says that it may become an item (a label of ours, a new thought's issue).
TRACK = "track"

# The hint on an issue's touch which says that a comment was edited or deleted.
TALK = "talk"


# Touches that point at repositories; all others point at issues.
_OF_REPOS = frozenset({TouchKind.REPO, TouchKind.INSTALLATION})

# The deliveries of a batch are all from the first to the last of them: what comes in between is routed already, and to
# look at something twice changes nothing. The statements below are built once and run on the driver's cursor.
_FIRST, _LAST = bindparam("first", type_=BigInteger), bindparam("last", type_=BigInteger)
_BATCH = touches.c.delivery.between(_FIRST, _LAST)


def _to_items(table: Table, kind: TouchKind, *match: ColumnElement[bool]) -> Select[Any]:
    """Touches of a kind joined to the rows of a table that holds an item's key."""
    same_repo = and_(table.c.installation == touches.c.installation, table.c.repo == touches.c.repo)
    return (
        select(table.c.installation, table.c.repo, table.c.number)
        .join_from(touches, table, and_(same_repo, *match))
        .where(_BATCH, touches.c.kind == kind)
    )


def _issue_keys() -> CompoundSelect[Any]:
    """The items that the touches and intents of these deliveries point at, each once."""
    tracked = select(touches.c.installation, touches.c.repo, touches.c.number).where(
        _BATCH,
        touches.c.kind == TouchKind.ISSUE,
        touches.c.hint == TRACK,
        touches.c.repo.is_not(None),
        touches.c.number.is_not(None),
    )
    commanded = select(intents.c.installation, intents.c.repo, intents.c.number).where(
        intents.c.delivery.between(_FIRST, _LAST)
    )
    number, value = touches.c.number, touches.c.value
    return union(
        tracked,
        commanded,
        _to_items(items, TouchKind.ISSUE, items.c.number == number),
        _to_items(attempts, TouchKind.RUN, attempts.c.run_id == number),
        _to_items(attempts, TouchKind.HEAD, attempts.c.head_sha == value, LIVE),
        _to_items(items, TouchKind.HEAD, items.c.pull_head_sha == value),
        _to_items(items, TouchKind.PULL, items.c.pull_number == number),
        _to_items(items, TouchKind.BRANCH, items.c.pull_branch == value),
        _to_items(attempts, TouchKind.BRANCH, attempts.c.branch == value),
    )


def _repo_keys() -> Select[Any]:
    """The repositories that the touches of these deliveries point at."""
    pointed = or_(
        and_(touches.c.kind == TouchKind.REPO, repos.c.repo == touches.c.repo),
        touches.c.kind == TouchKind.INSTALLATION,
    )
    return (
        select(repos.c.installation, repos.c.repo)
        .join_from(touches, repos, and_(repos.c.installation == touches.c.installation, pointed))
        .where(_BATCH)
        .distinct()
        .order_by(repos.c.installation, repos.c.repo)
    )


def _completed_runs() -> Select[Any]:
    """The runs whose end these deliveries tell."""
    return (
        select(touches.c.installation, touches.c.repo, touches.c.number)
        .where(_BATCH, touches.c.kind == TouchKind.RUN, touches.c.hint == RUN_COMPLETED)
        .distinct()
    )


def _shown_keys() -> CompoundSelect[Any]:
    """The issues that these deliveries are about, themselves or by their pull request: what was read of them is void.

    An issue that is no item yet counts as well: it may have been read for a command just before it was labelled.
    """
    number = touches.c.number
    return union(
        select(touches.c.installation, touches.c.repo, number).where(
            _BATCH, touches.c.kind == TouchKind.ISSUE, touches.c.repo.is_not(None), number.is_not(None)
        ),
        _to_items(items, TouchKind.PULL, items.c.pull_number == number),
    )


_TALKED = (
    select(touches.c.installation, touches.c.repo, touches.c.number)
    .where(_BATCH, touches.c.kind == TouchKind.ISSUE, touches.c.hint == TALK)
    .distinct()
)


def _unrouted() -> Select[Any]:
    """The first deliveries to route: each with the kinds and hints of its touches, and whether people ask for something
    with it; in the order of their numbers."""
    waiting = (
        select(deliveries.c.id)
        .where(deliveries.c.routed_at.is_(None))
        .order_by(deliveries.c.id)
        .limit(bindparam("limit", type_=Integer))
        .subquery("waiting")
    )
    asked = exists().where(intents.c.delivery == waiting.c.id)
    return (
        select(waiting.c.id, touches.c.kind, touches.c.hint, asked)
        .outerjoin_from(waiting, touches, touches.c.delivery == waiting.c.id)
        .order_by(waiting.c.id)
    )


_ROUTED = (
    update(deliveries)
    .where(deliveries.c.id.between(_FIRST, _LAST), deliveries.c.routed_at.is_(None))
    .values(routed_at=bindparam("now", type_=UtcTime))
)


class _Statements:
    """The above for one kind of database (`sqlite` or `postgresql`)."""

    def __init__(self, name: str) -> None:
        self.unrouted = QuickSelect(_unrouted(), name)
        self.repo_keys = QuickSelect(_repo_keys(), name)
        self.issue_keys = QuickSelect(_issue_keys(), name)
        self.shown_keys = QuickSelect(_shown_keys(), name)
        self.completed_runs = QuickSelect(_completed_runs(), name)
        self.talked = QuickSelect(_TALKED, name)
        self.routed = QuickWrite(_ROUTED, name)


@lru_cache(maxsize=2)
def _statements(name: str) -> _Statements:
    return _Statements(name)


def _issue_key(row: Sequence[Any]) -> IssueKey:
    installation, repo, number = row
    return IssueKey(InstallationId(installation), RepoId(repo), number)


def _note_completed_runs(ledger: SqlLedger, runs: Sequence[Sequence[Any]]) -> None:
    """Leaves the word on live attempts whose run completed; a decision made without it is then refused as stale."""
    for installation, repo, run in runs:
        ledger.connection.execute(
            update(attempts)
            .where(
                attempts.c.installation == installation,
                attempts.c.repo == repo,
                attempts.c.run_id == run,
                attempts.c.run_hint.is_distinct_from(RUN_COMPLETED),
                LIVE,
            )
            .values(run_hint=RUN_COMPLETED, revision=attempts.c.revision + 1)
        )


def route_batch(ledger: SqlLedger, limit: int = BATCH) -> tuple[int, list[Key]]:
    """Routes up to `limit` deliveries in the running transaction: how many, and the keys that were marked."""
    statements, cursor = _statements(ledger.connection.dialect.name), driver_cursor(ledger.connection)
    batch = statements.unrouted.all(cursor, {"limit": limit})
    if not batch:
        return 0, []
    ends = {"first": batch[0][0], "last": batch[-1][0]}
    pointed = {(kind, hint) for _, kind, hint, _ in batch if kind is not None}
    found: list[Key] = []
    shown: set[IssueKey] = set()
    if any(kind in _OF_REPOS for kind, _ in pointed):
        found += [
            RepoKey(InstallationId(installation), RepoId(repo))
            for installation, repo in statements.repo_keys.all(cursor, ends)
        ]
    if any(kind not in _OF_REPOS for kind, _ in pointed) or any(asked for *_, asked in batch):
        found += [_issue_key(row) for row in sorted(statements.issue_keys.all(cursor, ends))]
        shown = {_issue_key(row) for row in statements.shown_keys.all(cursor, ends)}
    if (TouchKind.RUN, RUN_COMPLETED) in pointed:
        _note_completed_runs(ledger, statements.completed_runs.all(cursor, ends))
    if (TouchKind.ISSUE, TALK) in pointed:
        for row in statements.talked.all(cursor, ends):
            ledger.set_mirrored(_issue_key(row), -1)
    ledger.mark_all(found, touched=[key for key in found if key in shown])
    statements.routed.many(cursor, [{**ends, "now": to_micros(ledger.clock.now())}])
    return len({id_ for id_, *_ in batch}), found


class Router:
    """Routes what the inbox committed. `nudge` after a commit, `run` as a task; or `route` by hand in stepped tests."""

    def __init__(
        self,
        store: Writes,
        on_error: Callable[[BaseException], None],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._on_error = on_error
        self._sleep = sleep
        self._something = asyncio.Event()
        # At start there may be deliveries that an earlier process committed and did not route.
        self._something.set()

    def nudge(self) -> None:
        """There may be something to route."""
        self._something.set()

    async def route(self, limit: int = BATCH) -> list[Key]:
        """Routes up to `limit` deliveries; the keys that were marked."""
        _, found = await self._store.write(lambda ledger: route_batch(ledger, limit))
        return found

    async def route_all(self) -> list[Key]:
        """Routes until nothing is left; the keys in the order of their marking, repetitions included."""
        found: list[Key] = []
        while True:
            count, some = await self._store.write(route_batch)
            found += some
            if count < BATCH:
                return found

    async def route_new(self) -> list[Key]:
        """As `route_all`, but only if it was nudged since the last time. For tests that step."""
        if not self._something.is_set():
            return []
        self._something.clear()
        try:
            return await self.route_all()
        except BaseException:
            self._something.set()
            raise

    async def run(self) -> None:
        """Routes whenever nudged, until cancelled. Errors go to `on_error` and the batch is tried again."""
        while True:
            await self._something.wait()
            self._something.clear()
            try:
                await self.route_all()
            except Exception as error:  # noqa: BLE001 - handed to on_error; a router that dies loses every wake-up
                self._something.set()
                self._report(error)
                await self._sleep(RETRY_SECONDS)

    def _report(self, error: BaseException) -> None:
        try:
            self._on_error(error)
        except Exception as broken:  # noqa: BLE001 - a reporter that fails must not end the router; the loop logs it
            asyncio.get_running_loop().call_exception_handler(
                {"message": "the router's error reporter failed", "exception": broken}
            )
