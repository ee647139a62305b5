"""What each state is called for people."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

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


def headline(item: Item) -> str:
    """State, and the place in the queue while it waits in it."""
    name = NAMES[item.state]
    if item.state is ItemState.NEEDS_INPUT and item.withheld is not None:
        return "Waits for a look"
    if item.state is ItemState.READY and item.position is not None:
        return f"{name}, number {item.position} in the queue"
    return name
