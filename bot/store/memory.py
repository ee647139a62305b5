"""The ledger in memory and in the caller's thread, for the simulation: the real schema, the real verbs, no file.

One per real process, to be emptied between histories, so that what SQLAlchemy compiled serves all of them. Every change
of a row is noted by triggers as the database itself saw it, so that whoever judges the bot by it does not ask the bot.
Nothing in it survives; a bot that serves people never opens it.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

from alembic import command
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import StaticPool

from bot.protocols.clock import Clock
from bot.store.dialect import insert_new
from bot.store.keyrows import KeyRow
from bot.store.ledger import SqlLedger
from bot.store.migrate import config_for
from bot.store.quick import quick
from bot.store.tables import meta

T = TypeVar("T")

WATCHED = ("attempts", "deliveries", "events", "intents", "items", "locks", "spending")
"""Tables whose changes are told row by row."""

ROW_OF = {"attempts": "number", "conversations": "number", "intents": "number", "items": "number", "keys": "key",
          "outbox": "number"}  # fmt: skip
"""The column by which reads of a table are mostly narrowed."""

READS: dict[str, tuple[tuple[str, ...], str]] = {
    "attempt": (("attempts",), ""),
    "attempts_since": (("attempts",), ""),
    "bookmark": (("meta",), ""),
    "carried": (("carried",), ""),
    "cost": (("spending",), ""),
    "incident_issue": (("incidents",), ""),
    "incidents": (("incidents",), ""),
    "questions": (("questions",), ""),
    "spent_on": (("spending",), ""),
    "spent_on_waiting": (("spending", "items"), ""),
    "steers": (("steers",), ""),
    "unheard": (("steers",), ""),
    "waiting_questions": (("questions", "items"), ""),
    "attempts": (("attempts",), "number"),
    "count_dispatches": (("attempts",), ""),
    "has_replied": (("replies",), ""),
    "intent": (("intents",), ""),
    "item": (("items",), "number"),
    "item_of_pull": (("items",), ""),
    "item_of_thought": (("items",), ""),
    "items": (("items",), ""),
    "items_of_thoughts": (("items",), ""),
    "key_row": (("keys",), "key"),
    "last_attempt": (("attempts",), "number"),
    "live_attempt": (("attempts",), "number"),
    "live_attempts": (("attempts",), ""),
    "live_attempts_of": (("attempts",), ""),
    "locks": (("locks",), ""),
    "messages_with_comments": (("messages",), ""),
    "mirrored": (("conversations",), "number"),
    "open_intents": (("intents",), "number"),
    "outbox": (("outbox",), ""),
    "planned": (("outbox",), ""),
    "queue_rows": (("items",), ""),
    "repo": (("repos",), ""),
    "repos_at_work": (("attempts",), ""),
    "spent_since": (("spending",), ""),
    "turn_last_done": (("turns",), ""),
    "count_in_review": (("items",), ""),
    "count_mirrored": (("items",), ""),
    "epoch": (("keys",), "key"),
    "soonest_due": (("keys",), ""),
    "unsettled": (("items",), ""),
    "repos": (("repos",), ""),
    "session_of": (("sessions",), ""),
    "sessions": (("sessions",), ""),
    "thought_blobs": (("thought_blobs",), ""),
    "token": (("tokens",), ""),
    "touched_at": (("keys",), "key"),
    "unsaid": (("outbox",), "number"),
    "worker_token": (("worker_tokens",), ""),
    "worker_token_by_id": (("worker_tokens",), ""),
    "worker_tokens": (("worker_tokens",), ""),
    "workers": (("workers",), ""),
}
"""Verbs that are asked again and again: the tables they read, and the column that narrows them (empty: none)."""


STATEMENTS_KEPT = 1_000
"""More than a history says to the database: with its triggers, a statement costs more to understand than to run."""


SEEDED = frozenset({"meta"})
"""Tables that an empty database has rows in."""


@dataclass(frozen=True, slots=True)
class Change:
    """One row as it was and as it is, by column; None: it was not there, or is gone."""

    table: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


def _open() -> sqlite3.Connection:
    driver = sqlite3.connect(
        ":memory:", isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS_KEPT
    )
    driver.execute("PRAGMA foreign_keys=ON")
    return driver


def _sqlalchemy(driver: sqlite3.Connection) -> Connection:
    engine = create_engine(
        "sqlite://",
        creator=lambda: driver,
        poolclass=StaticPool,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        hide_parameters=True,
        query_cache_size=2_000,
    )
    return engine.connect()


@cache
def _migrated() -> tuple[sqlite3.Connection, dict[str, tuple[str, ...]]]:
    """An empty ledger with the triggers, made by the real migrations; and the columns of the watched tables."""
    driver = _open()
    connection = _sqlalchemy(driver)
    driver.execute("PRAGMA foreign_keys=OFF")
    command.upgrade(config_for(connection), "head")
    insert_new(connection, meta, {"name": "instance", "value": "db_in_memory"})
    columns: dict[str, tuple[str, ...]] = {}
    for table in sorted({table for tables, _ in READS.values() for table in tables} | set(WATCHED)):
        names = tuple(row[1] for row in driver.execute(f"PRAGMA table_info({table})"))
        told = names if table in WATCHED else tuple(name for name in names if name == ROW_OF.get(table))
        columns[table] = told
        for event, sides in (("INSERT", ("NEW",)), ("UPDATE", ("OLD", "NEW")), ("DELETE", ("OLD",))):
            values = ", ".join(f"{side}.{name}" for side in sides for name in told) or "NULL"
            driver.execute(
                f"CREATE TRIGGER watch_{table}_{event} AFTER {event} ON {table} "
                f"BEGIN SELECT watched('{table}', '{event}', {values}); END"
            )
    connection.close()
    return driver, columns


class _Memory:
    """What was read, as long as nothing of it was written since. The triggers say what was written, and when."""

    def __init__(self) -> None:
        self.versions: defaultdict[tuple[str, object], int] = defaultdict(int)
        self.known: dict[tuple[object, ...], tuple[int, Any]] = {}
        self.of_nothing: dict[str, Any] = {}
        """What verbs say, whatever they are asked, as long as nothing was ever written to what they read."""

    def clear(self) -> None:
        self.versions.clear()
        self.known.clear()

    def wrote(self, table: str, row: object) -> None:
        self.versions[table, ""] += 1
        self.versions[table, row] += 1


class QuickLedger(SqlLedger):
    """The verbs over one connection that nobody else writes to: what is asked again is answered from memory."""

    memory: _Memory

    def key_rows(self, until: datetime | None, limit: int | None = None) -> list[KeyRow]:
        """As the plain one, which is not asked while the soonest time of all is still to come."""
        if until is not None and ((soonest := self.soonest_due()) is None or soonest > until):
            return []
        return super().key_rows(until, limit)


def _remembering(name: str, tables: tuple[str, ...], column: str) -> Callable[..., Any]:
    plain = getattr(SqlLedger, name)
    seeded = not SEEDED.isdisjoint(tables)

    def look(self: QuickLedger, *args: Any, **more: Any) -> Any:
        memory = self.memory
        row: object = ""
        if column == "number":
            row = args[0].number
        elif column == "key":
            row = str(args[0])
        version = 0
        for table in tables:
            version += memory.versions[table, row]
        if not version and not seeded:
            if name not in memory.of_nothing:
                memory.of_nothing[name] = plain(self, *args, **more)
            return _own(memory.of_nothing[name])
        asked: tuple[object, ...] = (name, *args, *more.items()) if more else (name, *args)
        try:
            found = memory.known.get(asked)
        except TypeError:
            asked = (name, *map(_hashable, args), *((word, _hashable(value)) for word, value in more.items()))
            found = memory.known.get(asked)
        if found is None or found[0] != version:
            found = (version, plain(self, *args, **more))
            memory.known[asked] = found
        return _own(found[1])

    return look


def _own(value: Any) -> Any:
    """What the caller may change."""
    return list(value) if isinstance(value, list) else dict(value) if isinstance(value, dict) else value


def _hashable(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


for _name, (_tables, _column) in READS.items():
    setattr(QuickLedger, _name, _remembering(_name, _tables, _column))


class MemoryLedger:
    """`driver` is for raw looks; `run` is for units.

    All of a history is one transaction of SQLite, and a unit a savepoint in it: taking it all back is what empties the
    database, its schema included, and what SQLite has understood of the statements stays good.
    """

    def __init__(self) -> None:
        empty, self._columns = _migrated()
        self.driver = _open()
        self.driver.create_function("watched", -1, self._watched)
        self._connection = quick(_sqlalchemy(self.driver), self.driver, self._begin)
        empty.backup(self.driver)
        self.driver.execute("PRAGMA foreign_keys=ON")
        self._in_unit = False
        self._changes: list[Change] = []
        self._memory = _Memory()
        self.empty()

    def empty(self) -> None:
        """From here on it is a new database."""
        if self.driver.in_transaction:
            self.driver.execute("ROLLBACK")
        self.driver.execute("BEGIN")
        self._in_unit = False
        self._changes.clear()
        self._memory.clear()

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """What the tables hold, past all verbs."""
        cursor = self.driver.execute(query, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def run(
        self, unit: Callable[[SqlLedger], T], clock: Clock, *, write: bool
    ) -> tuple[T, SqlLedger, Sequence[Change]]:
        """The unit in one transaction: its value, the ledger it used, the rows it changed.

        Raises what the unit raises, and RuntimeError for one that writes while it should read; nothing is written then.
        """
        ledger = QuickLedger(self._connection, clock)
        ledger.memory = self._memory
        try:
            value = unit(ledger)
            self._may_have(write=write)
            return value, ledger, tuple(self._changes)
        except BaseException:
            if self._in_unit:
                self.driver.execute("ROLLBACK TO unit")
            self._memory.known.clear()
            raise
        finally:
            if self._in_unit:
                self._in_unit = False
                self.driver.execute("RELEASE unit")
            self._changes.clear()

    def _begin(self) -> None:
        """What the unit writes from here on is written together."""
        if not self._in_unit:
            self._in_unit = True
            self.driver.execute("SAVEPOINT unit")

    def _may_have(self, *, write: bool) -> None:
        if self._changes and not write:
            raise RuntimeError("a unit that was to read has written")

    def _watched(self, table: str, event: str, *values: Any) -> None:
        names = self._columns[table]
        if row := ROW_OF.get(table):
            place = names.index(row)
            self._memory.wrote(table, values[place])
            if event == "UPDATE":
                self._memory.wrote(table, values[place + len(names)])
        else:
            self._memory.wrote(table, None)
        if table not in WATCHED:
            return
        before = dict(zip(names, values, strict=False)) if event != "INSERT" else None
        after = dict(zip(names, values[-len(names) :], strict=True)) if event != "DELETE" else None
        if before != after:
            self._changes.append(Change(table, before, after))


@cache
def memory_ledger() -> MemoryLedger:
    """The one of this process."""
    return MemoryLedger()
