"""The seam to the command parser: the commands of a comment as plain lines, for the intents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Line:
    """One command of a comment. A line that could not be understood has no verb and says what was wrong."""

    verb: str
    args: tuple[str, ...] = ()
    error: str | None = None


def read_commands(body: str, at: datetime) -> tuple[Line, ...]:
    """The commands of a comment's text in their order; `at` is when the comment was written."""
    return ()
