"""The in-memory driver step by step, on a clock that stands still until it is told to move."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bot.queue.api import Result
from bot.queue.backoff import BASE, CAP, delay
from bot.store.keyrows import KeyRow, StoreKeyRows
from tests.queue.bench import Bench
from tests.store.support import START, ask

SECOND = timedelta(seconds=1)


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
