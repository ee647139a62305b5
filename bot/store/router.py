"""Turns committed deliveries into keys to look at again.

One transaction per batch: touches are resolved to keys by joins, the keys' wanted revisions raised, the deliveries
marked routed. A crash before the commit leaves them unrouted, and they are routed at the next start; after it, the
keys' rows say what is due. What a touch points at and nobody owns resolves to nothing.

A quick run can complete before its id is stored: its touch then finds no attempt here, and the attempt finds the
touch when it learns its run id (`bot.store.attempts`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Integer,
    Select,
    String,
    Table,
    and_,
    bindparam,
    exists,
    null,
    select,
    union,
    update,
)
from sqlalchemy.types import TypeEngine

from bot.domain.intake import TouchKind
from bot.domain.model import InstallationId, IssueKey, Key, RepoId, RepoKey
from bot.store.attempts import LIVE, RUN_COMPLETED
from bot.store.dialect import Cursor, Given, QuickRows, QuickSelect, QuickWrite, driver_cursor
from bot.store.ledger import SqlLedger, Writes
from bot.store.seen import read_seen, see
from bot.store.tables import attempts, deliveries, intents, items, repos
from bot.store.touched import Pointed, read_touches
from bot.store.types import OneOf, UtcTime, to_micros

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


_POINTED: Mapping[str, TypeEngine[Any]] = {
    "kind": OneOf(TouchKind),
    "installation": BigInteger(),
    "repo": BigInteger(),
    "number": BigInteger(),
    "value": String(),
}
"""The types of what `Pointed` holds, in its order."""


def _pointed(given: Given) -> CTE:
    """What touches point at, as rows given to a statement."""
    return select(*given.columns.values()).select_from(given.rows).cte("pointed")


def _to_items(pointed: CTE, table: Table, kind: TouchKind, *match: ColumnElement[bool]) -> Select[Any]:
    """What is pointed at by a kind, joined to the rows of a table that holds an item's key."""
    same_repo = and_(table.c.installation == pointed.c.installation, table.c.repo == pointed.c.repo)
    return (
        select(pointed.c.kind, table.c.installation, table.c.repo, table.c.number)
        .join_from(pointed, table, and_(same_repo, *match))
        .where(pointed.c.kind == kind)
    )


def _issue_keys(given: Given) -> CompoundSelect[Any]:
    """The items that are pointed at, each with the kind of touch that led there."""
    pointed = _pointed(given)
    number, value = pointed.c.number, pointed.c.value
    return union(
        _to_items(pointed, items, TouchKind.ISSUE, items.c.number == number),
        _to_items(pointed, attempts, TouchKind.RUN, attempts.c.run_id == number),
        _to_items(pointed, attempts, TouchKind.HEAD, attempts.c.head_sha == value, LIVE),
        _to_items(pointed, items, TouchKind.HEAD, items.c.pull_head_sha == value),
        _to_items(pointed, items, TouchKind.PULL, items.c.pull_number == number),
        _to_items(pointed, items, TouchKind.BRANCH, items.c.pull_branch == value),
        _to_items(pointed, attempts, TouchKind.BRANCH, attempts.c.branch == value),
    )


def _repo_keys(given: Given) -> CompoundSelect[Any]:
    """The repositories that are pointed at. Two lookups and not one with "or", which would read all repositories of the
    installation for each touch."""
    pointed = _pointed(given)
    keys, of_installation = (repos.c.installation, repos.c.repo), repos.c.installation == pointed.c.installation
    itself = (
        select(*keys)
        .join_from(pointed, repos, and_(of_installation, repos.c.repo == pointed.c.repo))
        .where(pointed.c.kind == TouchKind.REPO)
    )
    all_of_them = (
        select(*keys).join_from(pointed, repos, of_installation).where(pointed.c.kind == TouchKind.INSTALLATION)
    )
    return union(itself, all_of_them)


def _unrouted() -> Select[Any]:
    """The first deliveries to route with what they point at, and whether people ask for something with them; in the
    order of their numbers."""
    waiting = (
        select(deliveries.c.id, deliveries.c.touches, deliveries.c.seen)
        .where(deliveries.c.routed_at.is_(None))
        .order_by(deliveries.c.id)
        .limit(bindparam("limit", type_=Integer))
        .subquery("waiting")
    )
    asked = exists().where(intents.c.delivery == waiting.c.id)
    return select(waiting.c.id, asked, waiting.c.touches, waiting.c.seen).order_by(waiting.c.id)


# The deliveries of a batch are all from the first to the last of them: what comes in between is routed already, and to
# look at something twice changes nothing. Statements are built once and run on the driver's cursor.
_FIRST, _LAST = bindparam("first", type_=BigInteger), bindparam("last", type_=BigInteger)
_ASKED = select(intents.c.installation, intents.c.repo, intents.c.number).where(
    intents.c.delivery.between(_FIRST, _LAST)
)
_ROUTED = (
    update(deliveries)
    .where(deliveries.c.id.between(_FIRST, _LAST), deliveries.c.routed_at.is_(None))
    .values(routed_at=bindparam("now", type_=UtcTime), seen=null())
)


