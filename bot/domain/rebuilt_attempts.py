"""The attempts of a lost ledger, from what GitHub shows of their issue. Pure.

Promises: a run that is alive has its attempt back as *suspect*, to be settled by the run and never started again
blindly; fences go on above everything that GitHub shows. What happened to an attempt without a run is found out by
the usual rules for silence.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from bot.domain import labels
from bot.domain.attempt import Attempt, AttemptPhase, ClaimMark, Outcome, Proof, Worker, WorkerKind, WorkerReport
from bot.domain.attempting import lease_of
from bot.domain.facts import RunStatus
from bot.domain.memory import AttemptMemory
from bot.domain.model import (
    AttemptId,
    ItemState,
)
from bot.domain.policy_model import Policy
from bot.domain.repository import RepoRecord
from bot.domain.sighting import Because, SeenRun, Sighting
from bot.domain.thoughts import branch_name

FENCE_GAP: Final = 10
"""More attempts than a status comment may lag behind: fences go on this far above what was seen, where that may be."""


def alive(seen: SeenRun) -> bool:
    """Whether GitHub shows that it has not ended."""
    return seen.run.status in {RunStatus.QUEUED, RunStatus.WAITING, RunStatus.IN_PROGRESS}


def fence_above(seen: Sighting) -> int:
    """Above everything seen, and further, for an attempt may have been opened that nothing shows."""
    claimed = [ref.record.fence for ref in seen.claims if ref.record is not None]
    highest = max(*claimed, seen.memory.fence if seen.memory is not None else 0, len(seen.runs), 0)
    return highest + FENCE_GAP if highest else 0


def live_attempt(
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
    newest_run = _newest_run(seen, remembered)
    if newest_run is not None:
        known = remembered if remembered is not None and remembered.id == newest_run.claim else None
        attempt = _of_run(seen, newest_run, known, policy, fence, now)
        if alive(newest_run):
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


def may_work(seen: Sighting, attempt: Attempt) -> bool:
    """Whether somebody may still work for it, or its result may still come. What an attempt held is free once its run
    has ended in vain, and by now it may be held for another item: the lost ledger may have known of that end."""
    run = next((run for run in seen.runs if run.claim == attempt.id), None)
    return run is None or alive(run) or run.run.conclusion == "success"


def _newest_run(seen: Sighting, remembered: AttemptMemory | None) -> SeenRun | None:
    """The run that settles the attempt; None when what is remembered began after it: a list of runs may be older than
    the comment, and the run before says nothing about the one that is alive."""
    newest = seen.runs[0] if seen.runs else None
    if newest is None or remembered is None or not remembered.live or remembered.id == newest.claim:
        return newest
    if remembered.run_id is not None:
        began_after = remembered.run_id > newest.run.id
    else:
        began_after = remembered.claimed_at > newest.run.created_at
    return None if began_after else newest


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


def past_attempts(seen: Sighting, live: Attempt | None, now: datetime, *, asked: bool) -> tuple[Attempt, ...]:
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
