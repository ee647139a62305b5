"""What a bot holds in memory does not grow with what has passed: the beginning of the week that `make bench` plays."""

from __future__ import annotations

from datetime import timedelta

from tests.benchmarks.hub import place
from tests.benchmarks.week import POLICY, WITHIN, keep_house, live, weigh

EVERY = timedelta(minutes=20)


async def test_two_more_items_leave_nothing_behind() -> None:
    async with place(POLICY) as world:
        weights = []
        for _ in range(2):
            await live(world, 2 * EVERY, EVERY)
            await keep_house(world.parts)
            weights.append(weigh(world).total())
    before, after = weights
    assert abs(after / before - 1) <= WITHIN
    # What is weighed is the bot: it cannot weigh nothing.
    assert before > 1_000_000
