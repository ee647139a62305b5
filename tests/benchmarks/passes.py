"""The whole way from webhook to pass as a process of its own: `python -m tests.benchmarks.passes ADDRESS COUNT`.

It prints its port and serves on loopback. When its standard input is closed and COUNT keys were looked at, it prints
when the first look at each of them began, as JSON: seconds of the machine's monotonic clock, by key.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

import structlog
from aiohttp import web

from bot.cli.serve import loop_factory, settle
from bot.clock import RandomIds, SystemClock
from bot.queue.api import Result
from bot.queue.memory import MemoryQueue
from bot.store.engine import open_store
from bot.store.inbox import SqlInbox
from bot.store.keyrows import StoreKeyRows
from bot.store.migrate import prepare
from bot.store.router import Router
from bot.web.api.problems import problems
from tests.benchmarks.server import QUIET, webhook

PATIENCE = 60.0
"""Seconds in which all keys must have been looked at once the last delivery was answered."""


async def serve(address: str, count: int) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(QUIET))
    prepare(address, SystemClock())
    began: dict[str, float] = {}
    all_began = asyncio.Event()

    async def look(key: str) -> Result:
        began.setdefault(key, time.monotonic())
        if len(began) == count:
            all_began.set()
        return Result()

    def failed(key: str | None, error: BaseException) -> None:
        raise RuntimeError(f"{key}: {error}")

    async with open_store(address, SystemClock(), RandomIds()) as store:
        queue = MemoryQueue(StoreKeyRows(store), now=store.clock.now, chance=random.random, on_error=failed)
        store.on_marked(queue.wake)
        router = Router(store, lambda error: failed(None, error))
        app = web.Application(middlewares=[problems])
        app.add_routes(webhook(SqlInbox(store, router.nudge)).routes())
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        settle()
        tasks = [asyncio.create_task(queue.run(look)), asyncio.create_task(router.run())]
        sys.stdout.write(f"{runner.addresses[0][1]}\n")
        sys.stdout.flush()
        try:
            await asyncio.to_thread(sys.stdin.read)
            async with asyncio.timeout(PATIENCE):
                await all_began.wait()
            sys.stdout.write(json.dumps(began) + "\n")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await runner.cleanup()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(sys.argv[1], int(sys.argv[2])))
