"""What arrives while the store is busy with the same is done together by the next transaction.

The more arrives, the fewer transactions each takes; whoever is alone waits for nobody. Promises: calls are done in
their order; when several together fail because of one of them, each is done by itself and only that one hears of it;
nobody is left waiting, however this ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
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


class Gathered(Generic[A, R]):
    """`do` gets what was asked and returns what came of each, in the same order. With `patience` (seconds) nobody waits
    for longer: one clock for all that are done together, set for the one who has waited longest."""

    def __init__(self, do: Callable[[Sequence[A]], Awaitable[Sequence[R]]], patience: float | None = None) -> None:
        self._do = do
        self._patience = patience
        self._waiting: list[_Waiting[A, R]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, one: A) -> R:
        """What came of it. Raises what `do` raises, and StoreUnavailable when that takes too long."""
        loop = asyncio.get_running_loop()
        waiting: _Waiting[A, R] = _Waiting(one, loop.create_future(), loop.time())
        self._waiting.append(waiting)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._all())
            self._task.add_done_callback(_heard)
        return await waiting.done

    async def _all(self) -> None:
        """Until nothing is left."""
        some: list[_Waiting[A, R]] = []
        try:
            while self._waiting:
                some, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
                await self._some(some)
        finally:
            for one in (*some, *self._waiting):
                if not one.done.done():
                    one.done.set_exception(StoreUnavailable("the server ends"))
                    one.done.exception()  # a caller who is gone does not have to hear it
            self._waiting = []

    async def _some(self, some: Sequence[_Waiting[A, R]]) -> None:
        try:
            results = await self._in_time(some)
        except Exception as error:  # noqa: BLE001 - the callers get it
            if len(some) > 1 and not isinstance(error, StoreClosed | StoreUnavailable):
                for one in some:
                    await self._some([one])
                return
            for one in some:
                if not one.done.done():
                    # An object for each: a traceback that several tasks share grows with every raise.
                    one.done.set_exception(error if len(some) == 1 else _alike(error))
            return
        for one, result in zip(some, results, strict=True):
            if not one.done.done():
                one.done.set_result(result)

    async def _in_time(self, some: Sequence[_Waiting[A, R]]) -> Sequence[R]:
        asked = [one.asked for one in some]
        if self._patience is None:
            return await self._do(asked)
        try:
            async with asyncio.timeout_at(some[0].since + self._patience):
                return await self._do(asked)
        except TimeoutError as error:
            raise StoreUnavailable(f"the database did not answer within {self._patience:g} seconds") from error


def _heard(task: asyncio.Task[None]) -> None:
    """Whatever ended it, those who waited were told; nobody asks the task."""
    if not task.cancelled():
        task.exception()


def _alike(error: Exception) -> Exception:
    copy = StoreClosed(str(error)) if isinstance(error, StoreClosed) else StoreUnavailable(str(error))
    copy.__cause__ = error
    return copy
