"""What a group of units tells, as those need it who commit something with it."""

from __future__ import annotations

from datetime import datetime

from bot.store.writer import Told


def due_keys(told: Told, now: datetime) -> dict[str, int]:
    """The marked keys that are due at `now`, each with the highest priority it was marked with."""
    found: dict[str, int] = {}
    for mark in told.marked:
        if mark.at <= now:
            found[mark.key] = max(mark.priority, found.get(mark.key, mark.priority))
    return found
