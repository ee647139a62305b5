"""The rows behind the keyed queue: wanted and seen revisions, due times, back-off.

A row is due when `next_due_at` has come, or when the revisions differ and it has no due time. Nothing is changed when
a run begins, so a run that is cut off (crash, kill) is simply due again. A mark that arrives during a run leaves the
revisions different and the due time in the past: the key runs once more.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Protocol, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Executable,
    Insert,
    Select,
    String,
    Update,
    and_,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from bot.domain.model import IssueKey, Key
from bot.store.dialect import DIALECTS, Given, QuickRows, QuickSelect, driver_cursor, insert_for, insert_new
from bot.store.gathered import Gathered, Lot
from bot.store.tables import keys
from bot.store.types import UtcTime, from_micros, to_micros
from bot.store.verbs import Marked, Verbs

T = TypeVar("T")

CHUNK = 500
"""Keys named in one statement: well below what the databases allow."""

# An error's wording is a hint for the operator, not a log.
ERROR_LENGTH = 500


class LedgerStore(Protocol):
    """The part of the store that runs units with the queue's own verbs."""

    async def write(self, unit: Callable[[KeyVerbs], T]) -> T: ...
    async def read(self, unit: Callable[[KeyVerbs], T]) -> T: ...


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key as the queue needs it. `wanted` is the revision a run that begins now will have seen."""

    key: str
    wanted: int
    seen: int
    next_due_at: datetime | None
    priority: int
    attempts: int
    epoch: int = 0

    def due(self, now: datetime) -> bool:
        return self.wanted != self.seen if self.next_due_at is None else self.next_due_at <= now


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that succeeded: it began at the wanted revision `rev`; the next one is at `later`, if at any time."""

    key: str
    rev: int
    later: datetime | None


def _mark_statement(insert: sqlite.Insert | postgresql.Insert) -> Executable:
    fresh = insert.values(wanted_rev=1, seen_rev=0, attempts=0)
    return fresh.on_conflict_do_update(index_elements=["key"], set_=_raised(insert))


def _raised(insert: sqlite.Insert | postgresql.Insert) -> dict[str, ColumnElement[Any]]:
    """What becomes of a key that is there."""
    new = insert.excluded
    return {
        "wanted_rev": keys.c.wanted_rev + literal_column("1"),
        "next_due_at": case((keys.c.next_due_at <= new.next_due_at, keys.c.next_due_at), else_=new.next_due_at),
        "priority": case((keys.c.priority >= new.priority, keys.c.priority), else_=new.priority),
    }


# Marking is part of almost every transaction; a statement that is built once costs a sixth of one built each time.
_MARK = {"sqlite": _mark_statement(sqlite.insert(keys)), "postgresql": _mark_statement(postgresql.insert(keys))}


def mark_key(connection: Connection, key: str, priority: int, at: datetime) -> None:
    """Raises the wanted revision; the due time becomes `at` unless it is sooner already."""
    connection.execute(_MARK[connection.dialect.name], {"key": key, "next_due_at": at, "priority": priority})


def _mark_all(name: str) -> QuickRows:
    """As `_MARK`, for all keys that are given; their rows."""
    return QuickRows(name, {"key": String(), "next_due_at": BigInteger()}, partial(_mark_given, name))


def _mark_given(name: str, given: Given) -> Insert:
    counted: tuple[ColumnElement[Any], ...] = (
        literal_column("0").label("priority"),
        literal_column("1"),
        literal_column("0"),
        literal_column("0"),
    )
    rows = select(given["key"], given["next_due_at"], *counted).select_from(given.rows).where(true())
    columns = ("key", "next_due_at", "priority", "wanted_rev", "seen_rev", "attempts")
    insert = insert_for(DIALECTS[name], keys).from_select(columns, rows)
    marked = insert.on_conflict_do_update(index_elements=["key"], set_=_raised(insert))
    return marked.returning(*COLUMNS)


def _touch_all(name: str) -> QuickRows:
    """As `_TOUCH`, for all keys that are given, each with the same time."""
    return QuickRows(name, {"key": String(), "at": BigInteger()}, _touch_given)


