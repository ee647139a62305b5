"""The life of an attempt: claim steps, dispatch, lease, silence, cancelling. Its end is in `attempt_end.py`.

Promises: silence never releases a claim; an attempt ends only on a proof (its run has ended, the cancel was
confirmed, it never started, its worker said so, or it is harmless). Every step can be repeated after a crash: the
claim's steps leave traces (label gone and by whom, run named after the attempt) that the next pass reads.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import assert_never

from bot.domain import labels
from bot.domain.approval import EVENT_LAG, newest, request_cancel
from bot.domain.asking import put_questions
from bot.domain.attempt import Attempt, AttemptPhase, Outcome, Proof, WorkerKind
from bot.domain.attempt_end import after_end, conclude
from bot.domain.claiming import published
from bot.domain.draft import BOT, Draft
from bot.domain.effects import PUBLISH_ONLY, CancelRun, Dispatch, Show, TakeReadyLabel
from bot.domain.facts import RunFacts, RunStatus
from bot.domain.lifecycle import ItemEvent
from bot.domain.model import FailureReason, ItemState
from bot.domain.policy_model import Policy

RUN_WORKFLOW = "tgs-server-run.yml"
"""The workflow file that is dispatched, under `.github/workflows/`."""

LEASE = timedelta(minutes=10)
"""How long a worker may be silent before it is suspected: ten missed heartbeats."""

INTERACTIVE_LEASE = timedelta(minutes=30)
"""How long a person's session may be silent: people think, read and have lunch."""

HEARTBEAT = timedelta(seconds=60)
"""How often a worker reports: often enough for a prompt stop, rare enough to cost nothing."""

ACTIVATION_LIMIT = timedelta(minutes=15)
"""A dispatched run that has not activated its claim by then is looked at every minute."""

QUEUED_LIMIT = timedelta(hours=2)
"""A run still queued after this long is cancelled: no runner will come."""

DISPATCH_LOOK = timedelta(seconds=15)
"""After a lost answer to a dispatch, how soon to look for the run by its name again."""

SUSPECT_LOOK = timedelta(seconds=60)
"""How often a silent attempt's run is looked at."""

SUSPECT_LIMIT = timedelta(minutes=30)
"""A run that still exists but has been silent for this long is cancelled as stalled."""

CANCEL_LOOK = timedelta(seconds=30)
"""How often a cancelled run is looked at when no webhook tells of its end."""

FORCE_AFTER = timedelta(minutes=5)
"""A polite cancel that is not confirmed by then is forced."""

TIMEOUT_GRACE = timedelta(minutes=10)
"""The worker stops itself at its time limit; this much later the bot cancels the run."""


def pursue(draft: Draft, policy: Policy) -> None:
    """Move the live attempt on."""
    attempt = draft.live
    if attempt is None or attempt.external:
        return
    if attempt.report is not None and attempt.phase is not AttemptPhase.CANCELLING:
        conclude(draft, policy, attempt, attempt.report)
        return
    if _session_ended(draft, policy, attempt):
        return
    if attempt.cancel_requested_at is not None:
        _cancel(draft, policy, attempt)
        return
    if not published(draft, policy, attempt):
        return
    attempt = draft.attempt or attempt
    if not (attempt.ready_removed and attempt.shown) and not _claim_steps(draft, policy, attempt):
        return
    if handed_in(attempt):
        _have_published(draft, policy, attempt)
        return
    put_questions(draft, policy, attempt, attempt.asking)
    match attempt.phase:
        case AttemptPhase.CLAIMED:
            _dispatch(draft, attempt)
        case AttemptPhase.DISPATCHING:
            _await_run(draft, policy, attempt, attempt.dispatched_at or attempt.claimed_at)
        case AttemptPhase.RUNNING:
            _watch(draft, policy, attempt)
        case AttemptPhase.SUSPECT:
            _settle_silence(draft, policy, attempt)
        case AttemptPhase.CANCELLING:
            _cancel(draft, policy, attempt)
        case AttemptPhase.ENDED:
            pass
        case _:
            assert_never(attempt.phase)


# --- starting ---------------------------------------------------------------------------------------


