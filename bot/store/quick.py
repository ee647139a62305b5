"""SQLAlchemy's statements straight on SQLite's cursor, for the simulation: the same SQL and values, less around.

Promise: a statement does and returns what it does on SQLAlchemy's own connection; what is out of the ordinary
(defaults made in Python, many rows at once, an error of the driver) is left to that connection. The text and the
conversion of values are SQLAlchemy's own (and nothing stays nothing, as all types of the schema have it); only the
objects around each single execution are left out. What is written together begins with the first statement that writes:
nobody else uses the database, so reads need no transaction.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Connection

Convert = Callable[[Any], Any] | None


class QuickResult:
    """What the ledger's verbs use of a result."""

    def __init__(self, rows: Sequence[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> list[Any]:
        return list(self._rows)

    def first(self) -> Any:
        return self._rows[0] if self._rows else None

    def one_or_none(self) -> Any:
        if len(self._rows) > 1:
            raise LookupError(f"{len(self._rows)} rows where one at most was expected")
        return self.first()

    def one(self) -> Any:
        if len(self._rows) != 1:
            raise LookupError(f"{len(self._rows)} rows where one was expected")
        return self._rows[0]

    def scalar_one_or_none(self) -> Any:
        row = self.one_or_none()
        return None if row is None else row[0]

    def scalar_one(self) -> Any:
        return self.one()[0]

    def scalar(self) -> Any:
        row = self.first()
        return None if row is None else row[0]

    def scalars(self) -> QuickResult:
        return QuickResult([row[0] for row in self._rows], self.rowcount)


Source = tuple[str | int | None, Any, int | None, Convert]
"""Where a value comes from: given by name, in the statement by place, or (None) always the same; which element of it,
if it is a list; and how it is converted."""


class _Prepared:
    """One text to run: where its values come from, and how they are converted on the way there and back."""

    def __init__(self, compiled: Any, text: str, sources: Sequence[Source]) -> None:
        self.text = text
        self.writes = not text.startswith("SELECT")
        self._from = sources
        dialect = compiled.dialect
        self._names = [entry[0] for entry in compiled._result_columns or ()]
        found = [entry[3]._cached_result_processor(dialect, None) for entry in compiled._result_columns or ()]
        self._convert = [(index, convert) for index, convert in enumerate(found) if convert is not None]
        self._row: Any = None
        if self._names:
            # The columns are known only now, so neither the type checker nor a class can name them.
            plain: Any = namedtuple("Row", list(self._names), rename=True)  # type: ignore[misc]  # noqa: PYI024
            self._row = type("Row", (plain,), {"_mapping": property(plain._asdict), "__slots__": ()})

    def values(self, given: Mapping[str, Any], extracted: Sequence[Any]) -> list[Any]:
        values = []
        for source, constant, place, convert in self._from:
            value = constant if source is None else _value(source, given, extracted)
            if place is not None:
                value = value[place]
            values.append(value if convert is None or value is None else convert(value))
        return values

    def rows(self, found: Sequence[tuple[Any, ...]]) -> list[Any]:
        if self._row is None:
            return []
        make, converts = self._row._make, self._convert
        if not converts:
            return [make(row) for row in found]
        rows = []
        for row in found:
            changed = list(row)
            for index, convert in converts:
                if changed[index] is not None:
                    changed[index] = convert(changed[index])
            rows.append(make(changed))
        return rows


def _value(source: str | int, given: Mapping[str, Any], extracted: Sequence[Any]) -> Any:
    if isinstance(source, str):
        return given[source]
    bind = extracted[source]
    return bind.value if bind.callable is None else bind.effective_value


class _Statement:
    """One compiled statement, and its texts: with lists in it there is one for each combination of their lengths."""

    def __init__(self, compiled: Any, given: Sequence[str]) -> None:
        self._compiled = compiled
        place = {}
        for index, known in enumerate(compiled.cache_key[1]):
            for bind in compiled._cache_key_bind_match[0][known]:
                place[bind] = index
        self._sources: dict[str, Source] = {}
        self._lists: list[str | int] = []
        for name in compiled.positiontup or ():
            bind, convert = compiled.binds[name], compiled._bind_processors.get(name)
            # What the compiler itself adds (an offset beside a limit) is always the same.
            source = bind.key if bind.key in given else name if name in given else place.get(bind)
            self._sources[name] = (source, bind.value, None, convert)
            if source is not None and bind in compiled.post_compile_params:
                self._lists.append(source)
        self._texts: dict[tuple[int, ...], _Prepared] = {}
        if not self._lists:
            self._texts[()] = _Prepared(
                compiled, compiled.string, [self._sources[n] for n in compiled.positiontup or ()]
            )

    def prepared(self, given: Mapping[str, Any], extracted: Sequence[Any]) -> _Prepared:
        """The text for these values."""
        lengths = tuple(len(_value(source, given, extracted)) for source in self._lists) if self._lists else ()
        found = self._texts.get(lengths)
        if found is None:
            found = self._texts[lengths] = self._expanded(given, extracted)
        return found

    def _expanded(self, given: Mapping[str, Any], extracted: Sequence[Any]) -> _Prepared:
        compiled = self._compiled
        parameters = compiled.construct_params(dict(given), extracted_parameters=extracted, escape_names=False)
        state = compiled._process_parameters_for_postcompile(parameters)
        sources = dict(self._sources)
        for name, elements in state.parameter_expansion.items():
            source, constant, _, convert = sources[name]
            sources.update((element, (source, constant, at, convert)) for at, element in enumerate(elements))
        return _Prepared(compiled, state.statement, [sources[name] for name in state.positiontup])


class _Cursor(sqlite3.Cursor):
    """A cursor of the driver; what it writes is written together with the rest."""

    def __init__(self, driver: sqlite3.Connection, begin: Callable[[], None]) -> None:
        super().__init__(driver)
        self._begin = begin

    def execute(self, sql: str, parameters: Any = ()) -> _Cursor:
        if not sql.startswith("SELECT"):
            self._begin()
        return super().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Any) -> _Cursor:
        self._begin()
        return super().executemany(sql, parameters)


class QuickConnection:
    """Looks like `Connection` to the verbs; whatever it does not know is the real one's."""

    def __init__(self, plain: Connection, driver: sqlite3.Connection, begin: Callable[[], None]) -> None:
        self._plain = plain
        self._driver = driver
        self._begin = begin
        self.dialect = plain.dialect
        self._compiled: dict[Any, Any] = {}
        self._prepared: dict[tuple[Any, ...], _Statement | None] = {}
        self._known: WeakKeyDictionary[Any, dict[tuple[str, ...], tuple[_Statement | None, Any]]] = WeakKeyDictionary()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def execute(self, statement: Any, parameters: Any = None) -> Any:
        """As `Connection.execute`."""
        if parameters is not None and not isinstance(parameters, dict):
            return self._usual(statement, parameters)
        given: dict[str, Any] = parameters or {}
        known, extracted = self._find(statement, tuple(given))
        if known is None:
            return self._usual(statement, parameters)
        prepared = known.prepared(given, extracted)
        values = prepared.values(given, extracted)
        if prepared.writes:
            self._begin()
        try:
            cursor = self._driver.execute(prepared.text, values)
            found = cursor.fetchall()
        except sqlite3.Error:
            # Said again on the real connection, so that the error is SQLAlchemy's; SQLite has undone the statement.
            return self._usual(statement, parameters)
        return QuickResult(prepared.rows(found), cursor.rowcount)

    @property
    def connection(self) -> QuickConnection:
        """For those that go past SQLAlchemy: the driver's connection, as far as they use it."""
        return self

    def cursor(self) -> sqlite3.Cursor:
        """The driver's own."""
        return _Cursor(self._driver, self._begin)

    def _usual(self, statement: Any, parameters: Any) -> Any:
        self._begin()
        return self._plain.execute(statement, parameters)

    def _find(self, statement: Any, names: tuple[str, ...]) -> tuple[_Statement | None, Any]:
        """Statements that are made once are found at once, others by what they say."""
        known = self._known.get(statement)
        if known is None:
            known = self._known[statement] = {}
        found = known.get(names)
        if found is None:
            found = known[names] = self._look_up(statement, names)
        return found

    def _look_up(self, statement: Any, names: tuple[str, ...]) -> tuple[_Statement | None, Any]:
        cache_key = statement._generate_cache_key()
        if cache_key is None or cache_key[2] is not None:
            return None, ()
        key = (cache_key[0], names)
        try:
            return self._prepared[key], cache_key[1]
        except KeyError:
            self._prepared[key] = self._prepare(statement, sorted(names))
            return self._prepared[key], cache_key[1]

    def _prepare(self, statement: Any, names: list[str]) -> _Statement | None:
        compiled, *_ = statement._compile_w_cache(
            self.dialect, compiled_cache=self._compiled, column_keys=names, for_executemany=False
        )
        usual = (
            compiled.positional
            and not compiled.literal_execute_params
            and not any(bind.type._is_tuple_type for bind in compiled.post_compile_params)
            and not (compiled.insert_prefetch or compiled.update_prefetch)
            and not compiled.implicit_returning
            and (compiled._ordered_columns or not compiled._result_columns)
        )
        return _Statement(compiled, names) if usual else None


def quick(plain: Connection, driver: sqlite3.Connection, begin: Callable[[], None]) -> Connection:
    """The connection for the verbs. `begin` is called before each statement that writes."""
    return cast("Connection", QuickConnection(plain, driver, begin))
