"""Which webhooks GitHub is asked to send again: those that failed, each a few times, and never from the beginning.

Promise: a delivery counts as failed only while no attempt under its GUID succeeded (a redelivery keeps the GUID). What
was settled once is not looked at again: `good` is the id up to which nothing is open. A delivery that fails whatever we
do is given up, so that it cannot be asked for for ever; states are found by looking in any case.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

OFFERED_FOR = timedelta(days=3)
"""GitHub sends a delivery again for this long."""

MAX_ATTEMPTS = 4
"""Attempts under one GUID, the first included: what failed that often fails because of what it is."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt to deliver one webhook, as the App's list shows it."""

    id: int
    guid: str
    delivered_at: datetime
    ok: bool


@dataclass(frozen=True, slots=True)
class Redelivery:
    """`again`: ids to ask for now, oldest first. `good`: nothing up to this id is open any more."""

    again: tuple[int, ...]
    good: int


def redelivery(found: Iterable[Delivery], good: int, now: datetime, *, since: datetime, at_most: int) -> Redelivery:
    """What to ask for again, from the attempts with an id above `good`.

    Nothing that was first tried before `since` or GitHub no longer offers is asked for. One that was asked for in
    this look stays open: the next look sees what came of it.
    """
    by_guid: dict[str, list[Delivery]] = {}
    for delivery in found:
        if delivery.id > good:
            by_guid.setdefault(delivery.guid, []).append(delivery)
    last = max((delivery.id for group in by_guid.values() for delivery in group), default=good)
    open_: list[tuple[int, int]] = []
    for group in by_guid.values():
        first = min(group, key=lambda delivery: delivery.id)
        if any(delivery.ok for delivery in group) or len(group) >= MAX_ATTEMPTS:
            continue
        if first.delivered_at < max(since, now - OFFERED_FOR):
            continue
        open_.append((first.id, max(delivery.id for delivery in group)))
    open_.sort()
    again = tuple(newest for _, newest in open_[:at_most])
    return Redelivery(again, min([last, *(first - 1 for first, _ in open_)]))