def _claim_steps(draft: Draft, policy: Policy, attempt: Attempt) -> bool:
    """The claim made visible: take the ready label, show label and assignee. False: do not go on in this pass."""
    issue = draft.facts.issue
    assert issue is not None
    key = draft.facts.key
    if not attempt.ready_removed:
        if labels.READY in issue.labels:
            draft.do(TakeReadyLabel(key, attempt.id, attempt.fence))
        else:
            event = newest(draft.facts.label_events, labels.READY, added=False)
            if event is None:
                draft.at(draft.now + EVENT_LAG)
                return False
            bot = draft.facts.repo.bot
            if bot is None or event.actor is None or event.actor.id != bot.id:
                _withdrawn(draft, attempt, event.actor.login if event.actor else "somebody")
                return False
            draft.step(ready_removed=True)
    if not attempt.shown:
        label = labels.state_label(ItemState.IN_PROGRESS)
        add = () if label in issue.labels else (label,)
        draft.visible.append(Show(key, add_labels=add, assign=_assignee(draft, policy), state_label=label))
    return True


def _dispatch(draft: Draft, attempt: Attempt) -> None:
    match attempt.worker.kind:
        case WorkerKind.ACTIONS:
            if attempt.run_id is None:
                draft.do(dispatch_of(draft, attempt))
        case WorkerKind.PULL | WorkerKind.INTERACTIVE:
            if not (attempt.ready_removed and attempt.shown):
                return
            draft.step(
                phase=AttemptPhase.RUNNING, started_at=draft.now, lease_until=draft.now + lease_of(attempt.worker.kind)
            )
            draft.at(draft.now + lease_of(attempt.worker.kind))
        case WorkerKind.EXTERNAL:
            draft.at(attempt.lease_until)
        case _:
            assert_never(attempt.worker.kind)


def lease_of(kind: WorkerKind) -> timedelta:
    """How long this kind of worker may be silent."""
    match kind:
        case WorkerKind.ACTIONS | WorkerKind.PULL:
            return LEASE
        case WorkerKind.INTERACTIVE | WorkerKind.EXTERNAL:
            return INTERACTIVE_LEASE
        case _:
            assert_never(kind)


def handed_in(attempt: Attempt) -> bool:
    """A pull worker has uploaded its result; it holds no right to push, so a run publishes it."""
    gate = attempt.gate_report
    return attempt.worker.kind is WorkerKind.PULL and gate is not None and gate.succeeded


def _have_published(draft: Draft, policy: Policy, attempt: Attempt) -> None:
    """Have a run judge and push what a pull worker handed in; that run is then what is watched."""
    assert attempt.gate_report is not None
    _await_run(draft, policy, attempt, attempt.gate_report.at)


def dispatch_of(draft: Draft, attempt: Attempt) -> Dispatch:
    """The dispatch of an attempt: ids only, never text that somebody wrote."""
    only = (PUBLISH_ONLY,) if handed_in(attempt) else ()
    return Dispatch(
        draft.facts.key,
        attempt.id,
        attempt.fence,
        RUN_WORKFLOW,
        draft.facts.repo.default_branch,
        (
            ("issue", str(draft.facts.key.number)),
            ("attempt", str(attempt.number)),
            ("claim_id", attempt.id),
            ("base_sha", attempt.base_sha or ""),
            *only,
        ),
    )


def _assignee(draft: Draft, policy: Policy) -> str | None:
    item = draft.item
    assert item is not None
    match policy.assignee:
        case "none":
            return None
        case "approver":
            return item.approver.login if item.approver else None
        case login:
            return login


def _withdrawn(draft: Draft, attempt: Attempt, actor: str) -> None:
    """Somebody took the ready label off before we did: nothing is started; what runs already is stopped."""
    if attempt.phase is not AttemptPhase.CLAIMED:
        request_cancel(draft, FailureReason.CANCELLED_WITHDRAWN, by=actor)
        return
    draft.end(Outcome.NOT_STARTED, proof=Proof.NEVER_STARTED, reason=FailureReason.CANCELLED_WITHDRAWN)
    draft.move(ItemEvent.WITHDRAWN, actor=actor, cause=f"removed {labels.READY} before the start")
    draft.free_locks = True


