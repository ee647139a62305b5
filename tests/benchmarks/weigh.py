"""`python -m tests.benchmarks.weigh URL`: opens the ledger as a server does, looks at every repository once, and prints
the seconds until everything waiting is known, and the MiB of the process before and after.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path

from bot.clock import RandomIds, SystemClock
from bot.domain.line import NEAR
from bot.domain.schedule import schedule
from bot.policies import policy_of
from bot.queue.memory import MemoryQueue
from bot.queued import Queues
from bot.starter import read_backlog
from bot.store.engine import open_store
from bot.store.keyrows import StoreKeyRows
from bot.store.migrate import prepare


def resident() -> float:
    """MiB at most so far. Not what `getrusage` says, which begins with the process that started this one."""
    [most] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(most.split()[1]) / 1024


async def weigh(url: str) -> None:
    empty, began = resident(), time.perf_counter()
    clock = SystemClock()
    prepare(url, clock)
    store = open_store(url, clock, RandomIds())
    rows = StoreKeyRows(store)
    MemoryQueue(rows, now=clock.now, chance=random.random, on_error=lambda *_: None)
    await rows.load(clock.now())
    queues = Queues()
    started = time.perf_counter() - began
    for repo in await store.read(lambda tx: tx.repos()):
        backlog = await store.read(lambda tx, one=repo: read_backlog(tx, one, clock.now(), queues, disabled=False))  # type: ignore[misc]
        schedule(backlog, policy_of(repo), clock.now(), near=NEAR)
    sys.stdout.write(f"{started} {empty} {resident()}\n")
    await store.close()


if __name__ == "__main__":
    asyncio.run(weigh(sys.argv[1]))
