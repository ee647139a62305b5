"""A process to be killed: marks keys and runs them; ends by itself once every key was seen.

Usage: python -m tests.queue.victim FILE FIRST COUNT. Says `marked` after each committed event, and appends what each
run saw to FILE.runs.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from bot.queue.api import Result
from tests.queue.drivers import FastClock, in_memory
from tests.store.support import url_of

KEYS = 50
FAILURES = 0.1


async def work(path: Path, first: int, count: int) -> None:
    chance = random.Random(first)
    log = os.open(f"{path}.runs", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    running: set[str] = set()
    told = asyncio.Event()
    quiet = asyncio.Event()

    async with in_memory(url_of(path), FastClock()) as opened:

        async def handle(key: str) -> Result:
            word = "overlap" if key in running else "done"
            running.add(key)
            try:
                row = await opened.rows.begin(key)
                assert row is not None
                await asyncio.sleep(0)
                if chance.random() < FAILURES:
                    raise ConnectionError("GitHub hung up")
                os.write(log, f"{word} {key} {row.wanted}\n".encode())
            finally:
                running.discard(key)
            return Result()

        async def watch() -> None:
            await told.wait()
            while any(row.wanted != row.seen for row in await opened.rows.load(None)):
                pass  # the look itself gives way to the others
            quiet.set()

        loop = asyncio.create_task(opened.queue.run(handle))
        watcher = asyncio.create_task(watch())
        for number in range(first, first + count):
            await opened.rows.mark(f"key-{number % KEYS}")
            os.write(1, b"marked\n")
        told.set()
        await quiet.wait()
        await watcher
        await opened.queue.drain()
        await loop
    os.close(log)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
