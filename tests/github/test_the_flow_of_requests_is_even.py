"""Points of requests on a virtual clock: a steady flow, slower after limits, and no rush after a pause or an outage."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from bot.errors import RateLimited
from bot.github.limits import Ask, Lane, Limits
from bot.github.pace import BURST, POINTS_PER_SECOND, RECOVERY, SLOWEST, Pace
from tests.github.support import START, JumpingClock

READ = Ask("GET /x")
A_SECOND = int(POINTS_PER_SECOND) + 1


async def reads(pace: Pace, clock: JumpingClock, count: int) -> Counter[int]:
    """How many reads went out in each second."""
    seconds: Counter[int] = Counter()
    for _ in range(count):
        await pace.read("GET /x")
        seconds[int((clock.now() - START).total_seconds())] += 1
    return seconds


async def test_a_burst_is_free_and_what_follows_flows_evenly() -> None:
    clock = JumpingClock()
    seconds = await reads(Pace(clock, clock.sleep), clock, 840)
    assert seconds[0] <= BURST + A_SECOND
    assert max(count for second, count in seconds.items() if second) <= A_SECOND
    # GitHub counts 900 points in any minute.
    assert sum(count for second, count in seconds.items() if second < 60) < 900


async def test_after_a_limit_answer_the_flow_is_halved_and_comes_back() -> None:
    clock = JumpingClock()
    pace = Pace(clock, clock.sleep)
    for expected in (2, 4, 8, 8):
        pace.limited(clock.now())
        assert pace.slowness == expected <= SLOWEST
    clock.time += RECOVERY
    assert pace.slowness == 4
    clock.time += 10 * RECOVERY
    assert pace.slowness == 1


async def test_after_a_pause_nothing_rushes_out() -> None:
    clock = JumpingClock()
    pace = Pace(clock, clock.sleep)
    pace.limited(START + timedelta(minutes=1))
    clock.time += timedelta(minutes=1)
    seconds = await reads(pace, clock, 60)
    assert max(seconds.values()) <= A_SECOND // 2 + 1


async def test_after_an_outage_nothing_rushes_out() -> None:
    clock = JumpingClock()
    pace = Pace(clock, clock.sleep)
    for _ in range(3):
        await pace.read("GET /x")
        pace.failed()
    clock.time += timedelta(minutes=30)
    await pace.read("GET /x")
    pace.succeeded()
    seconds = await reads(pace, clock, 200)
    assert max(seconds.values()) <= A_SECOND


async def test_a_wait_that_is_too_long_is_the_callers_timer() -> None:
    clock = JumpingClock()

    async def nobody_sleeps(_: float) -> None:
        return None

    pace = Pace(clock, nobody_sleeps)
    with pytest.raises(RateLimited) as refused:
        await reads(pace, clock, 1000)
    assert refused.value.until is not None
    assert refused.value.until > START


async def test_writes_are_counted_and_do_not_wait_behind_reads() -> None:
    clock = JumpingClock()
    limits = Limits(clock, clock.sleep, write_spacing=1)
    for _ in range(BURST):
        async with limits.slot(READ):
            pass
    before = clock.now()
    async with limits.slot(Ask("POST /x", lane=Lane.CLAIM)):
        assert clock.now() == before
    async with limits.slot(READ):
        # Five points of the write were spent as well.
        assert clock.now() - before >= timedelta(seconds=5 / POINTS_PER_SECOND)


async def test_without_spacing_nothing_is_paced() -> None:
    clock = JumpingClock()
    limits = Limits(clock, clock.sleep, write_spacing=0)
    for _ in range(1000):
        async with limits.slot(READ):
            pass
    assert clock.slept == []
