"""What every driver of the keyed queue must do: 2,000 events on 50 keys, failures, restarts, kills.

Truth is kept outside of the queue; a wake-up is lost if a key's last run saw less than the truth once all is quiet.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bot.queue.api import Result
from tests.queue.drivers import Driver, FastClock, memory_on_sqlite
from tests.store.support import ask

ROOT = Path(__file__).parents[2]
EVENTS = 2_000
KEYS = 50
FAILURES = 0.1
PATIENCE = 60.0

pytestmark = pytest.mark.parametrize("driver", [pytest.param(memory_on_sqlite, id="in memory on SQLite")])


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


async def test_no_event_is_lost_and_no_key_runs_twice_at_once(driver: Driver, tmp_path: Path) -> None:
    world = World(1)
    async with driver(tmp_path / "q.db", FastClock()) as opened:
        running = asyncio.create_task(opened.queue.run(world.handle))
        for number in range(EVENTS):
            await opened.rows.mark(world.event(number))
        world.all_told = True
        last = world.event(EVENTS)
        await opened.rows.mark(last)
        await asyncio.wait_for(world.converged.wait(), PATIENCE)
        await opened.queue.drain()
        await running

    assert world.seen == world.truth
    assert world.overlaps == []
    assert {type(error) for error in opened.errors} == {ConnectionError}


async def test_restarts_in_the_middle_lose_nothing(driver: Driver, tmp_path: Path) -> None:
    world = World(2)
    clock = FastClock()
    parts = 5
    for part in range(parts):
        async with driver(tmp_path / "q.db", clock) as opened:
            running = asyncio.create_task(opened.queue.run(world.handle))
            for number in range(EVENTS // parts):
                await opened.rows.mark(world.event(part * EVENTS + number))
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


async def test_a_mark_whose_wake_up_was_lost_in_a_crash_runs_after_the_start(driver: Driver, tmp_path: Path) -> None:
    world = World(3)
    async with driver(tmp_path / "q.db", FastClock()) as opened:
        await opened.rows.mark(world.event(1))
    world.all_told = True

    async with driver(tmp_path / "q.db", FastClock()) as opened:
        running = asyncio.create_task(opened.queue.run(world.handle))
        await asyncio.wait_for(world.converged.wait(), PATIENCE)
        await opened.queue.drain()
        await running


async def test_events_for_a_waiting_key_coalesce(driver: Driver, tmp_path: Path) -> None:
    world = World(4)
    async with driver(tmp_path / "q.db", FastClock()) as opened:
        world.truth["key"] = 1
        await asyncio.gather(*(opened.rows.mark("key") for _ in range(500)))
        world.all_told = True
        running = asyncio.create_task(opened.queue.run(world.handle))
        await asyncio.wait_for(world.converged.wait(), PATIENCE)
        await opened.queue.drain()
        await running

    assert world.runs <= 2


# --- kill -9


def handler_process(path: Path, first: int, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.queue.victim", str(path), str(first), str(count)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def marked_by(process: subprocess.Popen[str], *, kill_after: int | None) -> int:
    """How many events the process said were committed; it is killed once there are so many."""
    told = 0
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            told += line == "marked\n"
            if told == kill_after:
                process.kill()
    assert process.wait(PATIENCE) == (0 if kill_after is None else -signal.SIGKILL)
    return told


def test_killed_processes_lose_no_wake_up(driver: Driver, tmp_path: Path) -> None:
    if driver is not memory_on_sqlite:
        raise AssertionError("the victim opens the default driver; give it this driver's name too")
    path = tmp_path / "q.db"
    told = marked_by(handler_process(path, 0, EVENTS), kill_after=EVENTS // 3)
    told += marked_by(handler_process(path, told, EVENTS), kill_after=EVENTS // 3)
    told += marked_by(handler_process(path, told, EVENTS - told), kill_after=None)

    rows = {key: (wanted, seen) for key, wanted, seen in ask(path, "SELECT key, wanted_rev, seen_rev FROM keys")}
    log = (tmp_path / "q.db.runs").read_text().splitlines()
    assert len(rows) == KEYS
    assert sum(wanted for wanted, _ in rows.values()) >= told >= EVENTS * 2 // 3
    assert all(wanted == seen for wanted, seen in rows.values())
    last_seen: dict[str, int] = {}
    for line in log:
        word, key, revision = line.split()
        assert word == "done", f"two runs of {key} at once"
        last_seen[key] = int(revision)
    assert last_seen == {key: wanted for key, (wanted, _) in rows.items()}
