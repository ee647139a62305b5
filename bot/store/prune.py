"""What the ledger forgets, and when. Runs beside the bot in small units, so that intake never waits for it.

Promise: nothing goes that can still matter. What is not over (deliveries that were not routed, open commands, acts that
are planned, everything of items that have not ended) stays however old it is, and so do ids that keep something from
happening twice, for as long as it could be asked for again. An item itself is never removed: `bot/store/condense.py`
says what is left of it. The writer overwrites what it deletes.

What is old is looked for by a reader, page by page; the writer gets a list and looks at each once more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from sqlalchemy import ColumnElement, Delete, Table, Update, and_, delete, func, literal, or_, select, update

from bot.domain.attempt import AttemptPhase
from bot.domain.carried import KEEP_CARRIED
from bot.domain.intents import FORGOTTEN_AFTER
from bot.domain.model import TERMINAL_STATES, IssueKey
from bot.store.condense import condense, cut_repository, long_ended, repositories_with_history
from bot.store.engine import SqlStore
from bot.store.ledger import SqlLedger
from bot.store.since import first_since
from bot.store.tables import (
    attempts,
    bundles,
    carried,
    conversations,
    cuts,
    deliveries,
    events,
    incidents,
    installations,
    intents,
    items,
    jtis,
    keys,
    locks,
    logs,
    messages,
    outbox,
    questions,
    replies,
    repos,
    sessions,
    spending,
    steers,
    thought_blobs,
    tokens,
    worker_tokens,
    workers,
)
from bot.store.types import UtcTime

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Keep:
    """How long what is kept. The table in docs/operating.md says the same in words."""

    deliveries: timedelta = timedelta(days=7)
    """Of deliveries that were routed, their words included. GitHub delivers again for 3 days."""

    commands: timedelta = FORGOTTEN_AFTER + timedelta(days=1)
    """Of commands that were settled. A day longer than one that is found in a list counts as known."""

    acts: timedelta = timedelta(days=30)
    """Of acts that were done, after their item has ended. Nothing repeats an act of an attempt that is over."""

    history: timedelta | None = timedelta(days=400)
    """Of the details of items that have ended; None: for ever. A year and what it takes to look back at it."""

    removed: timedelta = timedelta(days=30)
    """Of everything of an App that was removed: it may be installed again without losing its history."""

    expired: timedelta = timedelta(days=1)
    """Of tokens after their end, so that a late call is told "expired" rather than "unknown"."""

    replies: timedelta = timedelta(days=1)
    """The longest window in which a reply to a reader is looked up is an hour."""

    logs: timedelta = timedelta(days=30)
    """Long enough to look into a failure after a holiday; the reason itself stays in the history."""

    sessions: timedelta = timedelta(days=7)
    """What a session did is in the history of its items; itself it is of no use to anybody."""

    workers: timedelta = timedelta(days=30)
    """Of workers that are gone, after their last sign of life."""


AS_USUAL = Keep()

CHUNK = 500
"""Rows in one unit: some milliseconds of the writer's time."""

HEAVY = 50
"""Deliveries in one unit: each takes kilobytes of text along."""

ITEMS = 1
"""Ended items in one unit: each is a dozen statements and its whole history."""

REST = 0.05
"""Seconds at most between two units. After each one the writer is left to the others for as long as it took."""

# Tables of a tenant in the order in which they can be emptied (who refers to a row goes before it).
_OF_TENANT: Sequence[Table] = (
    sessions,
    locks,
    spending,
    questions,
    steers,
    attempts,
    items,
    intents,
    outbox,
    replies,
    thought_blobs,
    messages,
    conversations,
    events,
    cuts,
    incidents,
    repos,
)


@dataclass(slots=True)
class Pruned:
    """How many rows went, by table; `bodies` are texts that went while their rows stayed."""

    rows: dict[str, int] = field(default_factory=dict)
    bodies: int = 0
    installations: int = 0

    def count(self, table: Table, rows: int) -> None:
        if rows:
            self.rows[table.name] = self.rows.get(table.name, 0) + rows

    def __bool__(self) -> bool:
        return bool(self.rows or self.bodies or self.installations)


