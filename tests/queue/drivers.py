"""The drivers under test behind one face, so that the conformance run is written once.

A driver opens the durable rows at a place, gives a queue on them, and can be stopped as a crash would stop it. Time
runs faster than on the wall, so that pauses of seconds and minutes pass within a test.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from bot.queue.api import KeyedQueue, KeyRows
from bot.queue.memory import MemoryQueue
from bot.store.engine import SqlStore, open_store
from bot.store.keyrows import StoreKeyRows
from bot.store.migrate import prepare
from tests.store.support import START, CountedIds, url_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# A back-off of two seconds passes in ten milliseconds.
SPEED = 200


class FastClock:
    """Wall time, faster."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def now(self) -> datetime:
        return START + timedelta(seconds=(time.monotonic() - self._began) * SPEED)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)


@dataclass(frozen=True, slots=True)
class Opened:
    """A queue and its rows, as an application has them."""

    queue: KeyedQueue
    rows: KeyRows
    errors: list[BaseException]


Driver = Callable[[Path, FastClock], AbstractAsyncContextManager[Opened]]


@asynccontextmanager
async def memory_on_sqlite(path: Path, clock: FastClock) -> AsyncIterator[Opened]:
    """The default: in memory over an SQLite file."""
    prepare(url_of(path), clock)
    errors: list[BaseException] = []
    async with open_store(url_of(path), clock, CountedIds()) as store:
        yield over(store, clock, errors)


def over(store: SqlStore, clock: FastClock, errors: list[BaseException]) -> Opened:
    rows = StoreKeyRows(store)
    queue = MemoryQueue(
        rows,
        now=clock.now,
        chance=random.Random(7).random,
        on_error=lambda _, error: errors.append(error),
        sleep=clock.sleep,
    )
    store.on_marked(queue.wake)
    return Opened(queue, rows, errors)
