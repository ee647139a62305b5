"""What deliveries point at, as their rows hold it: one JSON text each.

Promise: what was put down comes back equal, and equal touches are equal text, so that one can be looked for in it. A
row of its own for each touch cost intake more than all else that is stored of a delivery, and nobody asks for touches
but the router, who reads them with their delivery.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from bot.domain.intake import Touch, TouchKind
from bot.domain.model import InstallationId, IssueKey, RepoId

# Touch kinds whose value is a number; the router joins on integers.
_NUMBERED = frozenset({TouchKind.ISSUE, TouchKind.RUN, TouchKind.PULL})

# The largest integer both databases hold.
_MAX_BIGINT = 2**63 - 1


class Pointed(NamedTuple):
    """What a touch points at; many touches of a batch point at the same."""

    kind: TouchKind
    installation: int
    repo: int | None
    number: int | None
    value: str

    @property
    def issue(self) -> IssueKey | None:
        """The issue, if it is one."""
        if self.kind is not TouchKind.ISSUE or self.repo is None or self.number is None:
            return None
        return IssueKey(InstallationId(self.installation), RepoId(self.repo), self.number)


class _Stored(NamedTuple):
    """A touch as it is written: a list of these values."""

    kind: TouchKind
    installation: int
    repo: int | None
    value: str
    hint: str


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(list[_Stored])


def pointed_at(touch: Touch) -> Pointed:
    """What it points at."""
    return Pointed(touch.kind, touch.installation, touch.repo, _number(touch.kind, touch.value), touch.value)


def written(touches: Sequence[Touch]) -> str | None:
    """The text for the row; None when it points at nothing."""
    return _encoder.encode([_stored(touch) for touch in touches]).decode() if touches else None


def part_of(touch: Touch) -> str:
    """How the touch stands in such a text, wherever it stands."""
    return _encoder.encode(_stored(touch)).decode()


def read_touches(text: str | None) -> list[tuple[Pointed, str]]:
    """What is pointed at, each with the hint. Raises msgspec.DecodeError for a text that `written` did not make."""
    if text is None:
        return []
    return [
        (Pointed(kind, installation, repo, _number(kind, value), value), hint)
        for kind, installation, repo, value, hint in _decoder.decode(text)
    ]


def _stored(touch: Touch) -> _Stored:
    return _Stored(touch.kind, touch.installation, touch.repo, touch.value, touch.hint)


def _number(kind: TouchKind, value: str) -> int | None:
    if kind not in _NUMBERED or not (value.isascii() and value.isdigit()):
        return None
    number = int(value)
    return number if number <= _MAX_BIGINT else None
