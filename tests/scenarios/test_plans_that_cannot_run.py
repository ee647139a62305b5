"""An approved plan that cannot be worked on any more starts nothing, says why, and goes on when it is mended."""

from __future__ import annotations

from pathlib import Path

from tests.scenarios.steps import paused, say, scene, why
from tests.scenarios.test_a_lost_ledger_is_rebuilt import lose
from tests.world import World

POLICY = "mirror: {auto_ready: true}\nagent: {adapter: scripted}\nallow_unisolated: true\n"


async def queued_plan(world: World) -> tuple[int, str]:
    """A plan that is approved and waits in a paused repository."""
    world.push({".tgs/policy.yml": POLICY})
    await world.settle()
    await paused(world)
    folder = world.thought("abc123", "search")
    await world.settle()
    number = max(world.repo.issues)
    assert world.state(number) == "ready"
    return number, folder


async def test_a_folder_that_lost_a_file_waits_for_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number, folder = await queued_plan(world)
        world.push({f"{folder}/research.md": None})
        await world.settle()
        assert "has no `research.md`. Commit `research.md`, or remove the folder." in await why(world, number)
        await say(world, number, "/tgs resume")
        assert "Its plan cannot be worked on." in world.status(number)
        assert world.runs() == []
        world.push({f"{folder}/research.md": "# Research\n"})
        await world.settle()
        assert world.state(number) == "in-progress"
        assert len(world.runs()) == 1


async def test_a_plan_whose_settings_cannot_be_read_runs_for_nobody(tmp_path: Path) -> None:
    """Approved anew, though its acceptance command can never be run: without the check it would run without one."""
    async with scene(tmp_path) as world:
        number, folder = await queued_plan(world)
        world.push({f"{folder}/plan.md": '---\nacceptance: ["grep \'x"]\n---\n# Plan\n'})
        await world.settle()
        world.bot_said(number)
        world.label(number, "tgs:ready")
        await world.settle()
        world.bot_said(number)
        await say(world, number, "/tgs resume")
        assert world.state(number) == "ready"
        assert "a quote is not closed" in await why(world, number)
        assert "is paused" not in await why(world, number)
        assert world.runs() == []
        await lose(world)
        assert world.runs() == [], "a ledger that was rebuilt knows it too"
        assert "a quote is not closed" in world.status(number)
