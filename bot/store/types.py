"""Column types: UTC times as integer microseconds, closed sets as text, small records as JSON text.

Promises: what was bound comes back equal (times to the microsecond, records by value), on SQLite and PostgreSQL
alike. A naive time or a value outside the closed set is refused before it reaches the database.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Dialect, String, Text
from sqlalchemy.types import TypeDecorator

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def to_micros(at: datetime) -> int:
    """Microseconds since 1970 UTC. Raises ValueError for a naive time."""
    if at.tzinfo is None:
        raise ValueError(f"a time without a zone cannot be stored: {at.isoformat()}; use an aware UTC time")
    return (at - EPOCH) // MICROSECOND


def from_micros(value: int) -> datetime:
    """The aware UTC time of microseconds since 1970."""
    return EPOCH + value * MICROSECOND


class UtcTime(TypeDecorator[datetime]):
    """An aware time; integers sort and compare alike on both databases and lose nothing."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_micros(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else from_micros(value)


class OneOf(TypeDecorator[StrEnum]):
    """A member of a closed set, stored as its value. Raises ValueError for anything else."""

    impl = String
    cache_ok = True

    def __init__(self, of: type[StrEnum]) -> None:
        super().__init__()
        self.of = of

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else self.of(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
        return None if value is None else self.of(value)


class Json(TypeDecorator[Any]):
    """A small record or tuple of records as JSON text, typed in both directions; None is NULL.

    Sets are written in order, so equal values are equal texts.
    """

    impl = Text
    cache_ok = True

    def __init__(self, of: Any) -> None:
        super().__init__()
        self.of = of
        self._encoder = msgspec.json.Encoder(order="deterministic")
        self._decoder = msgspec.json.Decoder(of)

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else self._encoder.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else self._decoder.decode(value)
