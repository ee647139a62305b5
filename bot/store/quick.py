"""SQLAlchemy's statements straight on SQLite's cursor, for the simulation: the same SQL and values, less around.

Promise: a statement does and returns what it does on SQLAlchemy's own connection; what is out of the ordinary
(expanding lists, defaults made in Python, many rows at once, an error of the driver) is left to that connection. The
text and the conversion of values are SQLAlchemy's own; only the objects around each single execution are left out.
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


class _Prepared:
    """One compiled text: where its values come from, and how they are converted on the way there and back."""

    def __init__(self, compiled: Any, given: Sequence[str]) -> None:
        self.text: str = compiled.string
        place = {}
        for index, known in enumerate(compiled.cache_key[1]):
            for bind in compiled._cache_key_bind_match[0][known]:
                place[bind] = index
        self._from: list[tuple[str | int | None, Any, Convert]] = []
        for name in compiled.positiontup or ():
            bind, convert = compiled.binds[name], compiled._bind_processors.get(name)
            if bind.key in given:
                self._from.append((bind.key, None, convert))
            elif name in given:
                self._from.append((name, None, convert))
            else:
                # What the compiler itself adds (an offset beside a limit) is always the same.
                self._from.append((place.get(bind), bind.value, convert))
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
        for source, constant, convert in self._from:
            if source is None:
                value = constant
            elif isinstance(source, str):
                value = given[source]
            else:
                bind = extracted[source]
                value = bind.value if bind.callable is None else bind.effective_value
            values.append(value if convert is None else convert(value))
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
                changed[index] = convert(changed[index])
            rows.append(make(changed))
        return rows


class QuickConnection:
    """Looks like `Connection` to the verbs; whatever it does not know is the real one's."""

    def __init__(self, plain: Connection, driver: sqlite3.Connection) -> None:
        self._plain = plain
        self._driver = driver
        self.dialect = plain.dialect
        self._compiled: dict[Any, Any] = {}
        self._prepared: dict[tuple[Any, ...], _Prepared | None] = {}
        self._known: WeakKeyDictionary[Any, dict[tuple[str, ...], tuple[_Prepared | None, Any]]] = WeakKeyDictionary()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)

    def execute(self, statement: Any, parameters: Any = None) -> Any:
        """As `Connection.execute`."""
        if parameters is not None and not isinstance(parameters, dict):
            return self._plain.execute(statement, parameters)
        given: dict[str, Any] = parameters or {}
        prepared, extracted = self._find(statement, tuple(given))
        if prepared is None:
            return self._plain.execute(statement, parameters)
        values = prepared.values(given, extracted)
        try:
            cursor = self._driver.execute(prepared.text, values)
            found = cursor.fetchall()
        except sqlite3.Error:
            # Said again on the real connection, so that the error is SQLAlchemy's; SQLite has undone the statement.
            return self._plain.execute(statement, parameters)
        return QuickResult(prepared.rows(found), cursor.rowcount)

    def _find(self, statement: Any, names: tuple[str, ...]) -> tuple[_Prepared | None, Any]:
        """Statements that are made once and given their values are found at once, others by what they say."""
        if not names:
            return self._look_up(statement, names)
        known = self._known.get(statement)
        if known is None:
            known = self._known[statement] = {}
        found = known.get(names)
        if found is None:
            found = known[names] = self._look_up(statement, names)
        return found

    def _look_up(self, statement: Any, names: tuple[str, ...]) -> tuple[_Prepared | None, Any]:
        cache_key = statement._generate_cache_key()
        if cache_key is None or cache_key[2] is not None:
            return None, ()
        key = (cache_key[0], names)
        try:
            return self._prepared[key], cache_key[1]
        except KeyError:
            self._prepared[key] = self._prepare(statement, sorted(names))
            return self._prepared[key], cache_key[1]

    def _prepare(self, statement: Any, names: list[str]) -> _Prepared | None:
        compiled, *_ = statement._compile_w_cache(
            self.dialect, compiled_cache=self._compiled, column_keys=names, for_executemany=False
        )
        usual = (
            compiled.positional
            and not compiled.literal_execute_params
            and not compiled.post_compile_params
            and not (compiled.insert_prefetch or compiled.update_prefetch)
            and not compiled.implicit_returning
            and (compiled._ordered_columns or not compiled._result_columns)
        )
        return _Prepared(compiled, names) if usual else None


def quick(plain: Connection, driver: sqlite3.Connection) -> Connection:
    """The connection for the verbs."""
    return cast("Connection", QuickConnection(plain, driver))
