"""`require_approval`: whatever put an item into the queue, nothing runs before somebody said so for its very text."""

from __future__ import annotations

from pathlib import Path

from bot.localhub.actions_model import Conclusion, Status
from tests.scenarios.pulling import new_puller
from tests.scenarios.steps import HOUR, item_of, ready, running, say, scene, why

POLICY = "require_approval: true\nmirror: {enabled: false}\nworkers: pull_first\n"


async def test_nothing_runs_before_the_explicit_word(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        number = await ready(world)
        assert (world.state(number), world.runs()) == ("ready", [])
        assert "It waits for `/tgs approve` by somebody with the role write" in world.status(number)
        await say(world, number, "/tgs start")
        assert world.runs() == []
        assert "`require_approval` is on" in await why(world, number)
        puller = await new_puller(world)
        assert not hasattr(await puller.claim(number), "attempt")

        (refused,) = await say(world, number, "/tgs approve", by=world.tom)
        assert "needs the role write" in refused
        assert world.runs() == []
        await world.parts.engine.workers.drain(world.repo_key.installation, puller.record.id)
        (opened,) = await say(world, number, "/tgs approve")
        assert "approved to run" in opened
        assert world.state(number) == "in-progress"
        assert len(world.runs()) == 1


async def test_another_text_wants_another_word(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        world.comment(number := world.issue(), "/tgs approve")
        await world.settle()
        world.bot_said(number)
        assert world.state(number) == "in-progress"
        await world.run().start()
        await world.run().fail("policy.denied")
        world.bot_said(number)
        await say(world, number, "/tgs retry")
        snapshot = (await item_of(world, number)).snapshot
        assert snapshot is not None
        assert not snapshot.confirmed
        assert world.state(number) == "ready"


async def test_without_the_setting_there_is_no_gate(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await ready(world)
        assert world.state(number) == "in-progress"
        assert "approved already" in (await say(world, number, "/tgs approve"))[0]


async def test_a_run_that_waits_for_an_approval_in_actions_is_left_alone(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        run = world.run()
        assert await run.report() == 200
        world.hub.actions.job_finished(run.job("agent"), Conclusion.SUCCESS)
        run.run.status = Status("waiting")
        await world.after(30 * HOUR)
        assert world.state(number) == "in-progress"
        assert "waits for somebody to approve its environment in Actions" in await why(world, number)

        run.run.status = Status("in_progress")
        world.hub.actions.job_started(run.job("publish"))
        assert (await run.grant())[0] == 200
        run.run.status = Status("completed")
        run.end(Conclusion.FAILURE)
        await world.settle()
        world.bot_said(number)
