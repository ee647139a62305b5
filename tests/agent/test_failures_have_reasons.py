"""Each way in which Claude Code fails has one typed reason, whatever its result calls itself."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.demo.model_api import Trouble, Turn, finished, shell, use
from bot.domain.model import FailureReason
from bot.worker.adapters.base import Resume
from bot.worker.adapters.claude_code import ClaudeCodeAdapter
from bot.worker.model_proxy import ModelAccess, ModelLimits, open_door
from bot.worker.process import run
from tests.agent.desk import KEY, Desk

R = FailureReason

ANSWERS = {
    "a request that the model's API finds wrong": (Trouble(400, "messages: wrong"), R.AGENT_CRASH),
    "a conversation that grew too long": (Trouble(400, "prompt is too long: 2 > 1"), R.AGENT_CONTEXT_OVERFLOW),
    "no credit": (Trouble(400, "Your credit balance is too low"), R.QUOTA_PROVIDER),
    "a wrong key": (Trouble(401, "invalid x-api-key", "authentication_error"), R.CONFIG_SECRET_MISSING),
    "a model that does not exist": (Trouble(404, "model: nonsense", "not_found_error"), R.CONFIG_AGENT),
    "a spent quota": (Trouble(429, "slow down", "rate_limit_error"), R.QUOTA_PROVIDER),
    "an error of the server": (Trouble(500), R.INFRA_MODEL),
    "an overloaded model": (Trouble(529, "Overloaded", "overloaded_error"), R.INFRA_MODEL),
}


@pytest.mark.parametrize(("trouble", "reason"), ANSWERS.values(), ids=ANSWERS.keys())
async def test_an_error_of_the_models_api_is_a_failure_with_a_reason(
    trouble: Trouble, reason: FailureReason, desk: Desk
) -> None:
    result = await desk.run([trouble])
    assert (result.reason, result.succeeded) == (reason, False), (result, desk.lines)
    assert result.detail
    assert result.session_id is not None


async def test_a_spent_quota_says_when_it_is_back(desk: Desk) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
    headers = {"anthropic-ratelimit-unified-reset": str(int(at.timestamp())), "retry-after": "60"}
    result = await desk.run([Trouble(429, "wait", "rate_limit_error", headers)])
    assert (result.reason, result.not_before) == (R.QUOTA_PROVIDER, at)


async def test_a_hiccup_of_the_model_is_waited_for(desk: Desk) -> None:
    result = await desk.run([Trouble(529, times=1, then=finished("After all."))], retries=2)
    assert (result.succeeded, result.summary) == (True, "After all."), (result, desk.lines)
    assert "waiting for the model" in desk.heard


async def test_a_model_that_is_not_there(desk: Desk) -> None:
    async with open_door(ModelAccess("http://127.0.0.1:9", SecretStr(KEY)), ModelLimits()) as door:
        result = await ClaudeCodeAdapter(0).run(desk.session(door))
    assert (result.reason, "does not answer" in result.detail) == (R.INFRA_MODEL, True), result


async def test_turns_and_money_end(desk: Desk) -> None:
    endless = [shell("true", "Again")]
    turns = await desk.run(endless, agent={"max_turns": 2})
    assert (turns.reason, "(2)" in turns.detail) == (R.AGENT_ITERATION_LIMIT, True), turns
    money = await desk.run(endless, spec={"budget_usd": 0.02})
    assert (money.reason, "$0.02" in money.detail) == (R.BUDGET_EXCEEDED, True), money
    assert money.usage is not None
    assert 20_000 <= money.usage.cost_microusd <= 30_000


async def test_a_resumed_conversation_has_the_whole_budget_of_its_attempt(desk: Desk) -> None:
    question = {"question": "Go on?", "header": "Go", "options": [{"label": "Yes", "description": ""}]}
    script = [
        *[shell("true", "Spend")] * 2,
        use("AskUserQuestion", questions=[question]),
        shell("true"),
        finished("ok"),
    ]
    first = await desk.run(script, spec={"budget_usd": 0.02})
    assert first.session_id is not None
    assert first.transcript is not None
    second = await desk.run(
        script, resume=Resume(first.session_id, first.transcript, {"q1": ("Yes",)}), spec={"budget_usd": 0.02}
    )
    assert second.succeeded, (second, desk.lines)


async def test_who_does_without_the_program_meets_the_same_bound_at_the_door(desk: Desk) -> None:
    endless = [shell("true", "Again")]
    requests = await desk.run(endless, limits=ModelLimits(requests=3))
    assert (requests.reason, "all its 3 requests" in requests.detail) == (R.BUDGET_EXCEEDED, True), requests
    costs = await desk.run(endless, limits=ModelLimits(cost_usd=0.01))
    assert (costs.reason, "budget of 0.01" in costs.detail) == (R.BUDGET_EXCEEDED, True), costs


async def test_a_stop_keeps_the_conversation_and_what_it_cost(desk: Desk) -> None:
    desk.on_progress = lambda text: desk.stop.set() if "Sleep" in text else None
    result = await desk.run([shell("tail -f /dev/null", "Sleep"), finished("no")])
    assert (result.reason, result.asked) == (None, ())
    assert result.session_id is not None
    assert result.transcript is not None
    assert result.usage is not None, "whether a stop leaves a result is a race; the door has counted"
    assert (result.usage.turns, result.usage.input_tokens) == (1, 1_000)


async def test_a_run_over_its_time_keeps_its_conversation(desk: Desk) -> None:
    result = await desk.run([shell("tail -f /dev/null", "Sleep")], seconds=4)
    assert (result.reason, "1 turn, 1 step" in result.detail) == (R.AGENT_TIMEOUT, True), result
    assert result.transcript is not None


async def test_a_run_that_is_killed_in_the_middle_has_no_result_and_can_be_resumed(desk: Desk) -> None:
    """SIGTERM from elsewhere: the program says nothing at all."""
    script = [shell("echo one > one", "First"), shell("kill -TERM $PPID; tail -f /dev/null", "Kill"), finished("x")]
    first = await desk.run(script)
    assert (first.reason, "SIGTERM" in first.detail) == (R.AGENT_CRASH, True), (first, desk.lines)
    assert first.usage is not None
    assert (first.usage.turns, first.usage.input_tokens, first.usage.output_tokens) == (2, 2_000, 200)
    assert first.session_id is not None
    assert first.transcript is not None
    second = await desk.run([finished("Went on.")], resume=Resume(first.session_id, first.transcript, {}))
    assert (second.succeeded, second.summary, second.session_id) == (True, "Went on.", first.session_id)
    assert "Go on with the work on issue #7" in desk.asked[-1].words


async def test_a_session_that_is_unknown_here_is_told_by_the_program_and_begun_anew(desk: Desk) -> None:
    """The transcript is one of another session: the program does not find the id that it was given."""
    other = "22222222-2222-4222-8222-222222222222"
    first = await desk.run([finished("One.")])
    assert first.transcript is not None
    result = await desk.run([finished("Anew.")], resume=Resume(other, first.transcript, {}))
    assert result.succeeded, (result, desk.lines)


async def test_without_key_or_program_it_does_not_begin(desk: Desk, tmp_path: Path) -> None:
    nothing = await ClaudeCodeAdapter().run(desk.session(None))
    assert nothing.reason is R.CONFIG_SECRET_MISSING
    async with open_door(ModelAccess("http://127.0.0.1:9", SecretStr(KEY)), ModelLimits()) as door:
        broken = tmp_path / "claude"
        broken.write_text("#!/bin/sh\nexit 3\n")
        broken.chmod(0o755)
        result = await ClaudeCodeAdapter(0, broken).run(desk.session(door))
    assert (result.reason, "tgs-bot[claude]" in result.detail) == (R.CONFIG_AGENT, True)


async def test_nobody_else_gets_through_the_door(desk: Desk) -> None:
    """Another user of the machine finds the port, but has no token; and only the model's two addresses pass."""
    script = [shell("true"), finished("ok")]
    seen: list[bytes] = []

    def probe(text: str) -> None:
        assert desk.door is not None
        line = (
            f"for call in '-X POST {desk.door.url}/v1/messages -d {{}} -H x-api-key:guess' "
            f"'{desk.door.url}/v1/models -H x-api-key:{desk.door.token}' "
            f"'-X POST {desk.door.url}/v1/files -d {{}} -H x-api-key:{desk.door.token}'; "
            "do curl -s -o /dev/null -w '%{http_code}\\n' $call; done"
        )
        probes.append(
            asyncio.create_task(
                run(
                    desk.launcher, ["sh", "-c", line], cwd=desk.work, env=dict(desk.session(None).environment),
                    stop=asyncio.Event(), on_output=seen.append, seconds=10,
                )
            )
        )  # fmt: skip

    probes: list[asyncio.Task[object]] = []
    model_turns = [Turn("", script[0].tools, 2.0), script[1]]
    desk.on_progress = probe
    await desk.run(model_turns)
    await asyncio.gather(*probes)
    assert b"".join(seen).split() == [b"401", b"404", b"404"]
