"""A lost ledger's records, from what GitHub shows: facts of one issue in, item and attempts out, with reasons. Pure.

Promises: labels are adopted as they are, for there is no last projection to judge them by; what was approved counts
only if the text is still the approved one, else the usual rules look who edited it. A run that is alive keeps its
item: its attempt comes back as *suspect* and is settled by the run, never started again blindly. Fences and numbers go
on above everything that GitHub shows, so nothing of the lost ledger's time can pass for what comes now.

What it cannot know: an attempt that was opened and shown nowhere yet. If its run is seen later, the run may take up its
claim (`bot/run_service.py`); the item waits a moment for that before it is started again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from bot.domain import labels
from bot.domain.approval import newest
from bot.domain.attempt import Attempt, AttemptPhase, ClaimMark, Outcome, Proof, Worker, WorkerKind, WorkerReport
from bot.domain.attempting import lease_of
from bot.domain.claim_record import ClaimRef
from bot.domain.facts import IssueFacts, LabelEvent, PullFacts, RunFacts, RunStatus
from bot.domain.locks import Lock
from bot.domain.memory import AttemptMemory, ItemMemory, fingerprint
from bot.domain.model import (
    AttemptId,
    Item,
    ItemState,
    Person,
    Projection,
    PullLink,
    Snapshot,
    ThoughtRef,
    WorkSpec,
)
from bot.domain.policy_model import Policy
from bot.domain.question_memory import RoundMemory, asked_again
from bot.domain.questions import Question
from bot.domain.repository import RepoRecord
from bot.domain.schedule import wanted_locks
from bot.domain.thoughts import branch_name

FENCE_GAP: Final = 10
"""More attempts than a status comment may lag behind: fences go on this far above what was seen, where that may be."""

SEEN_LATE: Final = timedelta(minutes=2)
"""GitHub's list of runs may show one this late; so long an item in progress waits for its run to be seen."""

LOST_TEXT: Final = "(The approved text was lost together with the bot's ledger.)"
"""Stands where the approved text is not known: it differs from the issue, so that the rules look who edited it."""

MID_LIFE = (ItemState.IN_REVIEW, ItemState.NEEDS_INPUT, ItemState.IN_PROGRESS)
"""Which of several state labels counts first, when no memory says it."""


class Because(StrEnum):
    """Why a record came back as it did."""

    LABEL = "label"
    MEMORY = "status comment"
    EVENTS = "label events"
    RUN_ALIVE = "its run is alive"
    RUN_ENDED = "its run has ended"
    PUBLISHED = "its branch was published"
    DISPATCH_OPEN = "its run may have been started"
    NO_RUN = "no run was found"
    SILENT = "its worker is not known to be alive"
    QUESTION = "its question"
    QUESTION_LOST = "its question was lost"
    RESULT_LOST = "its result that waited for a look was lost and is made again"
    NO_PULL = "its pull request was not found"
    NOT_APPROVED = "who approved it is not known"


@dataclass(frozen=True, slots=True)
class SeenRun:
    """A run of our workflow for the issue, with the claim in its name."""

    run: RunFacts
    claim: AttemptId


