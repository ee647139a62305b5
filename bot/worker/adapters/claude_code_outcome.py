"""What a run of Claude Code means: from its result, its exit code and what the door to the model saw. Pure.

Promise: `is_error` and the exit code decide, never `subtype`, which says "success" of most failures too. Each failure
has one typed reason. That it went well is only its word: commits, diff, `implementation.md`, gate and checks decide.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bot.domain.model import FailureReason
from bot.domain.opinion import Opinion, OpinionOutcome, read_opinion
from bot.domain.questions import AskedQuestion, Choice
from bot.domain.usage import Usage
from bot.worker.adapters.base import AgentResult

TEXT: Final = 4_000  # characters of summary or detail that are kept
QUESTIONS: Final = 4  # what the tool itself allows
CHOICES: Final = 8
_R = FailureReason
_SERVER_ERRORS: Final = 500
# Words of the API for a request that fails for another reason than its status says.
_TOO_LONG: Final = ("prompt is too long", "context window", "context limit", "exceed context")
_NO_CREDIT: Final = ("credit balance", "usage limit", "quota")
_NO_KEY: Final = ("invalid api key", "not logged in", "please run /login", "no api key")

SCHEMA: Final = json.dumps(
    {
        "type": "object",
        "properties": {
            "outcome": {"enum": ["done", "failed", "too_large"]},
            "summary": {"type": "string"},
            "detail": {"type": "string"},
        },
        "required": ["outcome", "summary"],
    }
)
"""What the agent is asked to say at its end."""


@dataclass(frozen=True, slots=True)
class Run:
    """What is known about a run that ended by itself. `status` is the last error that the door to the model saw.

    `spent`: the door was closed because the run had used what it may, in these words. `plain` are lines that were no
    messages.
    """

    code: int
    result: Mapping[str, Any] | None
    plain: Sequence[str] = ()
    status: int | None = None
    spent: str = ""
    denied: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """How it ended: with a summary, with questions, or with a reason."""

    summary: str = ""
    reason: FailureReason | None = None
    detail: str = ""
    asked: tuple[AskedQuestion, ...] = ()


def judge(run: Run) -> Verdict:
    """How the run ended."""
    result = run.result
    if run.spent and (result is None or result.get("is_error")):
        return Verdict("", _R.BUDGET_EXCEEDED, run.spent)
    if result is None:
        return Verdict("", *_silent(run))
    if result.get("is_error"):
        return Verdict("", *_error(run, result))
    asked = asked_in(result.get("deferred_tool_use"))
    if asked:
        return Verdict(asked=asked)
    if run.code != 0:
        return Verdict("", _R.AGENT_CRASH, _with_words(f"It ended with exit code {run.code}.", run))
    return _said(run, result)


def _said(run: Run, result: Mapping[str, Any]) -> Verdict:
    """The agent's own word. Without the structured one its last text is the summary, and evidence decides alone."""
    words = result.get("structured_output")
    if not isinstance(words, dict):
        return Verdict(str(result.get("result") or "")[:TEXT])
    summary = str(words.get("summary") or "")[:TEXT]
    detail = str(words.get("detail") or summary)[:TEXT]
    if words.get("outcome") == "too_large":
        return Verdict(summary, _R.AGENT_TOO_LARGE, detail)
    if words.get("outcome") != "failed":
        return Verdict(summary)
    if run.denied:
        names = ", ".join(dict.fromkeys(run.denied))
        detail = f"{detail} It was not allowed to use {names} (`agent.tools` in the policy)."
    return Verdict(summary, _R.AGENT_GAVE_UP, detail)


_NO_OPINION: Final = {
    _R.QUOTA_PROVIDER: OpinionOutcome.QUOTA,
    _R.BUDGET_EXCEEDED: OpinionOutcome.BUDGET,
    _R.AGENT_TIMEOUT: OpinionOutcome.TIME,
    _R.AGENT_ITERATION_LIMIT: OpinionOutcome.SILENT,
    _R.CONFIG_SECRET_MISSING: OpinionOutcome.NOT_SET_UP,
    _R.CONFIG_AGENT: OpinionOutcome.NOT_SET_UP,
}


def opinion_of(ended: AgentResult, result: Mapping[str, Any] | None) -> Opinion:
    """The second opinion in a run's result, or why a run that ended so has none."""
    if ended.reason is not None:
        return Opinion(_NO_OPINION.get(ended.reason, OpinionOutcome.CRASHED), detail=ended.detail)
    return read_opinion((result or {}).get("structured_output"))


def _silent(run: Run) -> tuple[FailureReason, str]:
    """No result at all: killed, or refused to start."""
    words = " ".join(run.plain).lower()
    if "already in use" in words:
        return _R.AGENT_CRASH, "The session's id is in use already."
    if "root/sudo" in words:
        return _R.CONFIG_AGENT, "Claude Code refuses this way of working as root."
    if "unknown option" in words:
        return _R.CONFIG_AGENT, _with_words("This version of Claude Code is too old.", run)
    if run.code in {126, 127}:
        return _R.CONFIG_AGENT, _with_words("Claude Code cannot be started on this worker.", run)
    number = -run.code if run.code < 0 else run.code - 128
    if number in {s.value for s in signal.Signals}:
        why = " The machine may have run out of memory." if number == signal.SIGKILL else ""
        return _R.AGENT_CRASH, f"It was ended by {signal.Signals(number).name} before it could say a result.{why}"
    return _R.AGENT_CRASH, _with_words(f"It ended with exit code {run.code} and without a result.", run)