async def _write(store: SqlStore, unit: Callable[[SqlLedger], T]) -> T:
    began = time.perf_counter()
    done = await store.write(unit)
    await asyncio.sleep(min(time.perf_counter() - began, REST))
    return done


async def prune(store: SqlStore, now: datetime, keep: Keep = AS_USUAL) -> Pruned:
    """Forgets what is old at `now`. Can be cut off and repeated at any point, by several processes at once."""
    pruned = Pruned()
    young = await store.read(lambda ledger: first_since(ledger.connection, now - keep.deliveries))
    # By its number it is found, by its own time it goes: a clock that was wrong for a while takes nothing with it.
    old = and_(deliveries.c.id < young, deliveries.c.received_at < literal(now - keep.deliveries, UtcTime))
    routed = and_(old, deliveries.c.routed_at.is_not(None))
    pruned.count(deliveries, await _forget(store, deliveries, deliveries.c.id, HEAVY, routed))
    for table, key, where in _simple(now, keep):
        pruned.count(table, await _forget(store, table, key, CHUNK, where))
    pruned.bodies = await _drop_bodies(store, old)
    while (count := await _write(store, lambda ledger: ledger.drop_carried(now - KEEP_CARRIED, CHUNK))) > 0:
        pruned.count(carried, count)
    answered = delete(replies).where(replies.c.at < now - keep.replies)
    pruned.count(replies, await _write(store, lambda ledger: ledger.connection.execute(answered).rowcount))
    if keep.history is not None:
        await _condense(store, now - keep.history, pruned)
    for table, key, where in _of_removed(now - keep.removed):
        pruned.count(table, await _forget(store, table, key, CHUNK, where))
    pruned.installations = await _write(store, lambda ledger: _purge_removed(ledger, now - keep.removed))
    return pruned


def _simple(now: datetime, keep: Keep) -> Sequence[tuple[Table, ColumnElement[object], ColumnElement[bool]]]:
    """What goes by its own age: the table, the column that names a row, and which."""

    def before(age: timedelta) -> ColumnElement[datetime]:
        return literal(now - age, UtcTime)

    found: list[tuple[Table, ColumnElement[object], ColumnElement[bool]]] = [
        (intents, intents.c.seq, and_(intents.c.created_at < before(keep.commands), intents.c.outcome.is_not(None))),
        (outbox, outbox.c.key, _spent_act(before(keep.acts))),
        (tokens, tokens.c.sha256, tokens.c.expires_at < before(keep.expired)),
        (jtis, jtis.c.jti, jtis.c.expires_at < before(keep.expired)),
        (logs, logs.c.attempt, logs.c.at < before(keep.logs)),
        (sessions, sessions.c.id, sessions.c.terminated_at < before(keep.sessions)),
        (workers, workers.c.id, _gone_worker(before(keep.workers))),
    ]
    if keep.history is not None:
        old = or_(worker_tokens.c.expires_at < before(keep.history), worker_tokens.c.revoked_at < before(keep.history))
        unused = ~select(workers.c.id).where(workers.c.token_id == worker_tokens.c.id).exists()
        found.append((worker_tokens, worker_tokens.c.id, and_(old, unused)))
    return found


def _of_removed(before: datetime) -> Sequence[tuple[Table, ColumnElement[object], ColumnElement[bool]]]:
    """The most of what removed installations have left; the rest goes in one unit."""
    removed = select(installations.c.installation).where(installations.c.removed_at < literal(before, UtcTime))
    return [
        (table, key, table.c.installation.in_(removed))
        for table, key in (
            (deliveries, deliveries.c.id),
            (messages, messages.c.id),
            (events, events.c.id),
            (outbox, outbox.c.key),
            (intents, intents.c.seq),
        )
    ]


