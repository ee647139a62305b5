"""A queue on a real store and a clock that stands still, with what it was given and what it reported."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bot.queue.api import Result
from bot.queue.memory import MemoryQueue
from bot.store.engine import SqlStore
from bot.store.keyrows import StoreKeyRows
from tests.store.support import StillClock


class Sleeper:
    """Sleeps until the test lets time pass; `passed` says that somebody sleeps."""

    def __init__(self) -> None:
        self._tick = asyncio.Event()

    async def sleep(self, _: float) -> None:
        await self._tick.wait()

    def tick(self) -> None:
        """Ends every sleep that was begun before."""
        self._tick.set()
        self._tick = asyncio.Event()


class Bench:
    """A queue on a real store, with what its handler was given and its reporter was told."""

    def __init__(self, store: SqlStore, clock: StillClock) -> None:
        self.store = store
        self.clock = clock
        self.sleeper = Sleeper()
        self.rows = StoreKeyRows(store)
        self.errors: list[tuple[str | None, BaseException]] = []
        self.both_failed = asyncio.Event()
        self.ran: list[str] = []
        self.answers: list[Result | BaseException | Callable[[], None]] = []
        self.queue = self.another()

    def another(self, rows: StoreKeyRows | None = None, workers: int = 8) -> MemoryQueue:
        """A queue as a new process would have it."""
        queue = MemoryQueue(
            self.rows if rows is None else rows,
            now=self.clock.now,
            chance=lambda: 0.0,
            on_error=self.report,
            workers=workers,
            sleep=self.sleeper.sleep,
        )
        self.store.on_marked(queue.wake)
        return queue

    def report(self, key: str | None, error: BaseException) -> None:
        self.errors.append((key, error))
        if {name is None for name, _ in self.errors} == {True, False}:
            self.both_failed.set()  # a look at all rows, and a key's own row

    async def handle(self, key: str) -> Result:
        self.ran.append(key)
        answer = self.answers.pop(0) if self.answers else Result()
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, Result) else Result()

    async def steps(self) -> list[str]:
        """Runs all that is due now."""
        keys = []
        while (key := await self.queue.step(self.handle)) is not None:
            keys.append(key)
        return keys
