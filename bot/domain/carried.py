"""What one attempt leaves for the next: the agent's conversation, and the work so far when it ends without a result.

Both are the agent's own words and files, so they are data to whoever gets them: only the next attempt of the same item
does, and it checks the SHA-256 first. Pure.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Final

from bot.domain.bundle import DEFAULT_MAX_BYTES, bundle_cap


class Carried(StrEnum):
    """Transcript: the conversation, as the agent's program wrote it. Work: a bundle of commits, without any right."""

    TRANSCRIPT = "transcript"
    WORK = "work"


MAX_TRANSCRIPT: Final = 32_000_000
"""Bytes of a conversation; a model's whole window of a million tokens is about eight million characters."""

KEEP_CARRIED: Final = timedelta(days=30)
"""How long it lies with the bot. A question that is answered later is answered to a fresh conversation."""


def cap_of(kind: Carried) -> int:
    """How many bytes it may have."""
    return MAX_TRANSCRIPT if kind is Carried.TRANSCRIPT else bundle_cap(DEFAULT_MAX_BYTES)
