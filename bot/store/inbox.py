"""The intake's door: delivery, repositories, installation change, intents and touches in one unit.

What arrives while a commit is under way is stored together by the next one (`bot.store.gathered`). Of few deliveries
the keys are found and marked in that same commit, so that the queue is awake when they are answered; many are answered
first, and the router finds their keys in larger batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bot.domain.intake import Intake
from bot.store.arrivals import Arrival, store_arrivals
from bot.store.errors import StoreClosed, StoreUnavailable
from bot.store.gathered import Gathered
from bot.store.ledger import SqlLedger, Writes
from bot.store.router import route_batch

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

    async def _take(self, some: Sequence[Arrival]) -> list[bool]:
        if len(some) <= self._few:
            try:
                new, left = await self._store.write(lambda ledger: self._store_and_route(ledger, some))
            except (StoreClosed, StoreUnavailable):
                raise
            except Exception:  # noqa: BLE001, S110 - what cannot be routed is stored all the same; the router tells of it
                pass
            else:
                if left:
                    self._wake()
                return new
        new = await self._store.write(lambda ledger: store_arrivals(ledger, some))
        if any(fresh and one.to_route for one, fresh in zip(some, new, strict=True)):
            self._wake()
        return new

    def _store_and_route(self, ledger: SqlLedger, some: Sequence[Arrival]) -> tuple[list[bool], bool]:
        """Whether each was new, and whether there may be more to route than this."""
        new = store_arrivals(ledger, some)
        if not any(fresh and one.to_route for one, fresh in zip(some, new, strict=True)):
            return new, False
        routed, _ = route_batch(ledger, self._few)
        return new, routed == self._few

    def _wake(self) -> None:
        if self._nudge is not None:
            self._nudge()