def _error(run: Run, result: Mapping[str, Any]) -> tuple[FailureReason, str]:
    words = str(result.get("result") or "; ".join(_texts(result.get("errors"))))[:TEXT]
    match result.get("subtype"):
        case "error_max_turns":
            return _R.AGENT_ITERATION_LIMIT, words
        case "error_max_budget_usd":
            return _R.BUDGET_EXCEEDED, words
        case "error_during_execution":
            return _R.AGENT_CRASH, _with_words(words or "It broke off in the middle.", run)
        case _:
            return _api_error(result.get("api_error_status") or run.status, words)


def _api_error(status: object, words: str) -> tuple[FailureReason, str]:
    low = words.lower()
    if any(text in low for text in _TOO_LONG):
        return _R.AGENT_CONTEXT_OVERFLOW, words
    match status:
        case 401 | 403:
            return _R.CONFIG_SECRET_MISSING, words
        case 402 | 429:
            return _R.QUOTA_PROVIDER, words
        case 404:
            return _R.CONFIG_AGENT, words
        case int() if status >= _SERVER_ERRORS:
            return _R.INFRA_MODEL, words
        case 400 if any(text in low for text in _NO_CREDIT):
            return _R.QUOTA_PROVIDER, words
        case None if any(text in low for text in _NO_KEY):
            return _R.CONFIG_SECRET_MISSING, words
        case None:
            return _R.INFRA_MODEL, words
        case _:
            return _R.AGENT_CRASH, words


def _with_words(text: str, run: Run) -> str:
    return f"{text} {' '.join(run.plain[-3:])}".strip()[:TEXT]


def _texts(value: object) -> list[str]:
    return [str(part) for part in value] if isinstance(value, list) else []


# --- questions


def asked_in(deferred: object) -> tuple[AskedQuestion, ...]:
    """The questions of a deferred tool call; their ids are their places in it."""
    arguments = deferred.get("input") if isinstance(deferred, dict) else None
    listed = arguments.get("questions") if isinstance(arguments, dict) else None
    if not isinstance(listed, list):
        return ()
    return tuple(
        AskedQuestion(
            id=f"q{place}",
            text=str(question.get("question") or ""),
            header=str(question.get("header") or ""),
            choices=tuple(
                Choice(str(option.get("label") or ""), str(option.get("description") or ""))
                for option in question.get("options") or ()
                if isinstance(option, dict) and option.get("label")
            )[:CHOICES],
            several=question.get("multiSelect") is True,
        )
        for place, question in enumerate(listed[:QUESTIONS], 1)
        if isinstance(question, dict) and question.get("question")
    )


def answered(arguments: Mapping[str, Any], answers: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """The tool call's input with what people answered, as the tool expects it: by the question's words."""
    asked = asked_in({"input": arguments})
    said = {question.text: ", ".join(answers[question.id]) for question in asked if question.id in answers}
    return {**arguments, "answers": said}


# --- what it used


@dataclass(frozen=True, slots=True)
class Counted:
    """What a conversation had used, by model: (input, output, cache read, cache write) tokens, and all of it in USD."""

    tokens: Mapping[str, tuple[int, int, int, int]]
    cost_usd: float = 0.0


NOTHING: Final = Counted({})


def counted(models: object, cost: object) -> Counted:
    """From `modelUsage` and a cost, as a result or a transcript states them."""
    rows = models if isinstance(models, dict) else {}
    names = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheCreationInputTokens")
    tokens = {
        str(model): (_int(row, names[0]), _int(row, names[1]), _int(row, names[2]), _int(row, names[3]))
        for model, row in rows.items()
        if isinstance(row, dict)
    }
    return Counted(tokens, float(cost) if isinstance(cost, int | float) else 0.0)


def used(result: Mapping[str, Any] | None, before: Counted, turns: int) -> Usage | None:
    """What this run alone used. `before` is what the resumed conversation had used; `turns` were counted in the stream.

    A resumed session states what it used in all when its transcript says what it used before, else what this run used.
    """
    if result is None:
        return None
    now = counted(result.get("modelUsage"), result.get("total_cost_usd"))
    cumulative = all(
        all(was <= is_ for was, is_ in zip(tokens, now.tokens.get(model, (0, 0, 0, 0)), strict=True))
        for model, tokens in before.tokens.items()
    )
    base = before if cumulative else NOTHING
    rows = {
        model: tuple(n - was for n, was in zip(row, base.tokens.get(model, (0, 0, 0, 0)), strict=True))
        for model, row in now.tokens.items()
    }
    sums = [sum(row[place] for row in rows.values()) for place in range(4)]
    return Usage(
        turns=turns,
        input_tokens=sums[0],
        output_tokens=sums[1],
        cache_read_tokens=sums[2],
        cache_write_tokens=sums[3],
        cost_microusd=max(0, round((now.cost_usd - base.cost_usd) * 1_000_000)),
        model=max(rows, key=lambda model: rows[model][1], default=""),
    )


def _int(row: Mapping[str, Any], name: str) -> int:
    value = row.get(name)
    return value if isinstance(value, int) and value > 0 else 0
