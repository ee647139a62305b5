"""What Claude Code says is understood as far as it matters, and nothing it says breaks anything. Pure values.

The program itself is in tests/agent.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from bot.domain.model import FailureReason
from bot.domain.usage import Usage
from bot.worker.adapters.claude_code_outcome import NOTHING, Counted, Run, answered, asked_in, counted, judge, used
from bot.worker.adapters.claude_code_session import read_transcript
from bot.worker.adapters.claude_code_stream import Stream
from bot.worker.prompts import CONTINUE, IMPLEMENT, MOVED, prompt

R = FailureReason


def error(words: str = "", status: int | None = None, subtype: str = "success") -> dict[str, Any]:
    """A failed run calls itself a success more often than not."""
    return {"subtype": subtype, "is_error": True, "api_error_status": status, "result": words, "errors": [words]}


RUNS = {
    "a denied key": (Run(1, error("no", 403)), R.CONFIG_SECRET_MISSING),
    "no key at all": (Run(1, error("Not logged in · Please run /login")), R.CONFIG_SECRET_MISSING),
    "a bill that was not paid": (Run(1, error("pay", 402)), R.QUOTA_PROVIDER),
    "a spent usage limit": (Run(1, error("You have hit your usage limit", 400)), R.QUOTA_PROVIDER),
    "an error whose status only the door saw": (Run(1, error("Overloaded"), status=529), R.INFRA_MODEL),
    "no answer": (Run(1, error("Connection refused")), R.INFRA_MODEL),
    "an unknown model": (Run(1, error("model: x", 404)), R.CONFIG_AGENT),
    "an error in the middle": (Run(1, error("", None, "error_during_execution")), R.AGENT_CRASH),
    "all turns": (Run(1, error("", None, "error_max_turns")), R.AGENT_ITERATION_LIMIT),
    "all money": (Run(1, error("", None, "error_max_budget_usd")), R.BUDGET_EXCEEDED),
    "a closed door": (Run(1, error("no", 400), spent="used up"), R.BUDGET_EXCEEDED),
    "an id in use": (Run(1, None, ("Error: Session ID x is already in use.",)), R.AGENT_CRASH),
    "a refusal to be root": (Run(1, None, ("… cannot be used with root/sudo privileges",)), R.CONFIG_AGENT),
    "an old version": (Run(1, None, ("error: unknown option '--json-schema'",)), R.CONFIG_AGENT),
    "a program that is not there": (Run(127, None), R.CONFIG_AGENT),
    "SIGTERM, as a shell says it": (Run(143, None), R.AGENT_CRASH),
    "SIGKILL": (Run(-9, None), R.AGENT_CRASH),
    "an exit code without an error": (Run(3, {"is_error": False, "result": "fine"}), R.AGENT_CRASH),
    "a word of its own": (
        Run(0, {"is_error": False, "structured_output": {"outcome": "failed", "summary": "hard"}}),
        R.AGENT_GAVE_UP,
    ),
    "a word that this is too large": (
        Run(
            0, {"is_error": False, "structured_output": {"outcome": "too_large", "summary": "x", "detail": "1. a 2. b"}}
        ),
        R.AGENT_TOO_LARGE,
    ),
    "a good end": (Run(0, {"is_error": False, "result": "done"}), None),
}


@pytest.mark.parametrize(("run", "reason"), RUNS.values(), ids=RUNS.keys())
def test_each_end_has_one_reason(run: Run, reason: FailureReason | None) -> None:
    assert judge(run).reason is reason


def test_unknown_messages_fields_and_lines_are_passed_over() -> None:
    lines: list[str] = []
    steps: list[str] = []
    stream = Stream(steps.append, lines.append)
    for line in (
        "", "no json", "[]", "null", "3", '{"type": "progress"}', '{"type": "stream_event", "event": {}}',
        '{"type": "assistant"}', '{"type": "assistant", "message": []}', '{"type": "system", "subtype": "news"}',
        '{"type": "assistant", "message": {"id": "m1", "content": "text", "usage": {"input_tokens": "many"}}}',
        '{"type": "user", "message": {"content": [{"type": "tool_result", "is_error": true, "content": {"a": 1}}]}}',
        '{"type": "system", "subtype": "api_retry", "attempt": 2, "error_status": 529}',
        "[" * 100_000,
    ):  # fmt: skip
        stream.feed(line)
    assert (stream.result, stream.turns, stream.steps) == (None, 2, 0)
    assert steps == ["waiting for the model"]
    assert stream.plain[0] == "no json"


def test_one_answer_in_several_messages_is_one_turn() -> None:
    steps: list[str] = []
    stream = Stream(steps.append, lambda _: None)
    for block in (
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "name": "Read", "input": {"file_path": "a"}},
    ):
        message = {"id": "m1", "content": [block], "usage": {"input_tokens": 600, "cache_read_input_tokens": 900}}
        stream.feed(json.dumps({"type": "assistant", "session_id": "s", "message": message}))
    assert (stream.turns, stream.session_id, steps) == (1, "s", ["1 turn, 1 step, 2k tokens: Read a"])


MODEL = {"m": {"inputTokens": 30, "outputTokens": 3, "cacheReadInputTokens": 2, "cacheCreationInputTokens": 1}}
BEFORE = Counted({"m": (20, 1, 0, 0)}, 0.5)


@pytest.mark.parametrize(
    ("before", "usage"),
    [
        pytest.param(NOTHING, Usage(4, 30, 3, 2, 1, 600_000, "m"), id="a new conversation"),
        pytest.param(BEFORE, Usage(4, 10, 2, 2, 1, 100_000, "m"), id="a sum that includes what was before"),
        pytest.param(
            Counted({"m": (31, 1, 0, 0)}, 0.5), Usage(4, 30, 3, 2, 1, 600_000, "m"), id="a sum that begins anew"
        ),
    ],
)
def test_a_run_counts_what_it_used_itself(before: Counted, usage: Usage) -> None:
    assert used({"modelUsage": MODEL, "total_cost_usd": 0.6}, before, 4) == usage


def test_nothing_is_counted_of_nonsense() -> None:
    assert counted(["x"], "y") == NOTHING
    assert used({"modelUsage": {"m": 3}, "total_cost_usd": None}, NOTHING, 0) == Usage()
    assert used(None, NOTHING, 3) is None


def test_questions_of_any_shape_are_read_as_far_as_they_go() -> None:
    assert asked_in(None) == asked_in({"input": {"questions": "?"}}) == asked_in({"input": 3}) == ()
    odd = {
        "questions": [{"question": "A?", "options": ["x", {"label": ""}, {"label": "Yes"}]}, 3, {"header": "no text"}]
    }
    [question] = asked_in({"input": odd})
    assert (question.id, question.text, [c.label for c in question.choices]) == ("q1", "A?", ["Yes"])
    assert answered(odd, {"q1": ("Yes", "No"), "q9": ("x",)})["answers"] == {"A?": "Yes, No"}


def test_a_transcript_tells_which_call_waits_and_what_was_used() -> None:
    deferred = {"attachment": {"type": "hook_deferred_tool", "toolUseID": "t1", "toolInput": {"questions": []}}}
    cost = {"type": "cost-state", "totalCostUSD": 0.5, "modelUsage": MODEL}
    lines = [json.dumps(line, separators=(",", ":")) for line in (deferred, cost)]
    earlier = read_transcript("\n".join(["broken {", *lines, '"cost-state" but no json']))
    assert (earlier.call, earlier.used.cost_usd) == ("t1", 0.5)
    answer = '{"message":{"content":[{"type":"tool_result","tool_use_id":"t1"}]}}'
    assert read_transcript("\n".join([*lines, answer])).call is None


@pytest.mark.parametrize("name", [IMPLEMENT, CONTINUE, MOVED])
def test_a_prompt_is_named_by_what_it_says(name: str) -> None:
    found = prompt(name)
    assert len(found.version) == 64
    assert found.text.strip()
