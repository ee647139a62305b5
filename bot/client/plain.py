"""Foreign text for one line of a terminal."""

from __future__ import annotations

from bot.domain.sanitise import for_terminal


def plain(text: str) -> str:
    """One line without anything that a terminal would obey."""
    return " ".join(for_terminal(text).split())