def _touch_given(given: Given) -> Update:
    at = select(func.max(given["at"])).select_from(given.rows).scalar_subquery()
    touched = keys.c.key.in_(select(given["key"]).select_from(given.rows))
    return update(keys).where(touched).values(touched_at=at)


COLUMNS = (
    keys.c.key,
    keys.c.wanted_rev,
    keys.c.seen_rev,
    keys.c.next_due_at,
    keys.c.priority,
    keys.c.attempts,
    keys.c.epoch,
)
"""Those of a `KeyRow`, in its order."""


def row_of(row: Any) -> KeyRow:
    return KeyRow(
        key=row.key,
        wanted=row.wanted_rev,
        seen=row.seen_rev,
        next_due_at=row.next_due_at,
        priority=row.priority,
        attempts=row.attempts,
        epoch=row.epoch,
    )


def _plain_row(row: Sequence[Any] | None) -> KeyRow | None:
    """Of the driver's values of `COLUMNS`."""
    if row is None:
        return None
    key, wanted, seen, due, priority, attempts, epoch = row
    return KeyRow(key, wanted, seen, None if due is None else from_micros(due), priority, attempts, epoch)


def _rows_due(*, everything: bool) -> Select[Any]:
    pending = and_(keys.c.wanted_rev != keys.c.seen_rev, keys.c.next_due_at.is_(None))
    timed = keys.c.next_due_at.is_not(None) if everything else keys.c.next_due_at <= bindparam("until", type_=UtcTime)
    return select(keys).where(or_(pending, timed)).order_by(keys.c.key)


def _finish_all(name: str) -> QuickRows:
    """The runs that are given are over: of each its key, the revision it began at, and the next time or none."""
    return QuickRows(name, {"of": String(), "rev": BigInteger(), "later": BigInteger()}, _finish_given)


def _finish_given(given: Given) -> Update:
    ended = select(*given.columns.values()).select_from(given.rows).subquery("ended")
    rev, later = ended.c.rev, ended.c.later
    marked_meanwhile = keys.c.wanted_rev > rev
    sooner = case((or_(later.is_(None), keys.c.next_due_at <= later), keys.c.next_due_at), else_=later)
    return (
        update(keys)
        .where(keys.c.key == ended.c.of)
        .values(
            seen_rev=case((keys.c.seen_rev < rev, rev), else_=keys.c.seen_rev),
            next_due_at=case((marked_meanwhile, sooner), else_=later),
            priority=case((marked_meanwhile, keys.c.priority), else_=0),
            attempts=0,
            last_error=None,
        )
        .returning(*COLUMNS)
    )


def _some_rows(name: str) -> QuickRows:
    """The rows of the keys that are given."""
    return QuickRows(name, {"key": String()}, _given_rows)


def _given_rows(given: Given) -> Select[Any]:
    names = select(given["key"]).select_from(given.rows)
    return select(*COLUMNS).where(keys.c.key.in_(names))


# Every run of a key ends with one of these, and the queue looks at the rows twice a minute.
_ALL_ROWS, _DUE_ROWS = _rows_due(everything=True), _rows_due(everything=False)
_SOME_ROWS, _SOME_DUE_ROWS = _ALL_ROWS.limit(bindparam("most")), _DUE_ROWS.limit(bindparam("most"))
_SOONEST = select(func.min(keys.c.next_due_at))

_ROW = select(*COLUMNS).where(keys.c.key == bindparam("name"))
_TOUCHED = select(keys.c.touched_at).where(keys.c.key == bindparam("name"))
_TOUCH = update(keys).where(keys.c.key == bindparam("name")).values(touched_at=bindparam("now", type_=UtcTime))
_AT_REST = select(keys.c.key).where(
    keys.c.key.in_(bindparam("names", expanding=True)),
    keys.c.touched_at < bindparam("since", type_=UtcTime),
    keys.c.wanted_rev == keys.c.seen_rev,
)
_EPOCH = select(keys.c.epoch).where(keys.c.key == bindparam("name"))
_BEGIN = (
    update(keys)
    .where(keys.c.key == bindparam("of"))
    .values(
        epoch=keys.c.epoch + 1,
        ran_by=bindparam("process"),
        touched_at=case(
            # Nobody ran it yet: there is nothing of which this process could not know.
            (and_(keys.c.ran_by.is_not(None), keys.c.ran_by != bindparam("process")), bindparam("now", type_=UtcTime)),
            else_=keys.c.touched_at,
        ),
    )
    .returning(*keys.c)
)


