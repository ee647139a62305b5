"""Foreign text for one line of a terminal."""

from __future__ import annotations

import re

from bot.domain.sanitise import for_terminal


def plain(text: str) -> str:
    """One line without anything that a terminal would obey."""
    return " ".join(for_terminal(text).split())


def unaddressed(text: str) -> str:
    """The words of a comment without whom it is for: who asks on a command line knows."""
    return re.sub(r"^@[A-Za-z0-9-]+: ", "", text)
