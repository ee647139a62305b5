"""The in-memory driver's loop: woken, swept, drained, cut off, and outliving every error."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bot.queue.api import Result
from bot.queue.memory import SWEEP_EVERY, MemoryQueue
from bot.store.engine import SqlStore
from bot.store.keyrows import KeyRow, StoreKeyRows
from tests.queue.bench import Bench
from tests.store.support import REPO, ask

SECOND = timedelta(seconds=1)


class Away(StoreKeyRows):
    """Rows whose database is away for a while."""

    away = False

    async def begin(self, key: str) -> KeyRow | None:
        self._check()
        return await super().begin(key)

    async def load(self, until: datetime | None) -> Sequence[KeyRow]:
        self._check()
        return await super().load(until)

    def _check(self) -> None:
        if self.away:
            raise OSError("the database is away")


class Counting(StoreKeyRows):
    """Rows that note which were read for a run."""

    def __init__(self, store: SqlStore) -> None:
        super().__init__(store)
        self.read: list[str] = []

    async def begin(self, key: str) -> KeyRow | None:
        self.read.append(key)
        return await super().begin(key)


class Slow(StoreKeyRows):
    """Rows whose ends are written only when that is allowed."""

    def __init__(self, store: SqlStore) -> None:
        super().__init__(store)
        self.may_write = asyncio.Event()

    async def finish(self, key: str, rev: int, next_due_at: datetime | None) -> KeyRow | None:
        await self.may_write.wait()
        return await super().finish(key, rev, next_due_at)


class Loop:
    """A running loop whose handler says when it was called and can be held."""

    def __init__(self, queue: MemoryQueue) -> None:
        self.queue = queue
        self.started: asyncio.Queue[str] = asyncio.Queue()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.cut: list[str] = []
        self.most = 0
        self._now = 0
        self.task = asyncio.create_task(queue.run(self.handle))

    async def handle(self, key: str) -> Result:
        self._now += 1
        self.most = max(self.most, self._now)
        self.started.put_nowait(key)
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cut.append(key)
            raise
        finally:
            self._now -= 1
        return Result()

    async def next(self) -> str:
        return await asyncio.wait_for(self.started.get(), 10)

    async def end(self) -> None:
        await asyncio.wait_for(asyncio.gather(self.queue.drain(), self.task), 10)


async def test_a_running_loop_is_woken_by_a_mark_and_sleeps_in_between(bench: Bench) -> None:
    loop = Loop(bench.queue)
    await bench.rows.mark("a")
    assert await loop.next() == "a"
    await bench.rows.mark("b")
    assert await loop.next() == "b"
    await loop.end()

    assert bench.errors == []


async def test_no_more_keys_run_at_once_than_there_are_workers(bench: Bench) -> None:
    bench.queue = bench.another(workers=3)
    loop = Loop(bench.queue)
    loop.go_on.clear()
    for number in range(10):
        await bench.rows.mark(f"key-{number}")
    first = {await loop.next() for _ in range(3)}
    assert bench.queue.stats().running == 3
    loop.go_on.set()
    rest = {await loop.next() for _ in range(7)}
    await loop.end()

    assert len(first | rest) == 10
    assert loop.most == 3


async def test_a_run_whose_end_is_being_written_keeps_its_own_key_waiting_and_no_other(bench: Bench) -> None:
    rows = Slow(bench.store)
    bench.queue = bench.another(rows, workers=1)
    loop = Loop(bench.queue)
    await bench.rows.mark("a")
    assert await loop.next() == "a"
    await bench.rows.mark("a")
    await bench.rows.mark("b")
    assert await loop.next() == "b"
    assert loop.started.empty()
    rows.may_write.set()
    assert await loop.next() == "a"
    await loop.end()

    assert loop.most == 1


async def test_a_key_that_a_webhook_woke_begins_with_the_row_that_its_mark_left(bench: Bench) -> None:
    """What came meanwhile is seen by one more run, and a key that somebody woke without its row is read."""
    bench.queue = bench.another(rows := Counting(bench.store))
    for _ in range(2):
        await bench.store.write(lambda tx: tx.mark_all([REPO]))
    assert await bench.steps() == [str(REPO)]
    assert rows.read == []

    await bench.store.write(lambda tx: tx.mark_all([REPO]))
    await bench.store.write(lambda tx: tx.mark(REPO))
    assert await bench.steps() == [str(REPO)]
    assert rows.read == [str(REPO)]

    await bench.store.write(lambda tx: tx.mark_all([REPO]))
    bench.store.on_marked(lambda *_, **__: None)
    await bench.store.write(lambda tx: tx.mark_all([REPO]))
    bench.store.on_marked(bench.queue.wake)
    assert await bench.steps() == [str(REPO), str(REPO)], "the row that was left is older than the last mark"


async def test_the_sweep_finds_a_row_whose_wake_up_was_lost(bench: Bench) -> None:
    loop = Loop(bench.queue)
    await bench.rows.mark("first")
    assert await loop.next() == "first"
    bench.store.on_marked(lambda *_, **__: None)
    await bench.rows.mark("lost")
    bench.clock.advance(SWEEP_EVERY)
    bench.sleeper.tick()

    assert await loop.next() == "lost"
    await loop.end()


async def test_the_loop_outlives_a_database_that_is_away(bench: Bench) -> None:
    rows = Away(bench.store)
    bench.queue = bench.another(rows)
    rows.away = True
    await bench.rows.mark("a")
    loop = Loop(bench.queue)
    await asyncio.wait_for(bench.both_failed.wait(), 10)
    rows.away = False
    bench.clock.advance(5 * SECOND)
    bench.sleeper.tick()

    assert await loop.next() == "a"
    await loop.end()
    assert {str(error) for _, error in bench.errors} == {"the database is away"}


async def test_a_reporter_that_fails_does_not_end_the_loop(bench: Bench) -> None:
    def broken(_: str | None, error: BaseException) -> None:
        raise LookupError("no log") from error

    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    bench.queue = MemoryQueue(bench.rows, now=bench.clock.now, chance=lambda: 0.0, on_error=broken)
    bench.store.on_marked(bench.queue.wake)
    bench.answers = [OSError()]
    await bench.rows.mark("a")

    assert await bench.steps() == ["a"]
    assert [type(context["exception"]) for context in told] == [LookupError]


async def test_draining_waits_for_what_runs_and_starts_nothing_more(bench: Bench, path: Path) -> None:
    loop = Loop(bench.queue)
    loop.go_on.clear()
    await bench.rows.mark("a")
    await loop.next()
    draining = asyncio.create_task(bench.queue.drain())
    await bench.rows.mark("later")
    loop.go_on.set()

    assert await asyncio.wait_for(draining, 10) == 0
    await asyncio.wait_for(loop.task, 10)
    assert loop.cut == []
    assert loop.started.empty()
    assert ask(path, "SELECT key FROM keys WHERE wanted_rev <> seen_rev") == [("later",)]


async def test_draining_cuts_off_what_takes_too_long_and_it_stays_due(bench: Bench, path: Path) -> None:
    loop = Loop(bench.queue)
    loop.go_on.clear()
    await bench.rows.mark("a")
    await loop.next()
    draining = asyncio.create_task(bench.queue.drain(limit=5))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    bench.sleeper.tick()

    assert await asyncio.wait_for(draining, 10) == 1
    await asyncio.wait_for(loop.task, 10)
    assert loop.cut == ["a"]
    assert ask(path, "SELECT attempts, wanted_rev, seen_rev FROM keys") == [(0, 1, 0)]


async def test_cancelling_the_loop_cuts_off_its_runs_and_leaves_them_due(bench: Bench, path: Path) -> None:
    loop = Loop(bench.queue)
    loop.go_on.clear()
    await bench.rows.mark("a")
    await loop.next()
    loop.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop.task

    assert loop.cut == ["a"]
    assert ask(path, "SELECT attempts, wanted_rev, seen_rev FROM keys") == [(0, 1, 0)]
    again = Loop(bench.queue)
    assert await again.next() == "a"
    await again.end()


async def test_closing_ends_at_once(bench: Bench) -> None:
    loop = Loop(bench.queue)
    loop.go_on.clear()
    await bench.rows.mark("a")
    await loop.next()
    bench.queue.close()
    await asyncio.wait_for(loop.task, 10)

    assert loop.cut == ["a"]


async def test_two_loops_on_one_queue_are_refused(bench: Bench) -> None:
    loop = Loop(bench.queue)
    await bench.rows.mark("a")
    await loop.next()

    with pytest.raises(RuntimeError, match="runs already"):
        await bench.queue.run(bench.handle)
    await loop.end()


async def test_a_time_that_comes_while_its_key_still_runs_begins_no_second_run_beside_it(bench: Bench) -> None:
    loop = Loop(bench.queue)
    loop.go_on.clear()
    await bench.rows.mark("slow")
    assert await loop.next() == "slow"
    await bench.rows.mark("slow", at=bench.clock.now() + timedelta(seconds=10))
    bench.clock.advance(timedelta(seconds=11))
    bench.sleeper.tick()
    await bench.rows.mark("other")
    assert await loop.next() == "other"
    assert bench.queue.stats().running == 2
    loop.go_on.set()
    assert await loop.next() == "slow"
    await loop.end()

    assert bench.errors == []
    assert loop.most == 2
