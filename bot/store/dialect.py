"""The few places where SQLite and PostgreSQL are spoken to differently: "insert unless there", "insert or change",
and statements prepared once for the hot path.

Both databases understand the SQL that comes out; SQLAlchemy only keeps the constructs in two modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

from sqlalchemy import Connection, Dialect, Select, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.sql.dml import Insert

from bot.store.tables import METADATA

Values = Mapping[str, Any]


class Cursor(Protocol):
    """What the hot path uses of a driver's cursor."""

    rowcount: int

    def execute(self, statement: str, parameters: Any, /) -> object: ...
    def executemany(self, statement: str, parameters: Any, /, **how: Any) -> object: ...
    def fetchone(self) -> Any: ...
    def nextset(self) -> Any: ...
    def fetchall(self) -> Any: ...


def insert_for(dialect: Dialect, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that can be told what to do on a conflict."""
    if dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


# Built once, values beside the statement: SQLAlchemy then finds the compiled text at a third of the price.
_INSERT_NEW: Mapping[tuple[str, str], Insert] = {
    **{("sqlite", table.name): sqlite.insert(table).on_conflict_do_nothing() for table in METADATA.sorted_tables},
    **{
        ("postgresql", table.name): postgresql.insert(table).on_conflict_do_nothing()
        for table in METADATA.sorted_tables
    },
}


def insert_new(connection: Connection, table: Table, values: Values) -> bool:
    """Inserts a row; False when any unique index has it already. Never raises for a duplicate.

    Unlike a caught constraint error this leaves a PostgreSQL transaction usable.
    """
    return connection.execute(_INSERT_NEW[connection.dialect.name, table.name], dict(values)).rowcount == 1


AnyInsert = sqlite.Insert | postgresql.Insert


def inserts(table: Table, made: Callable[[AnyInsert], Insert]) -> Mapping[str, Insert]:
    """An INSERT that says what to do on a conflict, by the name of the dialect.

    To be made once: whatever is made for each execution is understood anew by SQLAlchemy each time.
    """
    return {"sqlite": made(sqlite.insert(table)), "postgresql": made(postgresql.insert(table))}


_DIALECTS: Mapping[str, Dialect] = {
    "sqlite": make_url("sqlite://").get_dialect()(),
    "postgresql": make_url("postgresql+psycopg://").get_dialect()(),
}
"""How statements are written before there is a connection."""


class _Quick:
    """A statement compiled once for a dialect and run on the driver's cursor: about a tenth of the usual price.

    Values are given as the driver stores them (times as microseconds, records as JSON text); nothing is converted.
    """

    def __init__(self, statement: Insert | Select[Any], dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect)
        self._sql = str(compiled)
        self._names: tuple[str, ...] | None = tuple(compiled.positiontup or ()) if compiled.positional else None
        self._constants = dict(compiled.params)

    def _bind(self, values: Values) -> object:
        given = {**self._constants, **values}
        return given if self._names is None else tuple(given[name] for name in self._names)


class QuickSelect(_Quick):
    """A SELECT run so; rows come as the driver has them."""

    def __init__(self, statement: Select[Any], name: str) -> None:
        super().__init__(statement, _DIALECTS[name])

    def all(self, cursor: Cursor, values: Values) -> Sequence[tuple[Any, ...]]:
        cursor.execute(self._sql, self._bind(values))
        return cast("Sequence[tuple[Any, ...]]", cursor.fetchall())


class QuickInsert(_Quick):
    """An INSERT run so."""

    def run(self, cursor: Cursor, values: Values) -> int:
        """Runs it once; the number of rows that were written."""
        cursor.execute(self._sql, self._bind(values))
        return cursor.rowcount

    def many(self, cursor: Cursor, rows: Sequence[Values]) -> None:
        """Runs it for each row, in their order. A server gets all of them at once, not one after the other's answer."""
        if rows:
            cursor.executemany(self._sql, [self._bind(values) for values in rows])

    def each(self, cursor: Cursor, rows: Sequence[Values]) -> list[tuple[Any, ...] | None]:
        """As `many`; what each returned, None where nothing was written."""
        if self._names is not None or len(rows) == 1:
            return [self.one(cursor, values) for values in rows]
        found: list[tuple[Any, ...] | None] = []
        cursor.executemany(self._sql, [self._bind(values) for values in rows], returning=True)
        while True:
            found.append(cast("tuple[Any, ...] | None", cursor.fetchone()))
            if not cursor.nextset():
                return found

    def one(self, cursor: Cursor, values: Values) -> tuple[Any, ...] | None:
        """Runs it once; the row it returned, None when nothing was written."""
        cursor.execute(self._sql, self._bind(values))
        return cast("tuple[Any, ...] | None", cursor.fetchone())


def driver_cursor(connection: Connection) -> Cursor:
    """A cursor of the driver inside the connection's running transaction."""
    return cast("Cursor", connection.connection.cursor())
