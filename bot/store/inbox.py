"""The intake's door: delivery, repositories, installation change, intents and touches in one unit.

Most deliveries are a row each and nothing else: many of those are one statement and no transaction around it. What
arrives while a commit is under way is stored together by the next one (`bot.store.gathered`). Of few deliveries
the keys are found and marked in that same commit, so that the queue is awake when they are answered; many are answered
first, and the router finds their keys in larger batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from bot.domain.intake import Intake
from bot.store.arrivals import Arrival, store_arrivals, store_rows
from bot.store.errors import StoreClosed, StoreUnavailable
from bot.store.gathered import Gathered, Lot
from bot.store.ledger import SqlLedger, Writes
from bot.store.router import mark_pointed
from bot.store.touched import pointed_at

STORE_SECONDS = 8.0
"""A delivery must be stored within this time: GitHub gives up after ten seconds, and shall hear our refusal before."""

FEW = 4
"""Deliveries of one commit that are routed in it. Each commit that is saved is a sync of the disk; above this, those
who wait for their answer would pay for finding keys."""


class SqlInbox:
    """`bot.protocols.ledger.Inbox` on the store.

    `nudge` is called, in the event loop, after each commit that left something to route; without it nobody routes, and
    neither does this. `few` is the number of deliveries up to which a commit routes them too.
    """

    def __init__(self, store: Writes, nudge: Callable[[], None] | None = None, *, few: int = FEW) -> None:
        self._store = store
        self._nudge = nudge
        self._few = few if nudge is not None else 0
        self._gathered: Gathered[Arrival, bool] = Gathered(self._take, STORE_SECONDS)

    async def accept(self, delivery: str, event: str, action: str | None, intake: Intake, body: bytes | None) -> bool:
        """Commits all of it or nothing; returns after the commit. False: the delivery was known.

        Raises StoreUnavailable (after `STORE_SECONDS` at the latest) or StoreClosed: GitHub must then be told that the
        delivery was not taken.
        """
        return await self._gathered.ask(Arrival(delivery, event, action, intake, body))

    async def _take(self, lot: Lot[Arrival, bool]) -> list[bool]:
        try:
            return await self._put(lot, self._few)
        except (StoreClosed, StoreUnavailable):
            raise
        except Exception:
            if self._few < len(lot.asked()):
                raise
        # What cannot be routed is stored all the same; the router tells of it.
        return await self._put(lot, 0)

    async def _put(self, lot: Lot[Arrival, bool], few: int) -> list[bool]:
        """What is done with them depends on how many have come when their turn comes."""
        new = await self._store.put(partial(_store, lot, few), partial(_single, lot, few))
        some = lot.asked()
        left = len(some) > few and any(fresh and one.to_route for one, fresh in zip(some, new, strict=True))
        if left and self._nudge is not None:
            self._nudge()
        return new


def _single(lot: Lot[Arrival, bool], few: int) -> bool:
    """Whether storing them is one statement."""
    some = lot.asked()
    return len(some) > few and all(one.only_row for one in some)


def _store(lot: Lot[Arrival, bool], few: int, ledger: SqlLedger) -> list[bool]:
    if _single(lot, few):
        return store_rows(ledger, lot.asked())
    some = lot.asked()
    return _store_and_route(ledger, some) if len(some) <= few else store_arrivals(ledger, some)


def _store_and_route(ledger: SqlLedger, some: Sequence[Arrival]) -> list[bool]:
    new = store_arrivals(ledger, some, routed=True)
    fresh = [one.intake for one, is_new in zip(some, new, strict=True) if is_new and one.to_route]
    if fresh:
        touched = [(pointed_at(touch), touch.hint) for intake in fresh for touch in intake.touches]
        asked = {intent.key for intake in fresh for intent in intake.intents}
        known = {(repo.key.installation, repo.key.repo) for intake in fresh for repo in intake.repos}
        mark_pointed(ledger, touched, asked, known)
    return new