@dataclass(frozen=True, slots=True)
class StatusComment:
    """Our status comment: written and last edited by us."""

    id: int
    node_id: str
    digest: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class Sighting:
    """What GitHub shows of one issue. `pulls` are ours from the item's branch, newest first, `runs` newest first.

    `branch_head` is where the item's branch is now, if it has commits beyond the default branch. `rounds` are the
    questions in our comments, each with the comment's id and when it was written.
    """

    issue: IssueFacts
    memory: ItemMemory | None = None
    status: StatusComment | None = None
    thought: ThoughtRef | None = None
    spec: WorkSpec = field(default_factory=WorkSpec)
    events: tuple[LabelEvent, ...] = ()
    pulls: tuple[PullFacts, ...] = ()
    runs: tuple[SeenRun, ...] = ()
    claims: tuple[ClaimRef, ...] = ()
    branch_head: str | None = None
    mirror_ready: bool = False
    rounds: tuple[tuple[RoundMemory, int, datetime], ...] = ()


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The records of one item; at most one of the attempts is live. `dispatched`: its start is written down."""

    item: Item
    attempts: tuple[Attempt, ...] = ()
    locks: tuple[Lock, ...] = ()
    dispatched: AttemptId | None = None
    because: tuple[Because, ...] = ()
    questions: tuple[Question, ...] = ()


def rebuild(seen: Sighting, repo: RepoRecord, policy: Policy, now: datetime) -> Rebuilt | None:
    """The records of the issue; None when it is no item."""
    why: list[Because] = []
    state = _state(seen, repo, why)
    if state is None:
        return None
    fence = _fence(seen)
    questions = _asked(seen, state)
    live, dispatched = (None, None) if questions else _live(seen, repo, policy, state, fence, now, why)
    past = _past(seen, live, now, asked=bool(questions))
    pull = _pull(seen)
    if live is not None and live.report is not None and pull is not None:
        pull = replace(pull, fence=live.fence)
    snapshot = _snapshot(seen, repo)
    not_before = seen.memory.not_before if seen.memory is not None else None
    if questions:
        # The conversation is gone with the ledger: the agent begins again, with question and answer in its prompt.
        why.append(Because.QUESTION)
    elif state is ItemState.NEEDS_INPUT:
        waited = seen.memory is not None and seen.memory.withheld
        why.append(Because.RESULT_LOST if waited else Because.QUESTION_LOST)
        state = ItemState.IN_PROGRESS
    if state is ItemState.IN_REVIEW and pull is None:
        why.append(Because.NO_PULL)
        state = ItemState.FAILED
    if state in {ItemState.READY, ItemState.IN_PROGRESS} and live is None:
        if snapshot is None:
            why.append(Because.NOT_APPROVED)
            state = ItemState.PROPOSED
        elif state is ItemState.IN_PROGRESS:
            why.append(Because.NO_RUN)
            not_before = max(not_before or now, now + SEEN_LATE)
    item = _item(seen, state, repo, now, fence, snapshot, pull, not_before)
    if live is not None:
        item = replace(item, fence=live.fence)
    waits = state is ItemState.NEEDS_INPUT and policy.keep_locks
    holds = live is not None or waits or (state is ItemState.IN_REVIEW and pull is not None)
    attempts = (*past, *((live,) if live is not None else ()))
    return Rebuilt(item, attempts, wanted_locks(item, policy) if holds else (), dispatched, tuple(why), questions)


# --- state -------------------------------------------------------------------------------------------


def _state(seen: Sighting, repo: RepoRecord, why: list[Because]) -> ItemState | None:
    shown = labels.states_shown(seen.issue.labels)
    memory = seen.memory
    if len(shown) == 1:
        why.append(Because.LABEL)
        return shown[0]
    if memory is not None and (memory.state in shown or not shown):
        why.append(Because.MEMORY)
        if memory.state is ItemState.READY and not shown:
            return _unlabelled(seen, repo, why)
        return memory.state
    if shown:
        why.append(Because.LABEL)
        return next((state for state in MID_LIFE if state in shown), shown[-1])
    if any(_alive(run) for run in seen.runs):
        return ItemState.IN_PROGRESS
    return None


def _unlabelled(seen: Sighting, repo: RepoRecord, why: list[Because]) -> ItemState:
    """It was ready and is not labelled any more: taken by a claim of ours, or withdrawn by a person."""
    event = newest(seen.events, labels.READY, added=False)
    why.append(Because.EVENTS)
    ours = event is not None and event.actor is not None and repo.bot is not None and event.actor.id == repo.bot.id
    if ours:
        return ItemState.IN_PROGRESS
    return ItemState.CANCELLED if event is not None else ItemState.PROPOSED


def _snapshot(seen: Sighting, repo: RepoRecord) -> Snapshot | None:
    """What was approved. A text that may not be the approved one is not shown as such."""
    memory, issue = seen.memory, seen.issue
    title = issue.title
    if memory is not None and memory.approved_at is not None:
        body = "" if seen.thought is not None else issue.body
        same = memory.text == fingerprint(title, body) or seen.thought is not None
        return Snapshot(
            title=title,
            body=body if same else LOST_TEXT,
            approved_at=memory.approved_at,
            approver=memory.approver,
            plan_sha=memory.plan_sha,
            contains_outsider_text=memory.outsider,
        )
    event = newest(seen.events, labels.READY, added=True)
    person: Person | None = event.actor if event is not None else None
    if event is None or person is None or person.is_bot or (repo.bot is not None and person.id == repo.bot.id):
        return None
    plan = seen.thought.plan_sha if seen.thought is not None else None
    body = LOST_TEXT if seen.thought is None else ""
    return Snapshot(title, body, event.at, person, plan, contains_outsider_text=True)


def _item(
    seen: Sighting,
    state: ItemState,
    repo: RepoRecord,
    now: datetime,
    fence: int,
    snapshot: Snapshot | None,
    pull: PullLink | None,
    not_before: datetime | None,
) -> Item:
    issue, memory = seen.issue, seen.memory
    wanted = labels.state_label(state)
    shown = labels.states_shown(issue.labels)
    status = seen.status
    # Ready without a memory is judged by who set the label, as for an issue that was never seen.
    judged = state is ItemState.READY and (memory is None or snapshot is None)
    base = Item(
        key=issue.key,
        node_id=issue.node_id,
        title=issue.title,
        state=ItemState.PROPOSED if judged else state,
        since=memory.since if memory is not None and memory.state is state else now,
        thought=seen.thought,
        snapshot=None if judged or state is ItemState.PROPOSED else snapshot,
        spec=seen.spec,
        labels=tuple(sorted(name for name in issue.labels if not labels.is_ours(name))),
        fence=fence,
        not_before=not_before,
        pull=pull,
        branch_deleted=state is ItemState.DONE and not issue.open,
        mirror_ready=seen.mirror_ready,
        projection=Projection(
            state_label=wanted if shown == (state,) and not judged else None,
            status_comment_id=status.id if status is not None else None,
            status_comment_node=status.node_id if status is not None else None,
            status_hash=status.digest if status is not None else None,
            status_edited_at=status.written_at if status is not None else None,
            status_generation=memory.generation if memory is not None else 0,
        ),
    )
    if memory is None:
        return base
    return replace(
        base,
        spec=memory.asked.over(seen.spec),
        asked=memory.asked,
        priority=memory.priority,
        accepted_labels=memory.accepted,
        held_by=memory.held_by if memory.held_by != "label" else None,
        held_reason=memory.held_reason,
        expedited=memory.expedited and state is ItemState.READY,
        fresh=memory.fresh,
        ready_since=memory.ready_since,
        attempts_burnt=memory.burnt,
        infra_failures=memory.infra,
        extensions=memory.extensions,
        last_failure=memory.failure,
    )


# --- attempts ----------------------------------------------------------------------------------------


def _alive(seen: SeenRun) -> bool:
    return seen.run.status in {RunStatus.QUEUED, RunStatus.WAITING, RunStatus.IN_PROGRESS}


def _fence(seen: Sighting) -> int:
    """Above everything seen, and further, for an attempt may have been opened that nothing shows."""
    claimed = [ref.record.fence for ref in seen.claims if ref.record is not None]
    highest = max(*claimed, seen.memory.fence if seen.memory is not None else 0, len(seen.runs), 0)
    return highest + FENCE_GAP if highest else 0


def _live(
    seen: Sighting,
    repo: RepoRecord,
    policy: Policy,
    state: ItemState,
    fence: int,
    now: datetime,
    why: list[Because],
) -> tuple[Attempt | None, AttemptId | None]:
    """The attempt that is still to be settled, and whether its start is to be looked for."""
    if state not in {ItemState.IN_PROGRESS, ItemState.NEEDS_INPUT}:
        return None, None
    remembered = seen.memory.attempt if seen.memory is not None else None
    newest_run = seen.runs[0] if seen.runs else None
    if newest_run is not None:
        known = remembered if remembered is not None and remembered.id == newest_run.claim else None
        attempt = _of_run(seen, newest_run, known, policy, fence, now)
        if _alive(newest_run):
            why.append(Because.RUN_ALIVE)
            return attempt, None
        if newest_run.run.conclusion == "success" and seen.branch_head is not None:
            # The run's last job pushed; that it was told to the ledger is lost, and GitHub shows it as well.
            why.append(Because.PUBLISHED)
            report = WorkerReport(True, now, head_sha=seen.branch_head)
            return replace(attempt, report=report), None
        if known is None or known.live:
            why.append(Because.RUN_ENDED)
            return attempt, None
        return None, None
    if remembered is None or not remembered.live or state is ItemState.NEEDS_INPUT:
        return None, None
    attempt = _remembered(seen, remembered, now)
    if remembered.worker.kind is not WorkerKind.ACTIONS:
        why.append(Because.SILENT)
        return replace(attempt, lease_until=now + lease_of(remembered.worker.kind)), None
    if remembered.run_id is not None:
        why.append(Because.RUN_ENDED)
        return attempt, None
    why.append(Because.DISPATCH_OPEN)
    return replace(attempt, phase=AttemptPhase.DISPATCHING, dispatched_at=now), attempt.id


def _of_run(
    seen: Sighting, run: SeenRun, known: AttemptMemory | None, policy: Policy, fence: int, now: datetime
) -> Attempt:
    memory = seen.memory
    last = memory.attempt if memory is not None else None
    if known is not None:
        attempt = _remembered(seen, known, now)
    else:
        attempt = _with_claim(
            seen,
            Attempt(
                id=run.claim,
                key=seen.issue.key,
                number=last.number + 1 if last is not None else len(seen.runs),
                fence=fence,
                phase=AttemptPhase.SUSPECT,
                worker=Worker(WorkerKind.ACTIONS, "actions"),
                branch=last.branch
                if last is not None
                else branch_name(seen.issue.key.number, seen.issue.title, policy.branch_template),
                claimed_at=run.run.created_at,
                base_sha=run.run.head_sha or None,
                recovered_at=now,
            ),
        )
    queued = run.run.status is RunStatus.QUEUED
    return replace(
        attempt,
        run_id=run.run.id,
        # Whoever had it before: now a run carries the claim, and the run settles it.
        worker=Worker(WorkerKind.ACTIONS, "actions"),
        phase=AttemptPhase.DISPATCHING if queued else AttemptPhase.SUSPECT,
        dispatched_at=run.run.created_at,
        ready_removed=True,
        shown=labels.IN_PROGRESS in seen.issue.labels,
    )


def _remembered(seen: Sighting, known: AttemptMemory, now: datetime) -> Attempt:
    attempt = Attempt(
        id=AttemptId(known.id),
        key=seen.issue.key,
        number=known.number,
        fence=known.fence,
        phase=AttemptPhase.SUSPECT,
        worker=known.worker,
        branch=known.branch,
        claimed_at=known.claimed_at,
        kind=known.kind,
        base_sha=known.base_sha,
        run_id=known.run_id,
        ready_removed=True,
        shown=labels.IN_PROGRESS in seen.issue.labels,
        recovered_at=now,
    )
    return _with_claim(seen, attempt)


def _with_claim(seen: Sighting, attempt: Attempt) -> Attempt:
    ref = next((ref for ref in seen.claims if ref.record is not None and ref.record.claim_id == attempt.id), None)
    if ref is None:
        return attempt
    return replace(attempt, claim_mark=ClaimMark.HELD, claim_ref=ref.ref, claim_oid=ref.oid)


def _asked(seen: Sighting, state: ItemState) -> tuple[Question, ...]:
    """The questions that the last attempt ended with, while an answer to them is wanted or waits to be worked with."""
    last = seen.memory.attempt if seen.memory is not None else None
    if last is None or state not in {ItemState.NEEDS_INPUT, ItemState.READY}:
        return ()
    return asked_again(seen.issue.key, seen.rounds, AttemptId(last.id))


def _past(seen: Sighting, live: Attempt | None, now: datetime, *, asked: bool) -> tuple[Attempt, ...]:
    """The last attempt when it is over: numbers and the branch go on from it, and its claim ref is known as ours."""
    known = seen.memory.attempt if seen.memory is not None else None
    if known is None or (live is not None and live.id == known.id):
        return ()
    if asked:
        outcome, proof = Outcome.ASKED, Proof.WORKER_REPORTED
    elif seen.memory is not None and seen.memory.state is ItemState.IN_REVIEW:
        outcome, proof = Outcome.PUBLISHED, Proof.WORKER_REPORTED
    else:
        outcome, proof = Outcome.LOST, Proof.RUN_ENDED
    ended = replace(
        _remembered(seen, known, now),
        phase=AttemptPhase.ENDED,
        outcome=outcome,
        proof=proof,
        ended_at=now,
    )
    return (ended,)


def _pull(seen: Sighting) -> PullLink | None:
    """The newest pull request of the item's branch, unless it was closed and the item goes on without it."""
    memory = seen.memory
    wanted: Sequence[PullFacts] = seen.pulls
    if memory is not None and memory.pull is not None:
        wanted = [pull for pull in seen.pulls if pull.number == memory.pull] or seen.pulls
    pull = wanted[0] if wanted else None
    if pull is None:
        return None
    fence = memory.attempt.fence if memory is not None and memory.attempt is not None else 0
    author = memory.pull_author if memory is not None else None
    return PullLink(pull.number, pull.node_id, pull.head_ref, pull.head_sha, fence, pull.created_at, author)