class _Statements:
    """What is said for each delivery and each run, for one kind of database (`sqlite` or `postgresql`)."""

    def __init__(self, name: str) -> None:
        self.row = QuickSelect(_ROW, name)
        self.rows = _some_rows(name)
        self.finish_all = _finish_all(name)
        self.mark_all = _mark_all(name)
        self.touch_all = _touch_all(name)


@lru_cache(maxsize=2)
def _statements(name: str) -> _Statements:
    return _Statements(name)


class KeyVerbs(Verbs):
    """The verb of `bot.protocols.ledger.Ledger` about the queue, and those that only the queue's adapter uses."""

    def mark(self, key: Key, *, priority: int = 0, at: datetime | None = None) -> None:
        due = self.clock.now() if at is None else at
        self.mark_text(str(key), priority, due)

    def mark_all(self, found: Sequence[Key], touched: Collection[Key] = ()) -> None:
        """Marks keys, each once; at those that are `touched` GitHub may show something new."""
        now = self.clock.now()
        statements, cursor, at = (
            _statements(self.connection.dialect.name),
            driver_cursor(self.connection),
            to_micros(now),
        )
        rows = {row[0]: _plain_row(row) for row in statements.mark_all.all(cursor, [(str(key), at) for key in found])}
        statements.touch_all.run(cursor, [(str(key), at) for key in touched])
        self.marked += [Marked(name, 0, now, rows.get(name)) for name in map(str, found)]

    def mark_text(self, key: str, priority: int, due: datetime) -> None:
        mark_key(self.connection, key, priority, due)
        self.marked.append(Marked(key, priority, due))

    def touch(self, key: Key) -> None:
        """Marks the key and notes that GitHub may show something new there."""
        self.mark(key)
        self.connection.execute(_TOUCH, {"name": str(key), "now": self.clock.now()})

    def touched_at(self, key: Key) -> datetime | None:
        """When something outside last pointed at the key; None: never."""
        return self.connection.execute(_TOUCHED, {"name": str(key)}).scalar_one_or_none()

    def rest(self, key: Key, touched: datetime) -> None:
        """Notes of a key that nobody has marked yet that nothing is to be done, and when its issue changed last."""
        values = {"key": str(key), "wanted_rev": 0, "seen_rev": 0, "priority": 0, "attempts": 0, "touched_at": touched}
        insert_new(self.connection, keys, values)

    def at_rest_since(self, among: Collection[IssueKey], since: datetime) -> frozenset[IssueKey]:
        """Those of these at which nothing has pointed from then on, and nothing is to be done."""
        names = {str(key): key for key in among}
        found: set[IssueKey] = set()
        for start in range(0, len(names), CHUNK):
            values = {"names": list(names)[start : start + CHUNK], "since": since}
            found.update(names[name] for name in self.connection.execute(_AT_REST, values).scalars())
        return frozenset(found)

    def key_row(self, key: str) -> KeyRow | None:
        found = _statements(self.connection.dialect.name).row.all(driver_cursor(self.connection), {"name": key})
        return _plain_row(found[0]) if found else None

    def rows_of(self, names: Sequence[str]) -> list[KeyRow | None]:
        """The row of each key, None where there is none."""
        if len(names) == 1:
            return [self.key_row(names[0])]
        found = _statements(self.connection.dialect.name).rows.all(
            driver_cursor(self.connection), [(name,) for name in names]
        )
        rows = {row[0]: _plain_row(row) for row in found}
        return [rows.get(name) for name in names]

    def begin_run(self, key: str, process: str) -> KeyRow | None:
        """The row; if it is due, a run of it begins with an epoch of its own.

        When another process ran the key before, what this one remembers of it is void from now on: that one's writes
        on GitHub came to nobody's ears.
        """
        row = self.key_row(key)
        if row is None or not row.due(self.clock.now()):
            return row
        values = {"of": key, "process": process, "now": self.clock.now()}
        return row_of(self.connection.execute(_BEGIN, values).one())

    def epoch(self, key: str) -> int | None:
        """The epoch of the newest run of the key."""
        return self.connection.execute(_EPOCH, {"name": key}).scalar_one_or_none()

    def key_rows(self, until: datetime | None, limit: int | None = None) -> list[KeyRow]:
        """Rows that are due at `until`; with None all rows that have anything to do, now or later."""
        if limit is None:
            rows = self.connection.execute(_ALL_ROWS if until is None else _DUE_ROWS, {"until": until})
        else:
            some = _SOME_ROWS if until is None else _SOME_DUE_ROWS
            rows = self.connection.execute(some, {"until": until, "most": limit})
        return [row_of(row) for row in rows]

    def soonest_due(self) -> datetime | None:
        """The soonest time at which a key is due, past or future; None: no key has one."""
        return self.connection.execute(_SOONEST).scalar_one_or_none()

    def finish_key(self, key: str, rev: int, next_due_at: datetime | None) -> KeyRow | None:
        """A run that began at `rev` is done. Marked meanwhile: the sooner due time stays, so it runs once more."""
        return self.finish_keys([Ended(key, rev, next_due_at)])[0]

    def finish_keys(self, ended: Sequence[Ended]) -> list[KeyRow | None]:
        """As `finish_key` for runs of several keys, each named once; the rows in their order."""
        found = _statements(self.connection.dialect.name).finish_all.all(
            driver_cursor(self.connection),
            [(one.key, one.rev, None if one.later is None else to_micros(one.later)) for one in ended],
        )
        rows = {row[0]: _plain_row(row) for row in found}
        return [rows.get(one.key) for one in ended]

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

    def oldest_due(self) -> datetime | None:
        """Since when the key that has waited longest is due, as far as it is due now; None: nothing waits."""
        query = select(func.min(keys.c.next_due_at)).where(keys.c.next_due_at <= literal(self.clock.now(), UtcTime))
        return self.connection.execute(query).scalar_one_or_none()

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


