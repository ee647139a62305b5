"""The seam to the command parser: the commands of a comment as plain lines, for the intents."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bot.domain.command_parser import ParseError, parse


@dataclass(frozen=True, slots=True)
class Line:
    """One command of a comment. A line that could not be understood has no verb and says what was wrong."""

    verb: str
    args: tuple[str, ...] = ()
    error: str | None = None


def read_commands(body: str, at: datetime) -> tuple[Line, ...]:
    """The commands of a comment's text in their order; `at` is when it was written, so dates before it are errors."""
    return tuple(
        Line("", error=parsed.message) if isinstance(parsed, ParseError) else Line(parsed.verb.value, parsed.args)
        for parsed in parse(body, at)
    )