def _await_run(draft: Draft, policy: Policy, attempt: Attempt, since: datetime) -> None:
    """Dispatch a run and wait for it; one that does not come in time from `since` on is called off."""
    run = draft.facts.run
    if attempt.run_id is None:
        draft.do(dispatch_of(draft, attempt))
        draft.at(draft.now + DISPATCH_LOOK)
        return
    if run is not None and run.status in {RunStatus.COMPLETED, RunStatus.GONE}:
        _ended_without_word(draft, policy, attempt, run)
        return
    if _held_by_people(draft):
        return
    if draft.now - since > QUEUED_LIMIT:
        request_cancel(draft, FailureReason.INFRA_NOT_STARTED, by=BOT)
        _cancel(draft, policy, draft.attempt or attempt)
        return
    draft.at(max(since + ACTIVATION_LIMIT, draft.now + SUSPECT_LOOK))


# --- running ----------------------------------------------------------------------------------------


def _watch(draft: Draft, policy: Policy, attempt: Attempt) -> None:
    run = draft.facts.run
    if run is not None and run.status in {RunStatus.COMPLETED, RunStatus.GONE}:
        _ended_without_word(draft, policy, attempt, run)
        return
    limit = (attempt.started_at or attempt.claimed_at) + timedelta(minutes=policy.agent.timeout_minutes) + TIMEOUT_GRACE
    if attempt.worker.kind is WorkerKind.ACTIONS and draft.now >= limit:
        request_cancel(draft, FailureReason.AGENT_TIMEOUT, by=BOT)
        _cancel(draft, policy, draft.attempt or attempt)
        return
    if attempt.lease_until is not None and draft.now >= attempt.lease_until:
        draft.step(phase=AttemptPhase.SUSPECT)
        draft.at(draft.now)
        return
    draft.at(attempt.lease_until)
    if attempt.worker.kind is WorkerKind.ACTIONS:
        draft.at(limit)


def _session_ended(draft: Draft, policy: Policy, attempt: Attempt) -> bool:
    """With its session the right of the attempt to anything has ended, which is why it may be given up at once."""
    session = draft.facts.session
    if session is None or session.terminated_at is None or attempt.report is not None or handed_in(attempt):
        return False
    detail = f"its session ended: {session.why or 'no sign of life'}"
    if attempt.cancel_requested_at is not None:
        reason = attempt.cancel_reason or FailureReason.CANCELLED_BY_PERSON
        after_end(draft, policy, Outcome.CANCELLED, Proof.HARMLESS, reason, detail)
    else:
        after_end(draft, policy, Outcome.LOST, Proof.HARMLESS, FailureReason.LOST, detail)
    return True


def _settle_silence(draft: Draft, policy: Policy, attempt: Attempt) -> None:
    run = draft.facts.run
    lease = attempt.lease_until or attempt.claimed_at
    if draft.facts.session is not None and attempt.worker.kind is WorkerKind.INTERACTIVE:
        # How long a person may be silent is the session's rule; its end looks at this item.
        return
    if attempt.worker.kind is not WorkerKind.ACTIONS:
        token_dead = attempt.write_token_until is None or draft.now >= attempt.write_token_until
        if draft.now >= lease + lease_of(attempt.worker.kind) and token_dead:
            after_end(draft, policy, Outcome.LOST, Proof.HARMLESS, FailureReason.LOST, "no sign of life")
            return
        draft.at(draft.now + SUSPECT_LOOK)
        return
    if run is not None and run.status in {RunStatus.COMPLETED, RunStatus.GONE}:
        _ended_without_word(draft, policy, attempt, run)
        return
    if _held_by_people(draft):
        return
    if attempt.recovered_at is not None:
        # Its worker is silent because nobody knows its secret any more: only its time limit ends it.
        over = attempt.claimed_at + timedelta(minutes=policy.agent.timeout_minutes) + QUEUED_LIMIT
        if draft.now >= over:
            request_cancel(draft, FailureReason.AGENT_TIMEOUT, by=BOT)
            _cancel(draft, policy, draft.attempt or attempt)
            return
        draft.at(min(over, draft.now + SUSPECT_LOOK))
        return
    if draft.now >= lease + SUSPECT_LIMIT:
        request_cancel(draft, FailureReason.AGENT_STALLED, by=BOT)
        _cancel(draft, policy, draft.attempt or attempt)
        return
    draft.at(draft.now + SUSPECT_LOOK)


