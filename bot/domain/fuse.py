"""A fuse for each item: when the bot writes far more about it than any work needs, it stops and asks a person.

Promise: whatever undoes the bot's work again and again (another bot, a script, a defect of our own), an item gets at
most `MAX_WRITES` writes in an hour and then one comment. After that it is neither shown nor started nor moved on until
somebody says so (`/tgs sync`, `/tgs retry`, `/tgs start`); what runs may end, with its pull request, and an item that
ends is shown to have ended, once. So somebody who closes the issue instead of asking for more is not left with an
attempt that never ends. Writes that answer people are not counted: they end when people do.

What is counted is what was decided, not what GitHub answered: a write without an answer may have been done, and the
limit must hold for what people see. What is written ahead is not counted: it happens once for its attempt or its head,
and deciding it again only looks whether it has happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, assert_never

from bot.domain.effects import (
    CancelRun,
    CloseIssue,
    Dispatch,
    Effect,
    MergePull,
    OpenPull,
    PublishClaim,
    React,
    ReleaseClaim,
    RevokeToken,
    Say,
    Show,
    Status,
    TakeReadyLabel,
)
from bot.domain.model import Item, Projection

MAX_WRITES: Final = 40
"""In one hour. A whole attempt takes less than ten, so this is four attempts in one hour and more."""

WINDOW: Final = timedelta(hours=1)

ANSWER: Final = "intent:"
"""How the topics of answers to commands begin."""

COUNTED = (CloseIssue, PublishClaim, Say, Show, TakeReadyLabel)
"""Edits of the status comment are spaced by themselves, and ending something is never too much."""

GATES = (PublishClaim, TakeReadyLabel)
"""What stands after one of these is done only when it came out as it should; else the same is decided again soon."""


def spend(projection: Projection, effects: Iterable[Effect], now: datetime) -> Projection:
    """The projection with these writes counted; blown when they are too many."""
    count = sum(isinstance(effect, COUNTED) and not _answer(effect) for effect in _surely(effects))
    if count == 0:
        return projection
    fresh = projection.hour is None or now - projection.hour >= WINDOW
    writes = count if fresh else projection.writes + count
    blown = projection.blown_at or (now if writes > MAX_WRITES else None)
    return replace(projection, hour=now if fresh else projection.hour, writes=writes, blown_at=blown)


def _surely(effects: Iterable[Effect]) -> Iterator[Effect]:
    """The effects up to the first gate: a start whose trace GitHub shows late is decided again and done once."""
    for effect in effects:
        yield effect
        if isinstance(effect, GATES):
            return


def mend(projection: Projection) -> Projection:
    """A person says that it may go on."""
    return replace(projection, hour=None, writes=0, blown_at=None)


def passes(effect: Effect, item: Item) -> bool:
    """Whether the effect is carried out although the fuse of the item has blown."""
    match effect:
        case CancelRun() | OpenPull() | ReleaseClaim() | RevokeToken():
            return True  # each ends something, and then no more of it is decided
        case React():
            return True  # a person was promised an answer, and GitHub makes repeating it harmless
        case Say():
            return _answer(effect)
        case Dispatch():
            return effect.publishes
        case Show():
            return item.terminal and effect.state_label not in {None, item.projection.state_label}
        case Status():
            return item.terminal
        case CloseIssue() | MergePull() | PublishClaim() | TakeReadyLabel():
            return False
        case _:
            assert_never(effect)


def _answer(effect: Effect) -> bool:
    return isinstance(effect, Say) and effect.topic.startswith(ANSWER)
