"""The few places where SQLite and PostgreSQL are spoken to differently: "insert unless there", "insert or change",
and statements prepared once for the hot path.

Both databases understand the SQL that comes out; SQLAlchemy only keeps the constructs in two modules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import msgspec
from sqlalchemy import (
    JSON,
    ColumnElement,
    CompoundSelect,
    Connection,
    Dialect,
    FromClause,
    Select,
    Table,
    Text,
    Update,
    bindparam,
    func,
    literal_column,
    select,
)
from sqlalchemy import cast as cast_to
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.sql.dml import Insert
from sqlalchemy.types import TypeEngine

from bot.store.tables import METADATA

Values = Mapping[str, Any]


class Cursor(Protocol):
    """What the hot path uses of a driver's cursor."""

    def execute(self, statement: str, parameters: Any, /) -> object: ...
    def executemany(self, statement: str, parameters: Any, /) -> object: ...
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


def _dialect(url: str, style: str) -> Dialect:
    made: Any = make_url(url).get_dialect()
    return cast("Dialect", made(paramstyle=style))


DIALECTS: Mapping[str, Dialect] = {
    "sqlite": _dialect("sqlite://", "qmark"),
    "postgresql": _dialect("postgresql+psycopg://", "format"),
}
"""How statements are written before there is a connection: with values by their position."""


Statement = Insert | Update | Select[Any] | CompoundSelect[Any]


class _Quick:
    """A statement compiled once for a database and run on the driver's cursor: about a tenth of the usual price.

    Values are given as the driver stores them (times as microseconds, records as JSON text); nothing is converted.
    """

    def __init__(self, statement: Statement, name: str) -> None:
        compiled = statement.compile(dialect=DIALECTS[name])
        self._sql = str(compiled)
        self._names = tuple(compiled.positiontup or ())
        self._constants = dict(compiled.params)

    def execute(self, cursor: Cursor, values: Values) -> None:
        cursor.execute(self._sql, self._bind(values))

    def _bind(self, values: Values) -> object:
        given = {**self._constants, **values}
        return tuple(given[name] for name in self._names)


class QuickSelect(_Quick):
    """A SELECT run so; rows come as the driver has them."""

    def all(self, cursor: Cursor, values: Values) -> Sequence[tuple[Any, ...]]:
        self.execute(cursor, values)
        return cast("Sequence[tuple[Any, ...]]", cursor.fetchall())


class QuickWrite(_Quick):
    """An INSERT or UPDATE run so."""

    def many(self, cursor: Cursor, rows: Sequence[Values]) -> None:
        """Runs it for each row, in their order. A server gets all of them at once, not one after the other's answer."""
        if len(rows) == 1:
            # For the server's driver one of many is a pipeline of its own, which costs more than the statement.
            self.execute(cursor, rows[0])
        elif rows:
            cursor.executemany(self._sql, [self._bind(values) for values in rows])

    def one(self, cursor: Cursor, values: Values) -> tuple[Any, ...] | None:
        """Runs it once; what it returned of the one row that it wrote, None if there was none."""
        self.execute(cursor, values)
        found = cast("Sequence[tuple[Any, ...]]", cursor.fetchall())
        return found[0] if found else None


class Given:
    """Rows that a statement is given in place of a table.

    A single one is given by its values. Several are one JSON document, each a list of values: however many they are, it
    is one statement with one text and one parameter. Between two statements the thread of a file gives up the
    interpreter's lock, and getting it back from a busy event loop takes longer than writing a row.
    """

    def __init__(self, name: str, columns: Mapping[str, TypeEngine[Any]], *, single: bool = False) -> None:
        """`columns` are the names and types of the values, in their order; bytes are not among them."""
        self._on_server = name == "postgresql"
        self.rows: FromClause
        self.columns: Mapping[str, ColumnElement[Any]]
        if single:
            values = [
                cast_to(bindparam(_place(place), type_=of), of).label(column)
                for place, (column, of) in enumerate(columns.items())
            ]
            self.rows = select(*values).subquery("given")
            self.columns = {column: self.rows.c[column] for column in columns}
            return
        if self._on_server:
            self.rows = func.json_array_elements(bindparam("rows", type_=JSON)).table_valued("value", name="given")
        else:
            self.rows = func.json_each(bindparam("rows", type_=Text)).table_valued("value", name="given")
        self.columns = {
            column: cast_to(self._at(place), of).label(column) for place, (column, of) in enumerate(columns.items())
        }

    def _at(self, place: int) -> ColumnElement[Any]:
        """A value of the row. SQLite has the server's operator from 3.38 on only, and systems in use are older."""
        if self._on_server:
            return self.rows.c.value.op("->>")(literal_column(str(place)))
        return func.json_extract(self.rows.c.value, literal_column(f"'$[{place}]'"))

    def __getitem__(self, column: str) -> ColumnElement[Any]:
        return self.columns[column]


class QuickRows:
    """A statement about the rows that it is `Given`, compiled for one and for several."""

    def __init__(self, name: str, columns: Mapping[str, TypeEngine[Any]], about: Callable[[Given], Statement]) -> None:
        self._one = _Quick(about(Given(name, columns, single=True)), name)
        self._several = _Quick(about(Given(name, columns)), name)
        self._places = [_place(place) for place in range(len(columns))]

    def run(self, cursor: Cursor, rows: Sequence[Sequence[Any]]) -> None:
        if len(rows) == 1:
            self._one.execute(cursor, dict(zip(self._places, rows[0], strict=True)))
        elif rows:
            self._several.execute(cursor, {"rows": _json(rows)})

    def all(self, cursor: Cursor, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        """What it finds, in no order."""
        if not rows:
            return []
        self.run(cursor, rows)
        return cast("list[tuple[Any, ...]]", cursor.fetchall())


def _place(place: int) -> str:
    """The name of a value; those of columns are taken where a statement writes them."""
    return f"given_{place}"


def _json(rows: Sequence[Sequence[Any]]) -> str:
    return msgspec.json.encode(rows).decode()


def driver_cursor(connection: Connection) -> Cursor:
    """A cursor of the driver inside the connection's running transaction."""
    return cast("Cursor", connection.connection.cursor())
