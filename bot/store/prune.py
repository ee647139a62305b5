"""What the ledger forgets, and when. Runs beside the bot in small units, so that intake never waits for it.

Bodies of webhooks go after 7 days, routed deliveries after 30, everything of a removed installation after 30. Open
intents, planned acts and the history of living installations are never touched. The writer overwrites what it deletes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Table, delete, func, select, update

from bot.domain.carried import KEEP_CARRIED
from bot.store.engine import SqlStore
from bot.store.ledger import SqlLedger
from bot.store.tables import (
    attempts,
    bundles,
    carried,
    conversations,
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

# The text of a webhook is needed to look into a complaint, and is somebody's words: a week is enough.
KEEP_BODIES = timedelta(days=7)

# GitHub offers redelivery for 3 days; a delivery id older than this is never seen again.
KEEP_DELIVERIES = timedelta(days=30)

# An App that was removed by mistake can be installed again without losing its history.
KEEP_REMOVED = timedelta(days=30)

# Expired tokens are kept a day, so that a late call is told "expired" rather than "unknown".
KEEP_EXPIRED = timedelta(days=1)

# The longest window in which a reply to a reader is looked up is an hour.
KEEP_REPLIES = timedelta(days=1)

# Long enough to look into a failure after a holiday; the reason itself stays in the history.
KEEP_LOGS = timedelta(days=30)

# What a session did is in the history of its items; the session itself is of no use to anybody after a week.
KEEP_SESSIONS = timedelta(days=7)

# Rows per unit: a few milliseconds of the writer's time.
CHUNK = 500

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
    incidents,
    repos,
)


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many were forgotten."""

    bodies: int
    deliveries: int
    secrets: int
    replies: int
    installations: int


async def prune(store: SqlStore, now: datetime) -> Pruned:
    """Forgets what is old at `now`. Can be cut off and repeated at any point."""
    bodies = await _in_chunks(store, lambda ledger: _drop_bodies(ledger, now - KEEP_BODIES))
    old = deliveries.c.received_at < now - KEEP_DELIVERIES
    routed = await _in_chunks(
        store,
        lambda ledger: _delete_some(ledger, deliveries, deliveries.c.id, old, deliveries.c.routed_at.is_not(None)),
    )
    expired = now - KEEP_EXPIRED
    used = await _in_chunks(
        store, lambda ledger: _delete_some(ledger, tokens, tokens.c.sha256, tokens.c.expires_at < expired)
    )
    await _in_chunks(store, lambda ledger: _delete_some(ledger, logs, logs.c.attempt, logs.c.at < now - KEEP_LOGS))
    await _in_chunks(store, lambda ledger: ledger.drop_carried(now - KEEP_CARRIED, CHUNK))
    ended = sessions.c.terminated_at < now - KEEP_SESSIONS
    await _in_chunks(store, lambda ledger: _delete_some(ledger, sessions, sessions.c.id, ended))
    used += await _in_chunks(store, lambda ledger: _delete_some(ledger, jtis, jtis.c.jti, jtis.c.expires_at < expired))
    before = now - KEEP_REPLIES
    replied = await store.write(
        lambda ledger: ledger.connection.execute(delete(replies).where(replies.c.at < before)).rowcount
    )
    gone = await store.write(lambda ledger: _purge_removed(ledger, now - KEEP_REMOVED))
    return Pruned(bodies=bodies, deliveries=routed, secrets=used, replies=replied, installations=gone)


async def _in_chunks(store: SqlStore, unit: Callable[[SqlLedger], int]) -> int:
    total = 0
    while True:
        count = await store.write(unit)
        total += count
        if count < CHUNK:
            return total


def _drop_bodies(ledger: SqlLedger, before: datetime) -> int:
    some = (
        select(deliveries.c.id)
        .where(deliveries.c.received_at < before, deliveries.c.body.is_not(None))
        .order_by(deliveries.c.id)
        .limit(CHUNK)
    )
    found = list(ledger.connection.execute(some).scalars())
    ledger.connection.execute(update(deliveries).where(deliveries.c.id.in_(found)).values(body=None))
    return len(found)


def _delete_some(ledger: SqlLedger, table: Table, key: ColumnElement[Any], *where: ColumnElement[bool]) -> int:
    found = list(ledger.connection.execute(select(key).where(*where).limit(CHUNK)).scalars())
    ledger.connection.execute(delete(table).where(key.in_(found)))
    return len(found)


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
