"""The line in which the items of a repository wait: their order, and what each is told of its place.

What is told of items far behind in a long queue does not change with every start, or each start would cost an edit of
every comment: the first `NEAR` know their place, the others a bound of it. Pure.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from bot.domain.model import Item, ItemState, Waiting

Told = tuple[tuple[Waiting, ...], int | None]
"""The reasons and the place that an item was told."""

NEAR = 5
"""So many items of a queue are told their place. People look at what comes next, and each edit is a request."""

FAR = (6, 21, 101, 1_001)
"""Places that the others are told: theirs is this one or a later one. Few, for each is passed by one item per start."""

Order = tuple[int, int, int, datetime, int]
"""The sort key of the queue; smaller comes first."""


class Queued(NamedTuple):
    """An item in the line, with what a pass asks of each: a long queue does not fit into the caches of a processor, so
    that to look at its items themselves takes longer than to decide about them.

    `plain`: nothing that its record says keeps it from being started.
    """

    number: int
    plain: bool
    depends_on: tuple[int, ...]
    order: Order
    item: Item


def queued(item: Item) -> Queued:
    """The item as it stands in the line."""
    plain = not (
        item.held_by is not None
        or item.human_owned
        or item.not_before is not None
        or item.projection.blown_at is not None
        or item.spec.needs
    )
    return Queued(item.key.number, plain, item.spec.depends_on, order(item), item)


def order(item: Item) -> Order:
    """Expedited by a maintainer, then answered and interrupted work (finishing comes before starting), then priority,
    then how long it has been ready, then the number."""
    resumed = item.state is ItemState.IN_PROGRESS or item.answered
    return (
        0 if item.expedited else 1,
        0 if resumed else 1,
        -item.priority,
        item.ready_since or item.since,
        item.key.number,
    )


def place_told(place: int) -> int:
    """The place that an item is told: its own, or the one that it has at least."""
    return place if place <= NEAR else FAR[bisect_right(FAR, place) - 1]


def far(place: int | None) -> bool:
    """Whether a place that was told is a bound."""
    return place is not None and place > NEAR


def news(waiting: Iterable[tuple[Queued, tuple[Waiting, ...], int]], told: Mapping[int, Told]) -> dict[int, Told]:
    """What those who wait are to be told that is not what they were `told` before, by their numbers."""
    found: dict[int, Told] = {}
    for line, reasons, place in waiting:
        number, shown = line.number, place_told(place)
        before = told.get(number)
        if before is None or before[1] != shown or before[0] != reasons:
            found[number] = (reasons, shown)
    return found