def _spent_act(before: ColumnElement[datetime]) -> ColumnElement[bool]:
    """An act that was done for an item that has ended since long, or for an issue or pull request that is no item's.

    Issues that were opened (for a plan, a ticket, an incident, the set-up) are of no item and stay for ever: the same
    plan or ticket must never have two.
    """
    mine = and_(
        items.c.installation == outbox.c.installation,
        items.c.repo == outbox.c.repo,
        or_(items.c.number == outbox.c.number, items.c.pull_number == outbox.c.number),
    )
    needed = select(items.c.number).where(mine, or_(items.c.state.not_in(TERMINAL_STATES), items.c.since >= before))
    return and_(outbox.c.number.is_not(None), outbox.c.done_at < before, ~needed.exists())


def _gone_worker(before: ColumnElement[datetime]) -> ColumnElement[bool]:
    busy = select(attempts.c.id).where(attempts.c.worker_id == workers.c.id, attempts.c.phase != AttemptPhase.ENDED)
    return and_(
        workers.c.last_heartbeat_at < before,
        or_(workers.c.removed_at.is_(None), workers.c.removed_at < before),
        ~busy.exists(),
    )


def _changed(ledger: SqlLedger, some: Delete | Update) -> int:
    """Runs it; how many rows it changed."""
    return ledger.connection.execute(some).rowcount


async def _forget(
    store: SqlStore, table: Table, key: ColumnElement[object], limit: int, where: ColumnElement[bool]
) -> int:
    query = select(key).where(where).limit(limit)
    total = 0
    while found := await store.read(lambda ledger: list(ledger.connection.execute(query).scalars())):
        some = delete(table).where(key.in_(found), where)
        count = await _write(store, partial(_changed, some=some))
        total += count
        if len(found) < limit or not count:
            break
    return total


async def _drop_bodies(store: SqlStore, old: ColumnElement[bool]) -> int:
    """The words of webhooks that were never routed: the rows stay."""
    query = select(deliveries.c.id).where(old, deliveries.c.body.is_not(None)).order_by(deliveries.c.id).limit(HEAVY)
    total = 0
    while found := await store.read(lambda ledger: list(ledger.connection.execute(query).scalars())):
        some = update(deliveries).where(deliveries.c.id.in_(found)).values(body=None)
        total += await _write(store, partial(_changed, some=some))
    return total


async def _condense(store: SqlStore, before: datetime, pruned: Pruned) -> None:
    after: IssueKey | None = None
    while found := await store.read(partial(long_ended, before=before, after=after, limit=CHUNK)):
        for start in range(0, len(found), ITEMS):
            some = found[start : start + ITEMS]
            gone = await _write(store, partial(condense, keys=some, before=before))
            for table, count in gone.items():
                pruned.count(table, count)
        after = found[-1]
    for repo in await store.read(partial(repositories_with_history, before=before)):
        while gone := await _write(store, partial(cut_repository, key=repo, before=before)):
            for table, count in gone.items():
                pruned.count(table, count)


def _purge_removed(ledger: SqlLedger, before: datetime) -> int:
    """Everything of installations that were removed before then, the memory of the installation itself last."""
    query = select(installations.c.installation).where(installations.c.removed_at < before)
    found = list(ledger.connection.execute(query).scalars())
    for installation in found:
        of_attempts = select(attempts.c.id).where(attempts.c.installation == installation)
        for of_attempt in (tokens, bundles, logs, carried):
            ledger.connection.execute(delete(of_attempt).where(of_attempt.c.attempt.in_(of_attempts)))
        for table in _OF_TENANT:
            ledger.connection.execute(delete(table).where(table.c.installation == installation))
        for table in (workers, worker_tokens):
            ledger.connection.execute(delete(table).where(table.c.installation == installation))
        ledger.connection.execute(delete(deliveries).where(deliveries.c.installation == installation))
        for prefix in (f"repo/{installation}/", f"issue/{installation}/"):
            ledger.connection.execute(delete(keys).where(func.substr(keys.c.key, 1, len(prefix)) == prefix))
        ledger.connection.execute(delete(installations).where(installations.c.installation == installation))
    return len(found)
