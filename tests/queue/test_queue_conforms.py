"""What every driver of the keyed queue must do: 2,000 events on 50 keys, failures, restarts.

Truth is kept outside of the queue; a wake-up is lost if a key's last run saw less than the truth once all is quiet.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from bot.queue.api import Result
from tests.databases import PostgresqlServer
from tests.effort import by_effort, more
from tests.queue.drivers import Driver, FastClock, Opened, between_processes, in_memory
from tests.store.support import url_of

EVENTS = 2_000
QUICK = 300
"""Events on PostgreSQL in a sample."""
KEYS = 50
FAILURES = 0.1
PATIENCE = 60.0

AT_ONCE = 25
"""Marks under way at once, as a busy intake has them."""

pytestmark = [
    more,
    pytest.mark.parametrize(
        "driver",
        [
            pytest.param(in_memory, id="in memory on SQLite"),
            pytest.param(between_processes, id="procrastinate on PostgreSQL"),
        ],
    ),
]


@pytest.fixture
def url(driver: Driver, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    if driver is in_memory:
        return url_of(tmp_path / "q.db")
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return server.fresh()


class World:
    """What is true, what runs have seen of it, and what went wrong."""

    def __init__(self, seed: int) -> None:
        self.truth: dict[str, int] = {}
        self.seen: dict[str, int] = {}
        self.running: set[str] = set()
        self.overlaps: list[str] = []
        self.runs = 0
        self.all_told = False
        self.converged = asyncio.Event()
        self._random = random.Random(seed)

    async def handle(self, key: str) -> Result:
        if key in self.running:
            self.overlaps.append(key)
        self.running.add(key)
        try:
            saw = self.truth[key]
            for _ in range(self._random.randrange(4)):
                await asyncio.sleep(0)
            self.runs += 1
            if self._random.random() < FAILURES:
                raise ConnectionError("GitHub hung up")
            self.seen[key] = saw
        finally:
            self.running.discard(key)
        if self.all_told and self.seen == self.truth:
            self.converged.set()
        return Result()

    def event(self, number: int) -> str:
        key = f"key-{self._random.randrange(KEYS)}"
        self.truth[key] = number
        return key


def events_of(driver: Driver) -> int:
    return EVENTS if driver is in_memory else by_effort(QUICK, EVENTS, EVENTS)


async def mark_all(opened: Opened, keys: list[str]) -> None:
    for first in range(0, len(keys), AT_ONCE):
        await asyncio.gather(*(opened.rows.mark(key) for key in keys[first : first + AT_ONCE]))


async def test_no_event_is_lost_and_no_key_runs_twice_at_once(driver: Driver, url: str) -> None:
    world = World(1)
    async with driver(url, FastClock()) as opened:
        running = asyncio.create_task(opened.queue.run(world.handle))
        await mark_all(opened, [world.event(number) for number in range(events_of(driver))])
        world.all_told = True
        last = world.event(EVENTS)
        await opened.rows.mark(last)
        await asyncio.wait_for(world.converged.wait(), PATIENCE)
        await opened.queue.drain()
        await running

    assert world.seen == world.truth
    assert world.overlaps == []
    assert {type(error) for error in opened.errors} == {ConnectionError}


async def test_restarts_in_the_middle_lose_nothing(driver: Driver, url: str) -> None:
    world = World(2)
    clock = FastClock()
    parts = 5
    for part in range(parts):
        async with driver(url, clock) as opened:
            running = asyncio.create_task(opened.queue.run(world.handle))
            await mark_all(
                opened, [world.event(part * EVENTS + number) for number in range(events_of(driver) // parts)]
            )
            if part < parts - 1:
                opened.queue.close()  # what runs is cut off, as by a crash
            else:
                world.all_told = True
                await opened.rows.mark(world.event(parts * EVENTS))
                await asyncio.wait_for(world.converged.wait(), PATIENCE)
                await opened.queue.drain()
            await running

    assert world.seen == world.truth
    assert world.overlaps == []


async def test_a_mark_whose_wake_up_was_lost_in_a_crash_runs_after_the_start(driver: Driver, url: str) -> None:
    world = World(3)
    async with driver(url, FastClock()) as opened:
        await opened.rows.mark(world.event(1))
    world.all_told = True

    async with driver(url, FastClock()) as opened:
        running = asyncio.create_task(opened.queue.run(world.handle))
        await asyncio.wait_for(world.converged.wait(), PATIENCE)
        await opened.queue.drain()
        await running


async def test_events_for_a_waiting_key_coalesce(driver: Driver, url: str) -> None:
    world = World(4)
    async with driver(url, FastClock()) as opened:
        world.truth["key"] = 1
        await asyncio.gather(*(opened.rows.mark("key") for _ in range(500)))
        world.all_told = True
        running = asyncio.create_task(opened.queue.run(world.handle))
        await asyncio.wait_for(world.converged.wait(), PATIENCE)
        await opened.queue.drain()
        await running

    assert world.runs <= 2