class StoreKeyRows:
    """The queue's rows (`bot.queue.api.KeyRows`) on the store; beginnings and ends of runs share transactions with
    those that come meanwhile. The queue runs a key once at a time, so none is twice in one."""

    def __init__(self, store: LedgerStore) -> None:
        self._store = store
        self._begun: Gathered[str, KeyRow | None] = Gathered(self._begin_all)
        self._ended: Gathered[Ended, KeyRow | None] = Gathered(self._finish_all)

    async def mark(self, key: str, priority: int = 0, at: datetime | None = None) -> None:
        """Raises the wanted revision of a key given as text."""
        await self._store.write(
            lambda ledger: ledger.mark_text(key, priority, ledger.clock.now() if at is None else at)
        )

    async def begin(self, key: str) -> KeyRow | None:
        """The row as committed now."""
        return await self._begun.ask(key)

    async def _begin_all(self, lot: Lot[str, KeyRow | None]) -> Sequence[KeyRow | None]:
        return await self._store.read(lambda ledger: ledger.rows_of(lot.asked()))

    async def finish(self, key: str, rev: int, next_due_at: datetime | None) -> KeyRow | None:
        """Notes that everything up to `rev` was seen."""
        return await self._ended.ask(Ended(key, rev, next_due_at))

    async def _finish_all(self, lot: Lot[Ended, KeyRow | None]) -> Sequence[KeyRow | None]:
        return await self._store.write(lambda ledger: ledger.finish_keys(lot.asked()))

    async def fail(self, key: str, rev: int, error: str, retry_at: datetime) -> KeyRow | None:
        """Notes a failure and when to try again."""
        return await self._store.write(lambda ledger: ledger.fail_key(key, rev, error[:ERROR_LENGTH], retry_at))

    async def load(self, until: datetime | None) -> Sequence[KeyRow]:
        """Rows that are due at `until`, or all with something to do."""
        return await self._store.read(lambda ledger: ledger.key_rows(until))
