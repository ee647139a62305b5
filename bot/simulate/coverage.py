"""What a set of histories has not shown: kinds of fault that hardly struck, rows of the transition table not taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container

from bot.domain.lifecycle import TABLE, ItemEvent
from bot.domain.model import ItemState
from bot.simulate.faults import Fault

PER_HUNDRED = 5
"""How often each kind of fault must strike in a hundred histories at least."""

Row = tuple[ItemState | None, ItemEvent]

FAIR = 2_000
"""In so many histories everything must have been seen; what a smaller set has not shown may be chance."""

BEYOND = {
    (ItemState.IN_REVIEW, ItemEvent.PUBLISHED): "rounds on an open pull request are not built yet",
    (ItemState.IN_REVIEW, ItemEvent.FIX_ROUND): "rounds on an open pull request are not built yet",
    (ItemState.IN_REVIEW, ItemEvent.GAVE_UP): "rounds on an open pull request are not built yet",
}
"""Rows that no history can take, and why."""


SURE = 20_000
"""In so many histories even what needs several chances in a row must have been seen."""

BESIDE_A_PULL = "a second run must end so beside the pull request of the first, and somebody must merge that then"
BY_HAND = "the run of a plan must end so, and then somebody must build it by hand"
SELDOM = {
    (ItemState.NEEDS_INPUT, ItemEvent.IMPLEMENTED): BY_HAND,
    (ItemState.FAILED, ItemEvent.IMPLEMENTED): BY_HAND,
    (ItemState.IN_PROGRESS, ItemEvent.NO_CODE): "somebody must be quicker than all machines and find nothing to build",
    (ItemState.NEEDS_INPUT, ItemEvent.MERGED): BESIDE_A_PULL,
    (ItemState.FAILED, ItemEvent.MERGED): BESIDE_A_PULL,
    (ItemState.IN_PROGRESS, ItemEvent.GIVEN_BACK): "somebody must claim a known item before the bot, and give it back",
    (ItemState.IN_PROGRESS, ItemEvent.WITHDRAWN): "somebody must take the label off in the moment of the claim",
}
"""Rows that smaller sets may leave out, and why. The stories of `tests/simulation` take them on purpose."""


def too_seldom(faults: Counter[Fault], histories: int) -> list[str]:
    """Kinds of fault that struck less often than they must."""
    least = PER_HUNDRED * histories // 100
    return [f"{fault.value}: {faults[fault]} times, {least} wanted" for fault in Fault if faults[fault] < least]


def not_seen(faults: Counter[Fault], rows: Counter[tuple[str | None, str, str]], histories: int) -> list[str]:
    """What these histories have shown too seldom or never."""
    return [*too_seldom(faults, histories), *never_taken(rows, {} if histories >= SURE else SELDOM)]


def never_taken(rows: Counter[tuple[str | None, str, str]], besides: Container[Row] = ()) -> list[str]:
    """Rows of the transition table that no history took, without those that none can and those `besides`."""
    taken = {(before, event) for before, event, _ in rows}
    missing = {key for key in TABLE if (key[0] and key[0].value, key[1].value) not in taken}
    return [
        f"{state.value if state else 'nothing yet'} × {event.value} ({move.row})"
        for (state, event), move in TABLE.items()
        if (state, event) in missing and (state, event) not in BEYOND and (state, event) not in besides
    ]
