"""A second opinion on a result reaches the people who review it; it neither stops nor approves anything."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from bot.gauges import Gauges
from bot.metrics import Metrics
from tests.scenarios.steps import pull_of, ready, scene
from tests.world import World

POLICY = """
qa: {second_opinion: {paths: [src/payments/], model: claude-opus-4-5, budget: 0.5}}
agent: {model: claude-sonnet-4-5, models: [claude-haiku-4-5], fallbacks: [claude-haiku-4-5]}
mirror: {auto_ready: true}
"""
NOTE = {"outcome": "doubtful", "findings": 1, "prompt": "a" * 64, "model": "claude-opus-4-5"}
FINDING = {"kind": "second_opinion", "where": "src/payments/pay.py:3", "says": "It pays @tom twice. <b>fixes #1</b>"}


async def published(world: World, opinion: dict[str, Any], *doubts: dict[str, str]) -> tuple[int, str]:
    """An item whose worker came back with this opinion; the text of its pull request."""
    number = await ready(world)
    run = world.run()
    await run.start()
    world.clock.advance(timedelta(seconds=1))
    assert await run.report(opinion=opinion, doubts=list(doubts), prompt="b" * 64) == 200
    await run.publish({"src/payments/pay.py": "pay()\n"})
    return number, str(pull_of(world, number).issue.body)


async def history(world: World, number: int) -> list[str]:
    lines = await world.parts.store.read(lambda tx: tx.history(world.key(number)))
    return [line.cause for line in lines if line.kind == "attempt.second_opinion"]


async def test_what_it_doubts_stands_in_the_pull_request_and_stops_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        metrics = Metrics()
        gauges = Gauges(metrics, world.clock, world.parts.store.read, dict, world.clock.now)
        number, body = await published(world, NOTE, FINDING)
        assert world.run().context["opinion"]["paths"] == ["src/payments/**"]
        assert "A second opinion (`src/payments/pay.py:3`): It pays" in body
        assert "@tom" not in body
        assert "fixes #1" not in body
        assert "Look twice: 1 doubt about the result" in world.status(number)
        assert await history(world, number) == [f"doubtful, 1 finding, prompt {'a' * 12}, claude-opus-4-5"]
        [attempt] = await world.attempts(number)
        assert attempt.gate_report is not None
        assert attempt.gate_report.opinion is not None
        assert (attempt.gate_report.prompt, attempt.gate_report.opinion.prompt) == ("b" * 64, "a" * 64)
        await gauges.look()
        assert b'tgs_second_opinions_total{outcome="doubtful"} 1.0' in metrics.render()[0]
        world.ci(pull_of(world, number).head_sha)
        await world.settle()
        world.bot_said(number)
        assert not pull_of(world, number).issue.draft
        assert pull_of(world, number).reviews == []


async def test_a_good_one_is_no_review_and_a_missing_one_is_said(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=f"{POLICY}max_parallel: 2\n") as world:
        _, good = await published(world, {"outcome": "good"})
        assert "a second look of the agent program named no doubt; that is no review" in good
        assert "Look twice" not in good
        missing = {"kind": "no_second_opinion", "says": "budget"}
        number, body = await published(world, {"outcome": "budget"}, missing)
        assert "- No second opinion: too little was left of what the attempt may cost." in body
        assert await history(world, number) == ["budget"]


async def test_a_plan_says_model_and_qa_or_the_policy_does(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=f"{POLICY}max_parallel: 2\n") as world:
        world.push({".tgs/policy.yml": f"{POLICY}max_parallel: 2\n"})
        world.thought("abc111", "says-nothing")
        world.thought("abc222", "says-all", front="model: claude-haiku-4-5\nqa: {required: true, strict: true}")
        await world.settle()
        found = {}
        for index in range(len(world.runs())):
            await world.run(index).start()
            found[world.run(index).context["title"]] = world.run(index).context
        nothing, everything = found["Says nothing"], found["Says all"]
        assert (nothing["agent"]["model"], nothing["opinion"]["always"]) == ("claude-sonnet-4-5", False)
        assert (everything["agent"]["model"], everything["opinion"]["always"]) == ("claude-haiku-4-5", True)
        assert everything["opinion"]["model"] == "claude-opus-4-5"
        assert nothing["agent"]["fallbacks"] == everything["agent"]["fallbacks"] == ["claude-haiku-4-5"]
