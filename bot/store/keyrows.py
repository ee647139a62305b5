"""The rows behind the keyed queue: wanted and seen revisions, due times, back-off.

A row is due when `next_due_at` has come, or when the revisions differ and it has no due time. Nothing is changed when
a run begins, so a run that is cut off (crash, kill) is simply due again. A mark that arrives during a run leaves the
revisions different and the due time in the past: the key runs once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, case, func, literal, or_, select, update

from bot.domain.model import Key
from bot.store.dialect import insert_for
from bot.store.tables import keys
from bot.store.types import UtcTime
from bot.store.verbs import Marked, Verbs


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key as the queue needs it. `wanted` is the revision a run that begins now will have seen."""

    key: str
    wanted: int
    seen: int
    next_due_at: datetime | None
    priority: int
    attempts: int


def mark_key(connection: Connection, key: str, priority: int, at: datetime) -> None:
    """Raises the wanted revision; the due time becomes `at` unless it is sooner already."""
    statement = insert_for(connection.dialect, keys).values(
        key=key, wanted_rev=1, seen_rev=0, next_due_at=at, priority=priority, attempts=0
    )
    new = statement.excluded
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["key"],
            set_={
                "wanted_rev": keys.c.wanted_rev + 1,
                "next_due_at": case((keys.c.next_due_at <= new.next_due_at, keys.c.next_due_at), else_=new.next_due_at),
                "priority": case((keys.c.priority >= new.priority, keys.c.priority), else_=new.priority),
            },
        )
    )


def row_of(row: Any) -> KeyRow:
    return KeyRow(
        key=row.key,
        wanted=row.wanted_rev,
        seen=row.seen_rev,
        next_due_at=row.next_due_at,
        priority=row.priority,
        attempts=row.attempts,
    )


class KeyVerbs(Verbs):
    """The verb of `bot.protocols.Ledger` about the queue, and those that only the queue's adapter uses."""

    def mark(self, key: Key, *, priority: int = 0, at: datetime | None = None) -> None:
        due = self.clock.now() if at is None else at
        self.mark_text(str(key), priority, due)

    def mark_text(self, key: str, priority: int, due: datetime) -> None:
        mark_key(self.connection, key, priority, due)
        self.marked.append(Marked(key, priority, due))

    def key_row(self, key: str) -> KeyRow | None:
        row = self.connection.execute(select(keys).where(keys.c.key == key)).one_or_none()
        return None if row is None else row_of(row)

    def key_rows(self, until: datetime | None) -> list[KeyRow]:
        """Rows that are due at `until`; with None all rows that have anything to do, now or later."""
        pending = and_(keys.c.wanted_rev != keys.c.seen_rev, keys.c.next_due_at.is_(None))
        timed = keys.c.next_due_at.is_not(None) if until is None else keys.c.next_due_at <= until
        query = select(keys).where(or_(pending, timed)).order_by(keys.c.key)
        return [row_of(row) for row in self.connection.execute(query)]

    def finish_key(self, key: str, rev: int, next_due_at: datetime | None) -> KeyRow | None:
        """A run that began at `rev` is done. Marked meanwhile: the sooner due time stays, so it runs once more."""
        later = literal(next_due_at, UtcTime)
        sooner = case((keys.c.next_due_at <= later, keys.c.next_due_at), else_=later)
        marked_meanwhile = keys.c.wanted_rev > rev
        statement = (
            update(keys)
            .where(keys.c.key == key)
            .values(
                seen_rev=case((keys.c.seen_rev < rev, rev), else_=keys.c.seen_rev),
                next_due_at=case(
                    (marked_meanwhile, keys.c.next_due_at if next_due_at is None else sooner), else_=later
                ),
                priority=case((marked_meanwhile, keys.c.priority), else_=0),
                attempts=0,
                last_error=None,
            )
            .returning(*keys.c)
        )
        row = self.connection.execute(statement).one_or_none()
        return None if row is None else row_of(row)

    def fail_key(self, key: str, rev: int, error: str, retry_at: datetime) -> KeyRow | None:
        """A run that began at `rev` failed: one more attempt, due at `retry_at` unless it was marked meanwhile."""
        statement = (
            update(keys)
            .where(keys.c.key == key)
            .values(
                next_due_at=case(
                    (and_(keys.c.wanted_rev > rev, keys.c.next_due_at <= retry_at), keys.c.next_due_at),
                    else_=literal(retry_at, UtcTime),
                ),
                attempts=keys.c.attempts + 1,
                last_error=error,
            )
            .returning(*keys.c)
        )
        row = self.connection.execute(statement).one_or_none()
        return None if row is None else row_of(row)

    def key_counts(self) -> Mapping[str, int]:
        """How many keys there are, wait for a run, and fail, for metrics."""
        row = self.connection.execute(
            select(
                func.count().label("keys"),
                func.coalesce(func.sum(case((keys.c.wanted_rev != keys.c.seen_rev, 1), else_=0)), 0).label("pending"),
                func.coalesce(func.sum(case((keys.c.attempts > 0, 1), else_=0)), 0).label("failing"),
            )
        ).one()
        return {"keys": row.keys, "pending": row.pending, "failing": row.failing}
