"""The in-memory driver step by step, on a clock that stands still until it is told to move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bot.queue.api import Result
from bot.queue.backoff import BASE, CAP, delay
from bot.queue.memory import SWEEP_EVERY, MemoryQueue
from bot.store.engine import SqliteStore
from bot.store.keyrows import KeyRow, StoreKeyRows
from tests.store.support import START, StillClock, ask, copy_template, fresh_store, template_in

SECOND = timedelta(seconds=1)


class Sleeper:
    """Sleeps until the test lets time pass; `passed` says that somebody sleeps."""

    def __init__(self) -> None:
        self._tick = asyncio.Event()

    async def sleep(self, _: float) -> None:
        await self._tick.wait()

    def tick(self) -> None:
        """Ends every sleep that was begun before."""
        self._tick.set()
        self._tick = asyncio.Event()


class Bench:
    """A queue on a real store, with what its handler was given and its reporter was told."""

    def __init__(self, store: SqliteStore, clock: StillClock) -> None:
        self.store = store
        self.clock = clock
        self.sleeper = Sleeper()
        self.rows = StoreKeyRows(store)
        self.errors: list[tuple[str | None, BaseException]] = []
        self.both_failed = asyncio.Event()
        self.ran: list[str] = []
        self.answers: list[Result | BaseException | Callable[[], None]] = []
        self.queue = self.another()

    def another(self, rows: StoreKeyRows | None = None, workers: int = 8) -> MemoryQueue:
        """A queue as a new process would have it."""
        queue = MemoryQueue(
            self.rows if rows is None else rows,
            now=self.clock.now,
            chance=lambda: 0.0,
            on_error=self.report,
            workers=workers,
            sleep=self.sleeper.sleep,
        )
        self.store.on_marked(queue.wake)
        return queue

    def report(self, key: str | None, error: BaseException) -> None:
        self.errors.append((key, error))
        if {name is None for name, _ in self.errors} == {True, False}:
            self.both_failed.set()  # a look at all rows, and a key's own row

    async def handle(self, key: str) -> Result:
        self.ran.append(key)
        answer = self.answers.pop(0) if self.answers else Result()
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, Result) else Result()

    async def steps(self) -> list[str]:
        """Runs all that is due now."""
        keys = []
        while (key := await self.queue.step(self.handle)) is not None:
            keys.append(key)
        return keys


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "q.db"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template_in(tmp_path_factory.mktemp("template"))


@pytest.fixture
async def bench(path: Path, template: Path) -> AsyncIterator[Bench]:
    copy_template(template, path)
    clock = StillClock()
    async with fresh_store(path, clock) as store:
        yield Bench(store, clock)


async def test_a_marked_key_runs_once_and_is_quiet_then(bench: Bench) -> None:
    await bench.rows.mark("a")
    await bench.rows.mark("a")

    assert await bench.steps() == ["a"]
    assert bench.queue.idle()
    assert bench.queue.next_time() is None


async def test_higher_priorities_run_first_and_equal_ones_in_order(bench: Bench) -> None:
    for key, priority in (("b", 0), ("a", 0), ("low", -5), ("urgent", 9)):
        await bench.rows.mark(key, priority)
    await bench.rows.mark("a", 0)

    assert await bench.steps() == ["urgent", "b", "a", "low"]


async def test_marking_again_can_raise_a_priority_and_never_lowers_it(bench: Bench) -> None:
    await bench.rows.mark("a", 5)
    await bench.rows.mark("b", 1)
    await bench.rows.mark("c", 0)
    await bench.rows.mark("a", 0)
    await bench.rows.mark("c", 9)

    assert await bench.steps() == ["c", "a", "b"]


async def test_a_key_marked_while_it_runs_runs_once_more(bench: Bench) -> None:
    async def marking(key: str) -> Result:
        bench.ran.append(key)
        if len(bench.ran) == 1:
            await bench.rows.mark(key)
            await bench.rows.mark(key)
        return Result()

    await bench.rows.mark("a")
    while await bench.queue.step(marking):
        pass

    assert bench.ran == ["a", "a"]


async def test_a_mark_during_a_run_is_not_put_off_by_the_time_that_the_run_asks_for(bench: Bench) -> None:
    async def marking(key: str) -> Result:
        bench.ran.append(key)
        if len(bench.ran) == 1:
            await bench.rows.mark(key, 7)
        return Result(next_due_at=START + 3600 * SECOND)

    await bench.rows.mark("a")
    while await bench.queue.step(marking):
        pass

    assert bench.ran == ["a", "a"]
    assert bench.queue.next_time() == START + 3600 * SECOND


async def test_a_mark_during_a_run_that_fails_is_not_put_off_by_the_back_off(bench: Bench) -> None:
    async def marking(key: str) -> Result:
        bench.ran.append(key)
        if len(bench.ran) == 1:
            await bench.rows.mark(key)
            raise OSError
        return Result()

    await bench.rows.mark("a")
    while await bench.queue.step(marking):
        pass

    assert bench.ran == ["a", "a"]


class MarkedLate(StoreKeyRows):
    """Somebody marks the key after its run was written down and before the queue has heard of that."""

    marks = 1

    async def finish(self, key: str, rev: int, next_due_at: datetime | None) -> KeyRow | None:
        row = await super().finish(key, rev, next_due_at)
        if self.marks:
            self.marks -= 1
            await self.mark(key)
        return row


async def test_a_mark_between_the_end_of_a_run_and_its_answer_is_not_lost(bench: Bench) -> None:
    bench.queue = bench.another(MarkedLate(bench.store))
    await bench.rows.mark("a")

    assert await bench.steps() == ["a", "a"]


async def test_a_wake_up_without_anything_to_do_runs_nothing(bench: Bench) -> None:
    await bench.rows.mark("a")
    assert await bench.steps() == ["a"]
    bench.queue.wake("a")
    bench.queue.wake("never marked")

    assert await bench.steps() == []


async def test_a_handler_sets_the_next_time_and_a_sooner_one_wins(bench: Bench) -> None:
    bench.answers = [Result(next_due_at=START + 60 * SECOND)]
    await bench.rows.mark("a")
    await bench.steps()
    assert bench.queue.next_time() == START + 60 * SECOND

    await bench.rows.mark("a", at=START + 90 * SECOND)
    assert bench.queue.next_time() == START + 60 * SECOND
    await bench.rows.mark("a", at=START + 20 * SECOND)
    assert bench.queue.next_time() == START + 20 * SECOND

    bench.clock.advance(19 * SECOND)
    assert await bench.steps() == []
    bench.clock.advance(SECOND)
    assert await bench.steps() == ["a"]
    assert bench.queue.next_time() is None


async def test_a_time_survives_a_restart(bench: Bench) -> None:
    bench.answers = [Result(next_due_at=START + 60 * SECOND)]
    await bench.rows.mark("a")
    await bench.steps()
    bench.queue = bench.another()
    await bench.queue.load()

    assert bench.queue.next_time() == START + 60 * SECOND
    bench.clock.advance(60 * SECOND)
    assert await bench.steps() == ["a"]


async def test_a_time_is_not_lost_when_the_run_it_started_is_cut_off(bench: Bench) -> None:
    bench.answers = [Result(next_due_at=START + 60 * SECOND), SystemExit()]
    await bench.rows.mark("a")
    await bench.steps()
    bench.clock.advance(60 * SECOND)
    with pytest.raises(SystemExit):
        await bench.queue.step(bench.handle)
    bench.queue = bench.another()
    await bench.queue.load()

    assert await bench.steps() == ["a"]


async def test_a_handler_can_ask_to_run_again_at_once(bench: Bench) -> None:
    bench.answers = [Result(again=True), Result(again=True)]
    await bench.rows.mark("a")
    await bench.rows.mark("b")

    assert await bench.steps() == ["a", "b", "a", "b"], "the others get their turn in between"


async def test_failures_wait_longer_each_time_and_success_forgets_them(bench: Bench, path: Path) -> None:
    bench.answers = [OSError("one"), OSError("two"), OSError("three"), Result(), OSError("four")]
    waits = []
    await bench.rows.mark("a")
    for _ in range(3):
        assert await bench.steps() == ["a"]
        due = bench.queue.next_time()
        assert due is not None
        waits.append(due - bench.clock.now())
        bench.clock.advance(waits[-1])

    assert waits == [2 * SECOND, 4 * SECOND, 8 * SECOND]
    assert ask(path, "SELECT attempts, last_error, wanted_rev, seen_rev FROM keys") == [(3, "OSError", 1, 0)]
    assert [str(error) for _, error in bench.errors] == ["one", "two", "three"]

    assert await bench.steps() == ["a"]
    assert ask(path, "SELECT attempts, last_error, wanted_rev, seen_rev FROM keys") == [(0, None, 1, 1)]
    await bench.rows.mark("a")
    await bench.steps()
    assert bench.queue.next_time() == bench.clock.now() + 2 * SECOND


async def test_a_back_off_survives_a_restart(bench: Bench) -> None:
    bench.answers = [OSError(), OSError()]
    await bench.rows.mark("a")
    await bench.steps()
    bench.queue = bench.another()
    await bench.queue.load()

    assert await bench.steps() == []
    bench.clock.advance(2 * SECOND)
    assert await bench.steps() == ["a"]
    assert bench.queue.next_time() == bench.clock.now() + 4 * SECOND


async def test_a_new_mark_cuts_a_back_off_short(bench: Bench) -> None:
    bench.answers = [OSError()]
    await bench.rows.mark("a")
    await bench.steps()
    assert await bench.steps() == []
    await bench.rows.mark("a")

    assert await bench.steps() == ["a"]


async def test_a_cancellation_that_the_handler_raises_itself_is_a_failure_like_others(bench: Bench) -> None:
    bench.answers = [asyncio.CancelledError()]
    await bench.rows.mark("a")

    assert await bench.steps() == ["a"]
    assert bench.queue.next_time() == START + 2 * SECOND


@pytest.mark.parametrize(
    ("attempts", "chance", "expected"),
    [
        pytest.param(1, 0.0, BASE, id="the first failure waits the base"),
        pytest.param(5, 0.0, 32 * SECOND, id="doubled each time"),
        pytest.param(9, 0.0, CAP, id="capped"),
        pytest.param(10**9, 0.0, CAP, id="capped however often"),
        pytest.param(1, 0.5, BASE * 0.75, id="shortened by chance"),
        pytest.param(9, 1.0, CAP / 2, id="by half at most"),
    ],
)
def test_the_pause_after_a_failure(attempts: int, chance: float, expected: timedelta) -> None:
    assert delay(attempts, chance) == expected


# --- the loop


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
