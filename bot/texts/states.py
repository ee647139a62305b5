"""What each state is called for people."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from bot.domain.line import far
from bot.domain.model import Item, ItemState

NAMES: Final = MappingProxyType(
    {
        ItemState.PROPOSED: "Proposed",
        ItemState.READY: "Ready",
        ItemState.IN_PROGRESS: "In progress",
        ItemState.NEEDS_INPUT: "Needs an answer",
        ItemState.IN_REVIEW: "In review",
        ItemState.DONE: "Done",
        ItemState.FAILED: "Failed",
        ItemState.CANCELLED: "Called off",
    }
)


def headline(item: Item, exact: int | None = None) -> str:
    """State, and the place in the queue while it waits in it: what it was told, or `exact` where that is known."""
    name = NAMES[item.state]
    if item.state is ItemState.NEEDS_INPUT and item.withheld is not None:
        return "Waits for a look"
    if item.state is ItemState.READY and exact is not None:
        return f"{name}, number {exact} in the queue"
    if item.state is ItemState.READY and item.position is not None:
        return f"{name}, {place(item.position)} in the queue"
    return name


def place(told: int) -> str:
    """A place in the queue as it was told: far behind it is a bound."""
    return f"number {told} or later" if far(told) else f"number {told}"
