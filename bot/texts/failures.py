"""What people read when an attempt ended without a result: one sentence and one remedy per reason."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from bot.domain.failures import FAILURES, INFRA_CAP
from bot.domain.model import FailureReason
from bot.texts.phrases import failure_of

_R = FailureReason

SENTENCES: Final = MappingProxyType(
    {
        _R.INFRA_DISPATCH: "GitHub did not start the run.",
        _R.INFRA_RUNNER_LOST: "The runner disappeared while the agent worked.",
        _R.INFRA_NETWORK: "The network failed while the agent worked.",
        _R.INFRA_NOT_STARTED: "The run was requested, but no runner began it in time.",
        _R.INFRA_MODEL: "The model did not answer.",
        _R.QUOTA_PROVIDER: "The model provider's quota is used up.",
        _R.QUOTA_GITHUB: "GitHub's request limit is used up.",
        _R.CONFIG_PERMISSION: "The App lacks a permission that it needs.",
        _R.CONFIG_WORKFLOW_MISSING: "The workflow file of the bot is missing, disabled or out of date.",
        _R.CONFIG_SECRET_MISSING: "The credential for the model is missing.",
        _R.CONFIG_ACTOR_BLOCKED: "The run refused to work for the bot's account.",
        _R.CONFIG_AGENT: "The agent cannot be started with these settings.",
        _R.AGENT_CRASH: "The agent crashed.",
        _R.AGENT_STALLED: "The agent stopped making progress.",
        _R.AGENT_TIMEOUT: "The agent did not finish in the time allowed.",
        _R.AGENT_TOO_LARGE: "This is too large for one piece of work.",
        _R.AGENT_ITERATION_LIMIT: "The agent used all its turns without finishing.",
        _R.AGENT_CONTEXT_OVERFLOW: "The task grew larger than the agent can keep in mind.",
        _R.AGENT_GAVE_UP: "The agent said that it cannot do this.",
        _R.AGENT_EMPTY_OUTPUT: "The agent finished without changing anything.",
        _R.AGENT_NO_EVIDENCE: "The agent reported success, but there is no result that shows it.",
        _R.MISSING_ARTIFACT: "The result lacks the `implementation.md` that a plan asks for.",
        _R.QUALITY_CI: "The checks failed.",
        _R.QUALITY_GATE: "The result did not pass the inspection before publishing.",
        _R.QUALITY_ACCEPTANCE: "The acceptance commands of the plan failed.",
        _R.POLICY_DENIED: "The policy forbids this work.",
        _R.POLICY_PROTECTED_PATH: "The result changes protected files.",
        _R.SECURITY_SECRET_IN_DIFF: "The result contains something that looks like a secret; it was not published.",
        _R.SECURITY_BUNDLE: "The result is not safe to unpack; it was not published.",
        _R.BUDGET_EXCEEDED: "The budget is used up.",
        _R.CANCELLED_BY_PERSON: "Somebody stopped it.",
        _R.CANCELLED_IN_ACTIONS: "Somebody cancelled the run in Actions.",
        _R.CANCELLED_CLOSED: "The issue was closed.",
        _R.CANCELLED_WITHDRAWN: "The ready label was removed before the start.",
        _R.CANCELLED_SUPERSEDED: "A newer attempt took its place.",
        _R.CONFLICT_MERGE: "The branch conflicts with its base.",
        _R.LOST: "The worker fell silent and its run is over.",
    }
)

REMEDIES: Final = MappingProxyType(
    {
        "wait": "Nothing to do unless it stays: then `/tgs retry` starts it again.",
        "runners": "Check that Actions has free runners and that its minutes are not used up; then `/tgs retry`.",
        "permission": "Accept the permissions the App asks for in its installation settings; the bot goes on then.",
        "workflow": "Run `tgs init` and commit `.github/workflows/tgs-server-run.yml` to the default branch.",
        "secret": "Add the model credential to the environment `tgs-agent` in the repository's settings.",
        "actor": "Allow the App in the repository's Actions settings.",
        "agent": "Check `agent` in `.tgs/policy.yml`, and that the worker has that agent; then `/tgs retry`.",
        "retry": "`/tgs retry` starts it again; notes after the command reach the agent.",
        "smaller": "Split the work into sub-issues, or raise the limits under `agent` in `.tgs/policy.yml`; then "
        "`/tgs retry`.",
        "split": "Split it into sub-issues, each with a result that can be checked by itself, and label those "
        "`tgs:ready`; `/tgs stop` calls this one off. `/tgs retry` lets the agent go on here instead.",
        "clarify": "Say more precisely what is wanted, then `/tgs retry <notes>`.",
        "artifact": "`/tgs retry` starts it again.",
        "ci": "Look at the failed checks; `/tgs retry <notes>` lets the agent try again.",
        "gate": "Read what was refused below; `/tgs retry <notes>` lets the agent try again.",
        "acceptance": "Check that the plan's acceptance commands are right; then `/tgs retry <notes>`.",
        "policy": "A maintainer can change `.tgs/policy.yml`; then `/tgs retry`.",
        "protected_path": "Make these changes yourself, or ask for the work without them: `/tgs retry <notes>`.",
        "secret_in_diff": "If it is a real secret, revoke it. Then `/tgs retry --fresh`.",
        "bundle": "Look at the run; `/tgs retry --fresh` starts again from nothing.",
        "budget": "A maintainer can raise `budgets` in `.tgs/policy.yml`; then `/tgs retry`.",
        "restart": "`/tgs retry` starts it again.",
        "reopen": "Reopen the issue and use `/tgs start` if it is wanted after all.",
        "relabel": "Add the label again, or `/tgs start`, if it is wanted after all.",
        "conflict": "`/tgs retry` builds it again on the present base.",
        "none": "Nothing to do.",
    }
)
"""What to do, by the key in the failure table."""


def sentence(reason: FailureReason) -> str:
    """What happened."""
    return SENTENCES[reason]


def remedy(reason: FailureReason) -> str:
    """What somebody can do about it."""
    return REMEDIES[FAILURES[reason].remedy]


def said(value: str) -> tuple[str, str]:
    """(what happened, what to do) for a stored reason, also for one that another version stored."""
    reason = failure_of(value)
    if reason is None:
        return "It ended without a result.", REMEDIES["retry"]
    return sentence(reason), remedy(reason)


def why_not_again(reason: FailureReason, burnt: int, allowed: int) -> str:
    """Why the bot does not simply try again."""
    rule = FAILURES[reason]
    if rule.infra:
        return f"This happened {INFRA_CAP} times in a row, so the bot stopped trying."
    if rule.burns and burnt >= allowed:
        return f"All {allowed} attempts are used." if allowed > 1 else "The one attempt is used."
    return "The bot does not repeat this by itself."
