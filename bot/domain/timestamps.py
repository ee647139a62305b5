"""Times as text: the one way in which the product writes a moment, and reads one that people or programs wrote.

Promise: `iso(parse_iso(text))` keeps the moment to the second, and `parse_iso(iso(when))` is `when` without its
fraction. A text without a time zone is refused instead of being taken for UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, overload

_WRITTEN: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:?\d\d)")


@overload
def iso(when: datetime) -> str: ...
@overload
def iso(when: None) -> None: ...
@overload
def iso(when: datetime | None) -> str | None: ...
def iso(when: datetime | None) -> str | None:
    """ISO 8601 in UTC with `Z`, to the second."""
    if when is None:
        return None
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def parse_iso(text: str) -> datetime:
    """The aware UTC time that an ISO 8601 text names. Raises ValueError that says what it should look like."""
    if _WRITTEN.fullmatch(text) is not None:
        try:
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"{text[:40]!r} is no time with its zone, such as 2026-01-31T09:30:00Z")
