"""The drivers under test behind one face, so that the conformance run is written once.

A driver opens the durable rows at a database, gives a queue on them, and can be stopped as a crash would stop it. Time
runs faster than on the wall, so that pauses of seconds and minutes pass within a test.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from bot.queue.api import KeyedQueue, Row
from bot.queue.memory import MemoryQueue
from bot.queue.procrastinate import ProcrastinateQueue
from bot.store.engine import SqlStore, open_store
from bot.store.fencing import SharedKeyRows
from bot.store.keyrows import StoreKeyRows
from bot.store.migrate import prepare
from bot.store.postgresql import PostgresqlDatabase
from bot.store.together import due_keys
from tests.store.support import START, CountedIds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# A back-off of two seconds passes in ten milliseconds.
SPEED = 200

# Seconds on the wall; long enough for a busy machine, short enough to wait for.
HEARTBEAT = 0.25
DEAD_AFTER = 1.5


class FastClock:
    """Wall time, faster. Processes that are given the same beginning agree on it."""

    def __init__(self, began: float | None = None) -> None:
        self.began = time.time() if began is None else began

    def now(self) -> datetime:
        return START + timedelta(seconds=(time.time() - self.began) * SPEED)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)


class Rows(Protocol):
    """What both kinds of rows have."""

    async def mark(self, key: str, priority: int = 0, at: datetime | None = None) -> None: ...
    async def begin(self, key: str) -> Row | None: ...
    async def load(self, until: datetime | None) -> Sequence[Row]: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """A queue and its rows, as an application has them."""

    store: SqlStore
    queue: KeyedQueue
    rows: Rows
    errors: list[BaseException]


Driver = Callable[[str, FastClock], AbstractAsyncContextManager[Opened]]


@asynccontextmanager
async def in_memory(url: str, clock: FastClock) -> AsyncIterator[Opened]:
    """The default: in memory over an SQLite file."""
    prepare(url, clock)
    errors: list[BaseException] = []
    async with open_store(url, clock, CountedIds()) as store:
        rows = StoreKeyRows(store)
        queue = MemoryQueue(
            rows,
            now=clock.now,
            chance=random.Random(7).random,
            on_error=lambda _, error: errors.append(error),
            sleep=clock.sleep,
        )
        store.on_marked(queue.wake)
        yield Opened(store, queue, rows, errors)


@asynccontextmanager
async def between_processes(url: str, clock: FastClock, process: str = "the only one") -> AsyncIterator[Opened]:
    """Procrastinate over PostgreSQL. The engine's own pauses are on the wall."""
    prepare(url, clock)
    errors: list[BaseException] = []
    async with open_store(url, clock, CountedIds(), shared=True) as store:
        rows = SharedKeyRows(store, process)
        queue = ProcrastinateQueue(
            rows,
            PostgresqlDatabase(url).conninfo,
            now=clock.now,
            chance=random.Random(7).random,
            on_error=lambda _, error: errors.append(error),
            heartbeat=HEARTBEAT,
            dead_after=DEAD_AFTER,
            poll=0.1,
            tick=0.1,
        )

        def also(driver: Any, told: Any) -> None:
            queue.queue_within(driver, due_keys(told, clock.now()))

        store.commit_with(also)
        yield Opened(store, queue, rows, errors)
