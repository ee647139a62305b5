"""What a pull worker hands in is pushed by a run; the day's ceiling of runs keeps one for it from the claim on."""

from __future__ import annotations

from pathlib import Path

from bot.claims import NotClaimed
from bot.pull_service import Given
from tests.scenarios.pulling import PULL_POLICY, new_puller
from tests.scenarios.steps import ready, scene

ONE_RUN = f"{PULL_POLICY}max_parallel: 3\nbudgets:\n  dispatches_per_day: 1\n"


async def test_a_claim_of_a_pull_worker_takes_the_run_that_will_push_its_result(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=ONE_RUN) as world:
        first, second = await ready(world, "One"), await ready(world, "Two")
        box, other = await new_puller(world), await new_puller(world, "box-2")
        assert isinstance(await box.claim(first), Given)
        refused = await other.claim(second)
        assert isinstance(refused, NotClaimed)
        assert [reason.code for reason in refused.reasons] == ["runs_today"]

        await box.hand_in(b"a bundle")

        assert len(world.runs()) == 1


async def test_a_worker_that_hands_nothing_in_gives_the_run_back(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=f"{ONE_RUN}attempts: 1\n") as world:
        first, second = await ready(world, "One"), await ready(world, "Two")
        box, other = await new_puller(world), await new_puller(world, "box-2")
        assert isinstance(await box.claim(first), Given)
        await box.report(reason="agent.crash")
        await world.settle()
        world.bot_said(first)
        assert isinstance(await other.claim(second), Given)
