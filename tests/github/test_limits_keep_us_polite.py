"""The limit gate on a virtual clock: spacing, lanes, quotas, pauses."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from bot.errors import RateLimited
from bot.github.limits import Ask, Bucket, GithubUsage, Lane, Limits
from tests.github.support import START, JumpingClock


def ask(lane: Lane | None = None, *, content: bool = False, bucket: Bucket = Bucket.CORE) -> Ask:
    return Ask("POST /x", bucket, lane, content)


async def write(limits: Limits, clock: JumpingClock, lane: Lane = Lane.WORDS, *, content: bool = False) -> datetime:
    async with limits.slot(ask(lane, content=content)):
        return clock.now()


async def test_writes_start_at_least_the_spacing_apart() -> None:
    clock = JumpingClock()
    limits = Limits(clock, clock.sleep, write_spacing=1.5)
    times = [await write(limits, clock) for _ in range(4)]
    assert [(at - START).total_seconds() for at in times] == [0, 1.5, 3.0, 4.5]


async def test_processes_that_share_a_credential_keep_each_to_its_part() -> None:
    clock = JumpingClock()
    sharers = 1
    limits = Limits(clock, clock.sleep, write_spacing=1.5, content_per_minute=6, sharers=lambda: sharers)
    times = [await write(limits, clock) for _ in range(2)]
    sharers = 2
    times += [await write(limits, clock) for _ in range(3)]
    assert [(at - START).total_seconds() for at in times] == [0, 1.5, 3.0, 6.0, 9.0]
    for _ in range(3):
        await write(limits, clock, content=True)
    with pytest.raises(RateLimited, match="our own quota"):
        await write(limits, clock, content=True)


async def test_one_write_is_in_flight_at_a_time() -> None:
    clock = JumpingClock()
    limits = Limits(clock, clock.sleep, write_spacing=0)
    inside, most = 0, 0

    async def one() -> None:
        nonlocal inside, most
        async with limits.slot(ask(Lane.WORDS)):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(one() for _ in range(5)))
    assert most == 1


async def test_a_claim_overtakes_words_that_overtake_the_board() -> None:
    clock = JumpingClock()
    limits = Limits(clock, clock.sleep, write_spacing=1)
    order: list[str] = []
    started = asyncio.Event()

    async def one(name: str, lane: Lane) -> None:
        async with limits.slot(ask(lane)):
            order.append(name)

    async def holder() -> None:
        async with limits.slot(ask(Lane.BOARD)):
            started.set()
            for _ in range(10):
                await asyncio.sleep(0)

    first = asyncio.create_task(holder())
    await started.wait()
    await asyncio.gather(
        first,
        one("board", Lane.BOARD),
        one("words", Lane.WORDS),
        one("release", Lane.RELEASE),
        one("claim", Lane.CLAIM),
    )
    assert order == ["claim", "release", "words", "board"]


async def test_a_claim_that_arrives_while_words_wait_for_the_spacing_goes_first() -> None:
    clock = JumpingClock()
    order: list[str] = []
    gate = asyncio.Event()
    sleeping = asyncio.Event()

    async def sleep(seconds: float) -> None:
        sleeping.set()
        await gate.wait()
        clock.time = max(clock.time, START + timedelta(seconds=seconds))

    limits = Limits(clock, sleep, write_spacing=1)
    await write(limits, clock)

    async def one(name: str, lane: Lane) -> None:
        async with limits.slot(ask(lane)):
            order.append(name)
            clock.forward(seconds=1)

    words = asyncio.create_task(one("words", Lane.WORDS))
    await sleeping.wait()
    claim = asyncio.create_task(one("claim", Lane.CLAIM))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.wait_for(asyncio.gather(words, claim), 5)
    assert order == ["claim", "words"]


async def test_a_cancelled_waiter_gives_its_turn_to_the_next() -> None:
    clock = JumpingClock()
    limits = Limits(clock, clock.sleep, write_spacing=0)
    release, entered = asyncio.Event(), asyncio.Event()

    async def holder() -> None:
        async with limits.slot(ask(Lane.CLAIM)):
            entered.set()
            await release.wait()

    first = asyncio.create_task(holder())
    await entered.wait()
    doomed = asyncio.create_task(write(limits, clock, Lane.CLAIM))
    heir = asyncio.create_task(write(limits, clock, Lane.BOARD))
    await asyncio.sleep(0)
    doomed.cancel()
    release.set()
    await asyncio.wait_for(asyncio.gather(first, heir), 5)
    with pytest.raises(asyncio.CancelledError):
        await doomed


async def test_a_failed_write_gives_its_turn_back() -> None:
    clock = JumpingClock()
    limits = Limits(clock, clock.sleep, write_spacing=0)
    with pytest.raises(ZeroDivisionError):
        async with limits.slot(ask(Lane.CLAIM)):
            raise ZeroDivisionError
    await asyncio.wait_for(write(limits, clock), 5)


async def test_new_content_stays_below_the_quota_of_a_minute() -> None:
    clock = JumpingClock()
    limits = Limits(clock, clock.sleep, write_spacing=0, content_per_minute=3)
    for _ in range(3):
        await write(limits, clock, content=True)
        clock.forward(seconds=18)
    # 54 s after the first: the quota frees in 6 s, which is worth waiting for.
    assert await write(limits, clock, content=True) - START == timedelta(seconds=60)


async def test_those_who_wait_in_line_do_not_slip_past_the_quota_together() -> None:
    clock = JumpingClock()
    limits = Limits(clock, clock.sleep, write_spacing=0, content_per_minute=2)
    await write(limits, clock, content=True)
    clock.forward(seconds=55)
    results = await asyncio.gather(*(write(limits, clock, content=True) for _ in range(3)), return_exceptions=True)
    sent = [at for at in results if isinstance(at, datetime)]
    assert [(at - START).total_seconds() for at in sent] == [55, 60]
    assert [type(one) for one in results if not isinstance(one, datetime)] == [RateLimited]
    assert limits.usage.content == 3


async def test_cancelling_at_any_moment_leaves_the_gate_open() -> None:
    for steps in range(12):
        clock = JumpingClock()
        limits = Limits(clock, clock.sleep, write_spacing=0.5)
        await write(limits, clock)
        doomed = [asyncio.create_task(write(limits, clock, lane)) for lane in Lane]
        for _ in range(steps):
            await asyncio.sleep(0)
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        await asyncio.wait_for(write(limits, clock), 5)


async def test_a_long_wait_for_the_quota_is_the_callers_timer() -> None:
    clock = JumpingClock()
    limits = Limits(clock, clock.sleep, write_spacing=0, content_per_hour=2)
    await write(limits, clock, content=True)
    clock.forward(minutes=5)
    await write(limits, clock, content=True)
    clock.forward(minutes=5)
    with pytest.raises(RateLimited) as caught:
        await write(limits, clock, content=True)
    assert caught.value.until == START + timedelta(hours=1)
    await write(limits, clock)  # other writes go on
    clock.time = caught.value.until
    await write(limits, clock, content=True)


async def test_at_most_so_many_reads_are_in_flight() -> None:
    clock = JumpingClock()
    limits = Limits(clock, clock.sleep, max_reads=2)
    inside, most = 0, 0

    async def one() -> None:
        nonlocal inside, most
        async with limits.slot(ask()):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(one() for _ in range(6)))
    assert most == 2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({"retry-after": "30"}, 30, id="Retry-After says how long"),
        pytest.param({"retry-after": "0"}, 1, id="a Retry-After of nothing is at least a second"),
        pytest.param({}, 60, id="a secondary limit without Retry-After is a minute"),
        pytest.param({"retry-after": "99999999999999"}, 86400, id="a Retry-After beyond reason is a day"),
        pytest.param({"retry-after": "soon"}, 60, id="an unreadable Retry-After is a minute"),
        pytest.param({"x-ratelimit-remaining": "12"}, 60, id="primary quota left means it was the secondary limit"),
    ],
)
async def test_a_limit_answer_pauses_everything(headers: dict[str, str], seconds: int) -> None:
    clock = JumpingClock()
    limits = Limits(clock, clock.sleep)
    until = limits.limited(headers, "slow down")
    assert until == START + timedelta(seconds=seconds)
    for wanted in (ask(), ask(Lane.CLAIM), ask(bucket=Bucket.GRAPHQL)):
        with pytest.raises(RateLimited, match="slow down"):
            async with limits.slot(wanted):
                pass
    assert limits.usage == GithubUsage()
    clock.forward(seconds=seconds)
    async with limits.slot(ask()):
        pass


async def test_a_write_that_waited_through_the_start_of_a_pause_is_not_sent() -> None:
    clock = JumpingClock()
    limits = Limits(clock, clock.sleep, write_spacing=0)
    waiting: asyncio.Task[datetime]
    async with limits.slot(ask(Lane.WORDS)):
        waiting = asyncio.create_task(write(limits, clock))
        await asyncio.sleep(0)
        limits.limited({"retry-after": "30"}, "slow down")
    with pytest.raises(RateLimited):
        await asyncio.wait_for(waiting, 5)
    assert limits.usage.writes == 1


async def test_secondary_pauses_double_until_something_succeeds() -> None:
    clock = JumpingClock()
    limits = Limits(clock, clock.sleep)
    pauses = []
    for _ in range(8):
        until = limits.limited({}, "slow down")
        pauses.append((until - clock.now()).total_seconds())
        clock.time = until
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    limits.succeeded()
    assert limits.limited({}, "slow down") - clock.now() == timedelta(seconds=60)


async def test_an_exhausted_primary_limit_stops_its_bucket_only() -> None:
    clock = JumpingClock()
    limits = Limits(clock, clock.sleep)
    reset = START + timedelta(minutes=20)
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(reset.timestamp()))}
    limits.heard(Bucket.GRAPHQL, headers)
    assert limits.limited(headers, "used up") == reset
    with pytest.raises(RateLimited) as caught:
        async with limits.slot(ask(bucket=Bucket.GRAPHQL)):
            pass
    assert caught.value.until == reset
    async with limits.slot(ask()):
        pass
    clock.time = reset
    async with limits.slot(ask(bucket=Bucket.GRAPHQL)):
        pass


async def test_the_bucket_that_github_names_counts() -> None:
    clock = JumpingClock()
    limits = Limits(clock, clock.sleep)
    reset = str(int((START + timedelta(minutes=20)).timestamp()))
    limits.heard(
        Bucket.CORE,
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset, "x-ratelimit-resource": "graphql"},
    )
    async with limits.slot(ask()):
        pass
    limits.heard(Bucket.CORE, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": reset})
    with pytest.raises(RateLimited):
        async with limits.slot(ask()):
            pass


async def test_requests_writes_content_and_free_answers_are_counted_apart() -> None:
    clock = JumpingClock()
    limits = Limits(clock, clock.sleep, write_spacing=0)
    async with limits.slot(ask()):
        pass
    await write(limits, clock)
    await write(limits, clock, content=True)
    limits.not_modified()
    assert limits.usage == GithubUsage(requests=3, writes=2, content=1, not_modified=1)