def _held_by_people(draft: Draft) -> bool:
    """Whether the run waits for somebody to approve an environment: that silence is no fault, and GitHub ends it."""
    run = draft.facts.run
    if run is None or run.status is not RunStatus.WAITING:
        return False
    draft.at(draft.now + ACTIVATION_LIMIT)
    return True


def _ended_without_word(draft: Draft, policy: Policy, attempt: Attempt, run: RunFacts) -> None:
    """The run is over and nobody reported: its conclusion says what kind of end it was."""
    started = attempt.started_at is not None or attempt.recovered_at is not None
    detail = f"run {run.id} ended with {run.conclusion or run.status.value}"
    match run.conclusion:
        case "cancelled":
            after_end(draft, policy, Outcome.CANCELLED, Proof.RUN_ENDED, FailureReason.CANCELLED_IN_ACTIONS, detail)
        case "timed_out":
            after_end(draft, policy, Outcome.FAILED, Proof.RUN_ENDED, FailureReason.AGENT_TIMEOUT, detail)
        case "startup_failure" | "action_required":
            after_end(draft, policy, Outcome.NOT_STARTED, Proof.RUN_ENDED, FailureReason.CONFIG_ACTOR_BLOCKED, detail)
        case _ if not started:
            after_end(draft, policy, Outcome.NOT_STARTED, Proof.RUN_ENDED, FailureReason.INFRA_NOT_STARTED, detail)
        case _:
            after_end(draft, policy, Outcome.LOST, Proof.RUN_ENDED, FailureReason.INFRA_RUNNER_LOST, detail)


def _cancel(draft: Draft, policy: Policy, attempt: Attempt) -> None:
    """Cancel → confirm → force after five minutes; the attempt ends only when GitHub shows the run's end."""
    reason = attempt.cancel_reason or FailureReason.CANCELLED_BY_PERSON
    if attempt.phase is AttemptPhase.CLAIMED or (
        attempt.worker.kind is not WorkerKind.ACTIONS and attempt.started_at is None
    ):
        after_end(draft, policy, Outcome.CANCELLED, Proof.NEVER_STARTED, reason, "")
        return
    run = draft.facts.run
    if attempt.worker.kind is WorkerKind.ACTIONS or (handed_in(attempt) and attempt.dispatched_at is not None):
        if attempt.run_id is None:
            # The dispatch may have happened: find the run first, then cancel it.
            draft.do(dispatch_of(draft, attempt))
            draft.at(draft.now + DISPATCH_LOOK)
            return
        if run is not None and run.status in {RunStatus.COMPLETED, RunStatus.GONE}:
            after_end(draft, policy, Outcome.CANCELLED, Proof.CANCEL_CONFIRMED, reason, "")
            return
    elif (
        attempt.report is not None
        or handed_in(attempt)
        or draft.now >= (attempt.lease_until or attempt.claimed_at) + lease_of(attempt.worker.kind)
    ):
        spoke = attempt.report is not None or handed_in(attempt)
        proof = Proof.WORKER_REPORTED if spoke else Proof.HARMLESS
        after_end(draft, policy, Outcome.CANCELLED, proof, reason, "")
        return
    requested = attempt.cancel_requested_at or draft.now
    if attempt.phase is not AttemptPhase.CANCELLING:
        draft.step(phase=AttemptPhase.CANCELLING)
    force = draft.now >= requested + FORCE_AFTER or attempt.forced_at is not None
    if force and attempt.forced_at is None:
        draft.step(forced_at=draft.now)
    if attempt.run_id is not None:
        draft.do(CancelRun(draft.facts.key, attempt.id, attempt.run_id, force))
        draft.at(draft.now + CANCEL_LOOK)
        draft.at(requested + FORCE_AFTER if not force else None)
    else:
        draft.at((attempt.lease_until or attempt.claimed_at) + lease_of(attempt.worker.kind))