class _Statements:
    """The above for one kind of database (`sqlite` or `postgresql`)."""

    def __init__(self, name: str) -> None:
        self.unrouted = QuickSelect(_unrouted(), name)
        self.repo_keys = QuickRows(name, _POINTED, _repo_keys)
        self.issue_keys = QuickRows(name, _POINTED, _issue_keys)
        self.asked = QuickSelect(_ASKED, name)
        self.routed = QuickWrite(_ROUTED, name)


@lru_cache(maxsize=2)
def _statements(name: str) -> _Statements:
    return _Statements(name)


def _issue_key(row: Sequence[Any]) -> IssueKey:
    installation, repo, number = row
    return IssueKey(InstallationId(installation), RepoId(repo), number)


def _note_completed_run(ledger: SqlLedger, run: Pointed) -> None:
    """Leaves the word on a live attempt whose run completed; a decision made without it is then refused as stale."""
    ledger.connection.execute(
        update(attempts)
        .where(
            attempts.c.installation == run.installation,
            attempts.c.repo == run.repo,
            attempts.c.run_id == run.number,
            attempts.c.run_hint.is_distinct_from(RUN_COMPLETED),
            LIVE,
        )
        .values(run_hint=RUN_COMPLETED, revision=attempts.c.revision + 1)
    )


def route_batch(ledger: SqlLedger, limit: int = BATCH) -> tuple[int, list[Key]]:
    """Routes up to `limit` deliveries in the running transaction: how many, and the keys that were marked."""
    name = ledger.connection.dialect.name
    statements, cursor = _statements(name), driver_cursor(ledger.connection)
    batch = statements.unrouted.all(cursor, {"limit": limit})
    if not batch:
        return 0, []
    ends = {"first": batch[0][0], "last": batch[-1][0]}
    asked: set[IssueKey] = set()
    if any(by_people for _, by_people, _, _ in batch):
        asked = {_issue_key(row) for row in statements.asked.all(cursor, ends)}
    said = [one for *_, seen in batch for one in read_seen(seen)]
    see(cursor, name, said)
    touched = [told for _, _, touches, _ in batch for told in read_touches(touches)]
    found = mark_pointed(ledger, touched, asked, {(one.installation, one.repo) for one in said})
    statements.routed.many(cursor, [{**ends, "now": to_micros(ledger.clock.now())}])
    return len(batch), found


def mark_pointed(
    ledger: SqlLedger,
    touched: Iterable[tuple[Pointed, str]],
    asked: Collection[IssueKey],
    known: Collection[tuple[int, int]] = (),
) -> list[Key]:
    """Marks in the running transaction what deliveries point at, and the issues on which people ask for something.
    Of the repositories that are `known` to be there nobody has to be asked."""
    statements, cursor = _statements(ledger.connection.dialect.name), driver_cursor(ledger.connection)
    said = dict.fromkeys(touched)
    issues, shown = _issues(statements, cursor, said)
    issues |= set(asked)
    for pointed, hint in said:
        if (pointed.kind, hint) == (TouchKind.RUN, RUN_COMPLETED) and pointed.number is not None:
            _note_completed_run(ledger, pointed)
        if hint == TALK and (issue := pointed.issue) is not None:
            ledger.set_mirrored(issue, -1)
    found: list[Key] = [*_repos(statements, cursor, said, known), *sorted(issues, key=_place)]
    ledger.mark_all(found, touched=[key for key in found if key in shown])
    return found


def _issues(
    statements: _Statements, cursor: Cursor, said: Collection[tuple[Pointed, str]]
) -> tuple[set[IssueKey], set[IssueKey]]:
    """The items that are pointed at, and the issues of which something new is shown, themselves or by their pull
    request: what was read of those is void. An issue that is no item yet counts as well: it may have been read for a
    command just before it was labelled."""
    shown = {issue for pointed, _ in said if (issue := pointed.issue) is not None}
    found = {issue for pointed, hint in said if hint == TRACK and (issue := pointed.issue) is not None}
    to_find = {pointed for pointed, _ in said if pointed.kind not in _OF_REPOS and pointed.issue not in found}
    for kind, *place in statements.issue_keys.all(cursor, list(to_find)):
        found.add(_issue_key(place))
        if kind == TouchKind.PULL:
            shown.add(_issue_key(place))
    return found, shown


def _repos(
    statements: _Statements, cursor: Cursor, said: Iterable[tuple[Pointed, str]], known: Collection[tuple[int, int]]
) -> list[RepoKey]:
    """The repositories that are pointed at, in the order of their numbers."""
    found: set[tuple[int, int]] = set()
    to_find: list[Pointed] = []
    for pointed in {pointed for pointed, _ in said if pointed.kind in _OF_REPOS}:
        if pointed.repo is not None and (place := (pointed.installation, pointed.repo)) in known:
            found.add(place)
        else:
            to_find.append(pointed)
    found.update(tuple(row) for row in statements.repo_keys.all(cursor, to_find))
    return [RepoKey(InstallationId(installation), RepoId(repo)) for installation, repo in sorted(found)]


def _place(key: IssueKey) -> tuple[int, int, int]:
    return key.installation, key.repo, key.number


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
