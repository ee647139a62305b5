"""What the history of an item says it is now. Pure.

Promise: `replay` of an item's history gives the state, the fence and the live attempt that the ledger has stored;
where it does not, one of the two was changed by other hands. Each line must begin where the one before ended, and each
event must be one that the transition table allows there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from bot.domain.attempt import AttemptPhase
from bot.domain.lifecycle import ItemEvent, Move, move
from bot.domain.model import ItemState

REBUILT: Final = "rebuilt"
"""Begins the history anew after a loss of the ledger: what GitHub showed is the beginning."""
EXTERNAL: Final = "external"
"""Somebody else's claim was seen."""
ENDED: Final = f"attempt.{AttemptPhase.ENDED.value}"
_EVENTS: Final = frozenset(event.value for event in ItemEvent)


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where the lines that are kept begin: what an item was by those before, which were removed for their age."""

    state: str | None = None
    fence: int = 0


NOTHING_BEFORE: Final = Beginning()


class Line(Protocol):
    """A line of history, as far as it says what the item is."""

    @property
    def kind(self) -> str: ...
    @property
    def from_state(self) -> str | None: ...
    @property
    def to_state(self) -> str | None: ...
    @property
    def attempt(self) -> str | None: ...
    @property
    def fence(self) -> int | None: ...


@dataclass(slots=True)
class Told:
    """What the lines so far say. `flaws`: lines that do not follow from those before, by their place, first is 1.

    `rebuilt`: attempts from before the loss are not known from here.
    """

    state: str | None = None
    fence: int = 0
    live: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    rebuilt: bool = False
    flaws: list[str] = field(default_factory=list)


def replay(lines: Iterable[Line], beginning: Beginning = NOTHING_BEFORE) -> Told:
    """What an item is by its history alone; `lines` are all of it from the beginning on, oldest first."""
    told = Told(state=beginning.state, fence=beginning.fence)
    for place, line in enumerate(lines, start=1):
        flaw = _flaw(told, line)
        if flaw is not None:
            told.flaws.append(f"line {place} ({line.kind}): {flaw}")
        told.state = line.to_state or told.state
        if line.kind == REBUILT:
            told.rebuilt = True
            told.live.clear()
        if line.kind in {ItemEvent.CLAIMED.value, EXTERNAL, REBUILT}:
            told.fence = line.fence or told.fence
        if line.attempt is not None and line.kind in {ItemEvent.CLAIMED.value, EXTERNAL}:
            told.live.add(line.attempt)
        if line.attempt is not None and line.kind == ENDED:
            told.live.discard(line.attempt)
            told.ended.add(line.attempt)
    return told


def _flaw(told: Told, line: Line) -> str | None:
    if line.kind == REBUILT:
        return None
    if line.to_state is not None and line.from_state != told.state:
        return f"begins at {line.from_state}, the item was {told.state}"
    if line.kind not in _EVENTS or line.to_state is None:
        return f"changes the state from {line.from_state}" if line.to_state != line.from_state else None
    found = move(None if told.state is None else ItemState(told.state), ItemEvent(line.kind))
    if not isinstance(found, Move) or found.to.value != line.to_state:
        return f"does not lead from {told.state} to {line.to_state}"
    return None


def differences(told: Told, state: str, fence: int, live: Iterable[str]) -> list[str]:
    """What the ledger has stored otherwise than its history says, in words; empty when they are equal."""
    found = list(told.flaws)
    if state != told.state:
        found.append(f"it is {state}, its history leads to {told.state}")
    if fence != told.fence:
        found.append(f"its fence is {fence}, in its history {told.fence}")
    stored = set(live)
    unknown = stored - told.live if not told.rebuilt else stored & told.ended
    if unknown or told.live - stored:
        alive = ", ".join(sorted(stored)) or "none"
        found.append(f"live attempts are {alive}, in its history {', '.join(sorted(told.live)) or 'none'}")
    return found
