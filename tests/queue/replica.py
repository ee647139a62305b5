"""One process of several on one queue; runs keys until it is ended.

Usage: python -m tests.queue.replica URL BEGAN NAME ACTS. A run notes in the ledger that it began, takes its time, acts
once per revision outside of the ledger (a line in the file ACTS, as a comment on GitHub would be) and notes that it
ended. Says `refused` when something of it was refused because another run of the key had begun.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

from bot.domain.model import IssueKey, parse_key
from bot.errors import Superseded
from bot.outbox import Once
from bot.protocols.ledger import Audit, OutboxRow
from bot.queue.api import Result
from bot.store.fencing import RUN, still_ours
from tests.queue.drivers import FastClock, between_processes

FAILURES = 0.1
TAKES = 0.1


async def work(url: str, began: float, name: str, acts: str) -> None:
    chance = random.Random(name)
    clock = FastClock(began)
    file = os.open(acts, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    async with between_processes(url, clock, name) as opened:
        store = opened.store
        once = Once(store, clock)

        async def note(kind: str, key: IssueKey) -> None:
            run = RUN.get()
            assert run is not None
            epoch = str(run.epoch)
            await store.write(lambda tx: tx.audit(Audit(clock.now(), key, kind, name, epoch)))

        async def act_once(key: IssueKey, wanted: int) -> None:
            word = f"{key}:{wanted}"

            async def act() -> str:
                await still_ours(store)
                os.write(file, f"{word}\n".encode())
                return word

            async def find(_: OutboxRow) -> str | None:
                done = os.pread(file, 10_000_000, 0).decode().splitlines()
                return word if word in done else None

            await once.perform(
                word, "comment", repo=key.repo_key, issue=key, fence=None, may=lambda _: True, act=act, find=find,
                record=lambda _, done: done,
            )  # fmt: skip

        async def handle(text: str) -> Result:
            key = parse_key(text)
            assert isinstance(key, IssueKey)
            try:
                await note("began", key)
                row = await store.read(lambda tx: tx.key_row(text))
                assert row is not None
                await asyncio.sleep(TAKES)
                if chance.random() < FAILURES:
                    raise ConnectionError("GitHub hung up")
                await act_once(key, row.wanted)
                await note("ended", key)
            except Superseded:
                os.write(1, b"refused\n")
                raise
            return Result()

        os.write(1, b"ready\n")
        await opened.queue.run(handle)
    os.close(file)


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], float(sys.argv[2]), sys.argv[3], sys.argv[4]))
