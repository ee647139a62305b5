"""Hidden markers in texts of the bot, by which it finds them again after a crash or a lost answer.

Promise: a marker stands alone on the last lines of a text, so that a marker quoted in the middle of somebody's words
is none. Anybody can type a marker: whoever reads one must check that author and last editor are the bot. Markers hold
ids and what the same text says to people, never anything secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import quote, unquote

from bot.domain.sanitise import MAX_TEXT, cap

_LINE = re.compile(r"<!-- tgs:(?P<kind>[a-z]+)(?: (?P<value>[A-Za-z0-9%_.~/:]{1,6000}))? -->")


class MarkerKind(StrEnum):
    STATUS = "status"
    SAY = "say"
    MIRROR = "mirror"
    TICKET = "ticket"
    PULL = "pull"
    SETUP = "setup"
    INCIDENT = "incident"
    MEMORY = "memory"
    ASKED = "asked"


@dataclass(frozen=True, slots=True)
class Marker:
    """One marker that was read. `value` is empty for kinds that occur once."""

    kind: MarkerKind
    value: str = ""


def write(kind: MarkerKind, value: str = "") -> str:
    """The marker's line."""
    # Two hyphens or a closing bracket would end the HTML comment early.
    encoded = quote(value, safe="/:").replace("-", "%2D")
    return f"<!-- tgs:{kind.value}{' ' if encoded else ''}{encoded} -->"


STATUS: Final = write(MarkerKind.STATUS)
SETUP: Final = write(MarkerKind.SETUP)


def say(once: str) -> str:
    """The marker of a comment that is written at most once under this key."""
    return write(MarkerKind.SAY, once)


def mirror(thought_dir: str) -> str:
    """The marker of the issue of a thought."""
    return write(MarkerKind.MIRROR, thought_dir)


def incident(cause: str) -> str:
    """The marker of the one issue of a cause of failures."""
    return write(MarkerKind.INCIDENT, cause)


def ticket(name: str) -> str:
    """The marker of an issue that was made from a ticket; `name` tells tickets apart."""
    return write(MarkerKind.TICKET, name)


def memory(packed: str) -> str:
    """The marker of what a text remembers for the case that the ledger is lost; see `bot/domain/memory.py`."""
    return write(MarkerKind.MEMORY, packed)


def asked(packed: str) -> str:
    """The marker of a comment that asks; see `bot/domain/question_memory.py`."""
    return write(MarkerKind.ASKED, packed)


def pull(issue: int, fence: int) -> str:
    """The marker of a pull request: for which item and under which number it was opened."""
    return write(MarkerKind.PULL, f"{issue}/{fence}")


def stamp(body: str, *marks: str) -> str:
    """The text with its markers at the end, within GitHub's limit; markers that it carries already are not repeated."""
    own = [write(marker.kind, marker.value) for marker in read(body)]
    lines = body.rstrip().split("\n")
    words = "\n".join(lines[: len(lines) - len(own)]).rstrip()
    tail = "\n".join(dict.fromkeys((*own, *marks)))
    return f"{cap(words, MAX_TEXT)}\n\n{tail}".lstrip("\n")


def read(body: str) -> tuple[Marker, ...]:
    """The markers on the last lines of a text, in their order."""
    found: list[Marker] = []
    for line in reversed(body.rstrip().replace("\r\n", "\n").split("\n")):
        match = _LINE.fullmatch(line.strip())
        if match is None:
            break
        try:
            found.append(Marker(MarkerKind(match["kind"]), unquote(match["value"] or "")))
        except ValueError:
            break
    return tuple(reversed(found))


def carries(body: str, marker: str) -> bool:
    """Whether this marker is one of the text's own."""
    wanted = read(marker)
    return bool(wanted) and wanted[0] in read(body)
