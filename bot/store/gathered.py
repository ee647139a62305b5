"""What waits for the store when its turn comes is done together, by one unit.

Who is the first to ask hands in a unit; who asks before that unit's turn joins it, and who asks later hands in the next
one. So a unit holds all that came while the one before was written, nobody waits for an answer that is another's, and
units of several kinds that wait together share a commit. Whoever is alone waits for nobody.

Promises: calls that are done together are done in their order; when several fail together because of one of them, each
is done by itself and only that one hears of it; nobody is left waiting, however this ends.

Race it knows: a call joins in the event loop while the unit's turn comes in another thread. A lot is closed and joined
under its lock, so a call is in it before it closes, or in the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Generic, TypeVar

from bot.store.errors import StoreClosed, StoreUnavailable

A = TypeVar("A")
R = TypeVar("R")

TOGETHER = 64
"""How many are done at once: enough that a server's answers are waited for once, few enough that a failure is cheap."""


@dataclass(slots=True)
class _Waiting(Generic[A, R]):
    """One call, and where its caller waits."""

    asked: A
    done: asyncio.Future[R]
    since: float
    """By the loop's clock."""


class Lot(Generic[A, R]):
    """Calls that are done together."""

    def __init__(self, first: _Waiting[A, R]) -> None:
        self.waiting = [first]
        self._lock = Lock()
        self._closed = False

    def join(self, one: _Waiting[A, R]) -> bool:
        """False: too late, or it is full."""
        with self._lock:
            if self._closed or len(self.waiting) >= TOGETHER:
                return False
            self.waiting.append(one)
            return True

    def close(self) -> None:
        """Nobody joins from now on. In any thread."""
        with self._lock:
            self._closed = True

    def asked(self) -> Sequence[A]:
        """What was asked, when the turn has come: nobody joins from now on. In any thread, and each time the same."""
        self.close()
        return [one.asked for one in self.waiting]


class Gathered(Generic[A, R]):
    """`do` hands in a unit that begins with `Lot.asked`, and returns what came of each call, in the same order. With
    `patience` (seconds) nobody waits for longer: one clock for a lot, set for the one who has waited longest."""

    def __init__(self, do: Callable[[Lot[A, R]], Awaitable[Sequence[R]]], patience: float | None = None) -> None:
        self._do = do
        self._patience = patience
        self._open: Lot[A, R] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, one: A) -> R:
        """What came of it. Raises what `do` raises, and StoreUnavailable when that takes too long."""
        loop = asyncio.get_running_loop()
        waiting: _Waiting[A, R] = _Waiting(one, loop.create_future(), loop.time())
        if self._open is None or not self._open.join(waiting):
            self._open = Lot(waiting)
            task = loop.create_task(self._all(self._open))
            self._tasks.add(task)
            task.add_done_callback(self._over)
        return await waiting.done

    async def _all(self, lot: Lot[A, R]) -> None:
        try:
            await self._some(lot)
        finally:
            lot.close()
            if self._open is lot:
                self._open = None  # what was asked may be large
            for one in lot.waiting:
                if not one.done.done():
                    one.done.set_exception(StoreUnavailable("the server ends"))
                    one.done.exception()  # a caller who is gone does not have to hear it

    async def _some(self, lot: Lot[A, R]) -> None:
        try:
            results = await self._in_time(lot)
        except Exception as error:  # noqa: BLE001 - the callers get it
            lot.close()
            if len(lot.waiting) > 1 and not isinstance(error, StoreClosed | StoreUnavailable):
                for one in lot.waiting:
                    await self._some(Lot(one))
                return
            for one in lot.waiting:
                if not one.done.done():
                    # An object for each: a traceback that several tasks share grows with every raise.
                    one.done.set_exception(error if len(lot.waiting) == 1 else _alike(error))
            return
        for one, result in zip(lot.waiting, results, strict=True):
            if not one.done.done():
                one.done.set_result(result)

    async def _in_time(self, lot: Lot[A, R]) -> Sequence[R]:
        if self._patience is None:
            return await self._do(lot)
        try:
            async with asyncio.timeout_at(lot.waiting[0].since + self._patience):
                return await self._do(lot)
        except TimeoutError as error:
            raise StoreUnavailable(f"the database did not answer within {self._patience:g} seconds") from error

    def _over(self, task: asyncio.Task[None]) -> None:
        """Whatever ended it, those who waited were told; nobody asks the task."""
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()


def _alike(error: Exception) -> Exception:
    copy = StoreClosed(str(error)) if isinstance(error, StoreClosed) else StoreUnavailable(str(error))
    copy.__cause__ = error
    return copy
