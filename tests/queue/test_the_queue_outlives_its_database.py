"""The queue between processes when the database goes away under it, and when it is stopped in the middle."""

from __future__ import annotations

import asyncio

from bot.domain.model import IssueKey
from bot.queue.api import Result
from bot.store.errors import StoreUnavailable
from tests.databases import PostgresqlServer
from tests.queue.drivers import FastClock, Opened, between_processes
from tests.store.support import REPO

PATIENCE = 60.0
LOOK = 0.05


async def seen(opened: Opened) -> None:
    """Waits until nothing is to be done."""
    async with asyncio.timeout(PATIENCE):
        while True:
            await asyncio.sleep(LOOK)
            try:
                if not [row for row in await opened.rows.load(None) if row.wanted != row.seen]:
                    return
            except StoreUnavailable:
                continue


async def marked(opened: Opened, count: int) -> None:
    """Marks keys; who is refused because the database is away tries again, as GitHub's deliveries are."""
    for number in range(count):
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await opened.rows.mark(str(IssueKey(REPO.installation, REPO.repo, number)))
                    break
                except StoreUnavailable:
                    await asyncio.sleep(LOOK)


async def test_connections_that_break_cost_a_moment_and_no_key(postgresql: PostgresqlServer) -> None:
    url = postgresql.fresh()
    ran: list[str] = []
    at_work = asyncio.Event()

    async def handle(key: str) -> Result:
        ran.append(key)
        at_work.set()
        await asyncio.sleep(LOOK)
        return Result()

    async with between_processes(url, FastClock()) as opened:
        running = asyncio.create_task(opened.queue.run(handle))
        await marked(opened, 20)
        for _ in range(2):
            await asyncio.wait_for(at_work.wait(), PATIENCE)
            postgresql.end_connections(url)  # in the middle of runs, as when the server is restarted
            ran.clear()
            at_work.clear()
            await marked(opened, 20)
        await seen(opened)
        assert len(set(ran)) == 20
        assert await opened.queue.drain() == 0
        await running
        with_jobs = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'"
        left = await opened.store.read(lambda tx: tx.connection.exec_driver_sql(with_jobs).scalar_one())
    assert left == 0


async def test_what_is_cut_off_at_the_end_of_a_process_is_due_for_the_next_one(postgresql: PostgresqlServer) -> None:
    url, clock, started = postgresql.fresh(), FastClock(), asyncio.Event()

    async def hangs(_: str) -> Result:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async with between_processes(url, clock, "old") as old:
        running = asyncio.create_task(old.queue.run(hangs))
        await marked(old, 3)
        await asyncio.wait_for(started.wait(), PATIENCE)
        assert await old.queue.drain(0.1) > 0
        await asyncio.wait_for(running, PATIENCE)

    async def ends(_: str) -> Result:
        return Result()

    async with between_processes(url, clock, "new") as new:
        running = asyncio.create_task(new.queue.run(ends))
        await seen(new)
        await new.queue.drain()
        await running
