"""The real clock and the real source of ids; tests bring their own."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

ID_BYTES = 24
"""Randomness of an id: 192 bits cannot be guessed, and the text stays short enough for a run's name."""


class SystemClock:
    """The system's wall clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class RandomIds:
    """Ids from the system's cryptographic source."""

    def new(self, prefix: str) -> str:
        return prefix + secrets.token_hex(ID_BYTES)
