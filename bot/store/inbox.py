"""The intake's door: delivery, repositories, installation change, intents and touches in one unit.

What arrives while a commit is under way is stored together by the next one: the more arrive, the fewer commits each
takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot.domain.intake import Intake
from bot.store.arrivals import Arrival, store_arrivals
from bot.store.errors import StoreClosed, StoreUnavailable
from bot.store.ledger import Writes

# Deliveries in one unit: enough that a server's answers are waited for once, few enough that a failure is cheap.
TOGETHER = 64


@dataclass(frozen=True, slots=True)
class _Waiting:
    """One delivery that waits to be stored, and where its caller waits."""

    arrival: Arrival
    stored: asyncio.Future[bool]


class SqlInbox:
    """`bot.protocols.ledger.Inbox` on the store.

    What arrives while a commit is under way is stored together by the next one. When that fails because of one of
    them, each is stored by itself. `nudge` is called, in the event loop, after each commit that left something to
    route.
    """

    def __init__(self, store: Writes, nudge: Callable[[], None] | None = None) -> None:
        self._store = store
        self._nudge = nudge
        self._arrived: list[_Waiting] = []
        self._storing: asyncio.Task[None] | None = None

    async def accept(self, delivery: str, event: str, action: str | None, intake: Intake, body: bytes | None) -> bool:
        """Commits all of it or nothing; returns after the commit. False: the delivery was known.

        Raises StoreUnavailable or StoreClosed: GitHub must then be told that the delivery was not taken.
        """
        arrival = Arrival(delivery, event, action, intake, body)
        one = _Waiting(arrival, asyncio.get_running_loop().create_future())
        self._arrived.append(one)
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store_all())
        return await one.stored

    async def _store_all(self) -> None:
        """Until nothing is left. What the callers get is never left open, however this ends."""
        some: list[_Waiting] = []
        try:
            while self._arrived:
                some, self._arrived = self._arrived[:TOGETHER], self._arrived[TOGETHER:]
                await self._store_some(some)
        finally:
            for one in (*some, *self._arrived):
                if not one.stored.done():
                    one.stored.set_exception(StoreUnavailable("the server ends"))
                    one.stored.exception()  # a caller who is gone does not have to hear it
            self._arrived = []

    async def _store_some(self, some: Sequence[_Waiting]) -> None:
        try:
            new = await self._store.write(lambda ledger: store_arrivals(ledger, [one.arrival for one in some]))
        except Exception as error:  # noqa: BLE001 - the callers get it
            if len(some) > 1 and not isinstance(error, StoreClosed | StoreUnavailable):
                for one in some:
                    await self._store_some([one])
                return
            for one in some:
                if not one.stored.done():
                    # An object for each: a traceback that several tasks share grows with every raise.
                    one.stored.set_exception(error if len(some) == 1 else _alike(error))
            return
        for one, fresh in zip(some, new, strict=True):
            if not one.stored.done():
                one.stored.set_result(fresh)
        if self._nudge is not None and any(
            fresh and one.arrival.to_route for one, fresh in zip(some, new, strict=True)
        ):
            self._nudge()


def _alike(error: Exception) -> Exception:
    copy = StoreClosed(str(error)) if isinstance(error, StoreClosed) else StoreUnavailable(str(error))
    copy.__cause__ = error
    return copy
