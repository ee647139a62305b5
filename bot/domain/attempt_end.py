"""The end of an attempt: what the worker's word is worth, and what becomes of the item.

Promise: success counts only as far as GitHub shows it; a failure is decided by its typed reason alone.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from bot.domain import budget
from bot.domain.approval import EVENT_LAG
from bot.domain.asking import await_answer, too_many
from bot.domain.attempt import Attempt, AttemptPhase, Outcome, Proof, WorkerReport
from bot.domain.draft import BOT, Draft
from bot.domain.effects import OpenPull, RevokeToken
from bot.domain.failures import EXTENSIONS, FAILURES, AskPerson, GiveUp, PauseRepo, Retry, next_step
from bot.domain.going_on import interrupted
from bot.domain.incidents import Sighting, cause_of
from bot.domain.lifecycle import ItemEvent
from bot.domain.looking import await_look, keeps_result
from bot.domain.model import Failure, FailureReason, ItemState, Problem
from bot.domain.notes import NoteCode, note
from bot.domain.policy_model import Policy
from bot.domain.review import FIRST_LOOK

EVIDENCE_PATIENCE = timedelta(minutes=2)
"""Git reads may lag behind a push; evidence missing for longer than this is missing."""


def conclude(draft: Draft, policy: Policy, attempt: Attempt, report: WorkerReport) -> None:
    """The worker said it is done: believe it only as far as GitHub shows it."""
    item = draft.item
    assert item is not None
    if item.state is ItemState.DONE:
        after_end(draft, policy, Outcome.CANCELLED, Proof.WORKER_REPORTED, FailureReason.CANCELLED_CLOSED, "")
        return
    if report.asked and attempt.cancel_requested_at is not None:
        reason = attempt.cancel_reason or FailureReason.CANCELLED_BY_PERSON
        after_end(draft, policy, Outcome.CANCELLED, Proof.WORKER_REPORTED, reason, "")
        return
    if report.asked and not too_many(draft, policy, attempt):
        await_answer(draft, policy, attempt, report)
        return
    if report.asked:
        detail = f"the agent asked more than {policy.questions.max_rounds} times"
        after_end(
            draft,
            policy,
            Outcome.FAILED,
            Proof.WORKER_REPORTED,
            FailureReason.AGENT_GAVE_UP,
            detail,
            retryable=False,
        )
        return
    if report.shown is not None:
        if attempt.cancel_requested_at is not None:
            reason = attempt.cancel_reason or FailureReason.CANCELLED_BY_PERSON
            after_end(draft, policy, Outcome.CANCELLED, Proof.WORKER_REPORTED, reason, "")
        else:
            await_look(draft, policy, attempt, report, report.shown)
        return
    if not report.succeeded:
        started = attempt.phase is not AttemptPhase.DISPATCHING or attempt.run_id is not None
        after_end(
            draft,
            policy,
            Outcome.FAILED if started else Outcome.NOT_STARTED,
            Proof.WORKER_REPORTED if started else Proof.NEVER_STARTED,
            report.reason or FailureReason.AGENT_CRASH,
            report.detail,
            retryable=report.retryable,
            reset_at=report.retry_at,
        )
        return
    if report.no_code is not None:
        draft.end(Outcome.PUBLISHED, proof=Proof.WORKER_REPORTED)
        draft.free_locks = True
        draft.move(
            ItemEvent.NO_CODE,
            actor=report.by or attempt.worker.name,
            cause=report.no_code,
            last_failure=None,
            notes=None,
            infra_failures=0,
            extensions=0,
        )
        return
    if attempt.write_token_until is not None:
        draft.do(RevokeToken(attempt.id))
    head = draft.facts.branch_head
    missing = None
    if report.head_sha is None or head != report.head_sha:
        missing = (FailureReason.AGENT_NO_EVIDENCE, f"branch {attempt.branch} is not at the reported commit")
    elif item.thought is not None and draft.facts.has_implementation is False:
        missing = (FailureReason.MISSING_ARTIFACT, f"{item.thought.dir}/implementation.md is not on the branch")
    if missing is not None:
        if draft.now - report.at < EVIDENCE_PATIENCE:
            draft.at(draft.now + EVENT_LAG)
            return
        after_end(draft, policy, Outcome.FAILED, Proof.WORKER_REPORTED, *missing)
        return
    if item.pull is None or item.pull.fence != attempt.fence:
        assert report.head_sha is not None
        draft.do(
            OpenPull(
                draft.facts.key,
                attempt.id,
                attempt.fence,
                attempt.branch,
                item.spec.base_branch or draft.facts.repo.default_branch,
                report.head_sha,
            )
        )
        return
    # Checks tell of themselves. Quick ones may have told before it was known here whose head they are about.
    draft.at(draft.now + FIRST_LOOK)
    draft.end(Outcome.PUBLISHED, proof=Proof.WORKER_REPORTED)
    draft.move(
        ItemEvent.PUBLISHED,
        actor=BOT,
        cause=f"pull request #{item.pull.number}",
        last_failure=None,
        notes=None,
        infra_failures=0,
        extensions=0,
    )


def after_end(
    draft: Draft,
    policy: Policy,
    outcome: Outcome,
    proof: Proof,
    reason: FailureReason,
    detail: str,
    *,
    retryable: bool | None = None,
    reset_at: datetime | None = None,
) -> None:
    """End the attempt and decide from the typed reason what becomes of the item."""
    item = draft.item
    assert item is not None
    draft.end(outcome, proof=proof, reason=reason, detail=detail)
    if item.withheld is not None and not keeps_result(reason):
        draft.change(withheld=None)
    attempt = draft.attempt
    assert attempt is not None
    if attempt.write_token_until is not None:
        draft.do(RevokeToken(attempt.id))
    cause = cause_of(reason)
    if cause is not None:
        draft.sighted.append(Sighting(cause, item.key.number, detail))
    # Also beside a pull request of an earlier attempt: the item goes on without it until somebody merges it.
    draft.free_locks = True
    if item.state is ItemState.DONE:
        # Somebody merged what there was; what this attempt leaves behind changes nothing about that.
        return
    if reason.value.startswith("cancelled."):
        event = ItemEvent.WITHDRAWN if reason is FailureReason.CANCELLED_WITHDRAWN else ItemEvent.CANCELLED
        draft.move(event, actor=attempt.cancel_by or "GitHub", cause=reason.value, last_failure=attempt.failure)
        return
    step = next_step(
        item, reason, policy, draft.now, jitter(attempt.id), reset_at, retryable, goes_on=interrupted(attempt)
    )
    failure = attempt.failure
    if isinstance(step, AskPerson) and step.instead is not None:
        reason = step.instead
        detail = f"Its agent went on {EXTENSIONS} times after the end of its time and is not done. {detail}".rstrip()
        failure = Failure(reason, detail, draft.now)
    if isinstance(step, Retry) and _money_is_gone(draft, policy, attempt):
        detail = f"The last attempt failed ({reason.value}), and another one is more than this issue may cost."
        reason = FailureReason.BUDGET_EXCEEDED
        step = AskPerson(FAILURES[reason].owner, step.attempts_burnt, step.infra_failures)
        failure = Failure(reason, detail, draft.now)
    match step:
        case Retry(at=at, fresh=fresh):
            _retry_later(draft, at, reason, step.attempts_burnt, step.infra_failures, fresh=fresh)
            if step.extended:
                draft.change(extensions=item.extensions + 1)
        case PauseRepo():
            _retry_later(draft, draft.now, reason, step.attempts_burnt, step.infra_failures)
            _report_problem(draft, reason, detail)
        case GiveUp() | AskPerson():
            draft.move(
                ItemEvent.GAVE_UP,
                actor=BOT,
                cause=reason.value,
                last_failure=failure,
                attempts_burnt=step.attempts_burnt,
                infra_failures=step.infra_failures,
            )
            draft.say(
                f"failed:{attempt.id}",
                note(
                    NoteCode.FAILED,
                    reason=reason.value,
                    detail=detail,
                    attempt=attempt.number,
                    run=attempt.run_id,
                    approver=item.approver.login if item.approver else None,
                ),
            )
        case _:
            assert_never(step)


def _money_is_gone(draft: Draft, policy: Policy, attempt: Attempt) -> bool:
    """Whether the issue's own ceiling leaves no further attempt; only a person can change that."""
    item, facts = draft.item, draft.facts
    assert item is not None
    if not budget.costs(attempt.worker.kind):
        return False
    used = facts.spent.of(item.key.number) - facts.reserved + budget.settled(attempt, facts.reserved)
    own = budget.Ceiling(budget.Scope.ITEM, budget.item_limit(item.spec, policy.budgets), used)
    adapter = item.spec.agent or policy.agent.adapter
    return isinstance(budget.reservation(policy.budgets, (own,), adapter), budget.Ceiling)


def _retry_later(
    draft: Draft, at: datetime, reason: FailureReason, burnt: int, infra: int, *, fresh: bool = False
) -> None:
    assert draft.attempt is not None
    draft.move(
        ItemEvent.RETRY_LATER,
        actor=BOT,
        cause=reason.value,
        not_before=at,
        last_failure=draft.attempt.failure,
        attempts_burnt=burnt,
        infra_failures=infra,
        fresh=fresh,
    )
    draft.at(at)


def _report_problem(draft: Draft, reason: FailureReason, detail: str) -> None:
    """A configuration failure stops the repository's starts until the checks pass again."""
    problem = Problem(reason.value, detail or reason.value, "")
    draft.repo = replace(draft.repo, preflight_ok=False, preflight_problems=(problem,), preflight_at=draft.now)


def jitter(seed: str) -> float:
    """A number in [0, 1) that is fixed by the attempt: full jitter without randomness in the domain."""
    value = 0
    for char in seed:
        value = (value * 131 + ord(char)) % 1_000_003
    return value / 1_000_003
