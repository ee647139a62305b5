"""`claim`: the one function that opens an attempt. The scheduler and the API both call it.

Promise: exactly one winner. Everything that must hold is checked in the transaction that inserts the attempt, and the
database's unique index on live attempts decides between two transactions that both saw a free item. The caller has
re-read the issue on GitHub just before (a label that was taken off must not start work).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from bot.domain import budget
from bot.domain.attempt import Attempt, AttemptPhase, Outcome, Worker, WorkerKind
from bot.domain.attempting import lease_of
from bot.domain.explain import at_rest
from bot.domain.going_on import interrupted
from bot.domain.lifecycle import ItemEvent, Refusal, move
from bot.domain.locks import Held, Lock, parse_lock
from bot.domain.model import AttemptId, IssueKey, Item, ItemState, Waiting
from bot.domain.policy_model import Policy
from bot.domain.reasons import ReasonCode, waiting
from bot.domain.schedule import DISPATCH_WINDOW, gate, of_itself, over_budget, runs_to_come, wanted_locks
from bot.domain.thoughts import branch_name
from bot.domain.workers import DEFAULT_CLAIMS
from bot.protocols.ledger import Audit, DuplicateLiveAttempt, Ledger, LockRow


@dataclass(frozen=True, slots=True)
class Claimed:
    """This call won: the attempt is open and its fence is the highest of the item."""

    item: Item
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class NotClaimed:
    """Nothing changed. `owner` names the worker of the live attempt when somebody else has the item."""

    reasons: tuple[Waiting, ...]
    owner: str | None = None
    lease_until: datetime | None = None


def claim(
    tx: Ledger,
    key: IssueKey,
    worker: Worker,
    *,
    policy: Policy,
    now: datetime,
    attempt_id: AttemptId,
    base_sha: str | None,
    run_id: int | None = None,
    max_claims: int = DEFAULT_CLAIMS,
    deployment_limit: int | None = None,
    awaited: bool = False,
) -> Claimed | NotClaimed:
    """Open an attempt of the item for the worker, or say why not.

    `run_id` is the run that claims for itself; a run has one attempt in its life. `max_claims` is how many a worker
    token may hold at once. `deployment_limit` is what all repositories together may spend in a day, in micro-dollars.
    `awaited`: the item is not started again for a while because this very claim may come.
    """
    item = tx.item(key)
    if item is None:
        return NotClaimed((waiting(ReasonCode.NOT_APPROVED),))
    repo = tx.repo(key.repo_key)
    if repo is not None and repo.rebuilt_at is None:
        # Records are still coming back from GitHub; what else there is, is not known yet.
        return NotClaimed((waiting(ReasonCode.NOT_TRACKED),))
    live = tx.live_attempt(key)
    if live is not None:
        return _taken(live)
    if worker.token_id is not None and len(tx.live_attempts_of(worker.token_id)) >= max_claims:
        return NotClaimed((waiting(ReasonCode.SLOTS, count=max_claims, limit=max_claims),))
    mine = tx.attempt_of_run(key.repo_key, run_id) if run_id is not None else None
    if mine is not None:
        return _taken(mine)
    found = move(item.state, ItemEvent.CLAIMED)
    if isinstance(found, Refusal):
        return NotClaimed((at_rest(item),))
    closed = gate(item, policy, worker.kind)
    if closed is not None:
        return NotClaimed((closed,))
    against = of_itself(replace(item, not_before=None) if awaited else item, now)
    if against:
        # Somebody held it, or took it over, since the queue was looked at.
        return NotClaimed(tuple(against))
    passed = item.passed
    done = tx.attempt(passed.attempt) if passed is not None else None
    if passed is not None:
        if done is None or done.gate_report is None or worker.kind is not WorkerKind.ACTIONS or run_id is not None:
            return NotClaimed((waiting(ReasonCode.QUEUED),))
        worker = Worker(WorkerKind.PULL, f"result of attempt {done.number}")
    wanted = wanted_locks(item, policy)
    blocked = _blocked(tx, item, wanted, policy, now)
    if blocked:
        return NotClaimed(blocked)
    money = _reservation(tx, item, worker, policy, now, deployment_limit)
    if isinstance(money, budget.Ceiling):
        return NotClaimed((over_budget(money, now),))
    last = tx.last_attempt(key)
    attempt = Attempt(
        id=attempt_id,
        key=key,
        number=last.number + 1 if last is not None else 1,
        fence=item.fence + 1,
        phase=AttemptPhase.CLAIMED,
        worker=worker,
        # One branch per item: what an earlier attempt published is not lost.
        branch=last.branch if last is not None else branch_name(key.number, item.title, policy.branch_template),
        claimed_at=now,
        run_id=run_id,
        # A conversation goes on where it was; its work stands on the commit that it began with.
        base_sha=last.base_sha if last is not None and _goes_on(last) and not item.fresh else base_sha,
        policy_hash=policy.hash,
        # A retry comes from `in-progress`: its ready label was taken long ago.
        ready_removed=item.state is ItemState.IN_PROGRESS,
        lease_until=None if worker.kind is WorkerKind.ACTIONS else now + lease_of(worker.kind),
    )
    if passed is not None and done is not None and done.gate_report is not None:
        # Handed in already, by an attempt before: only a run that publishes it is missing.
        attempt = replace(
            attempt,
            phase=AttemptPhase.RUNNING,
            started_at=now,
            base_sha=passed.base_sha,
            gate_report=replace(done.gate_report, at=now),
        )
    try:
        tx.insert_attempt(attempt)
    except DuplicateLiveAttempt:
        other = tx.live_attempt(key)
        return _taken(other) if other is not None else NotClaimed((waiting(ReasonCode.TAKEN),))
    after = replace(
        item,
        state=found.to,
        since=now if item.state is not found.to else item.since,
        fence=attempt.fence,
        not_before=None,
        expedited=False,
        answered=False,
        waiting=(),
        position=None,
    )
    if not tx.save_item(item, after):
        raise DuplicateLiveAttempt(f"{key} changed while it was claimed")
    if money is not None:
        _reserve(tx, attempt, item, policy, now, money, deployment_limit)
    tx.free_locks(key)
    tx.take_locks(
        [LockRow(key.repo_key, lock.path, key.number, attempt.id, now, mode=lock.mode.value) for lock in wanted]
    )
    tx.audit(
        Audit(
            at=now,
            key=key,
            kind=ItemEvent.CLAIMED.value,
            actor=worker.name,
            cause=worker.kind.value,
            from_state=item.state.value,
            to_state=found.to.value,
            attempt=attempt.id,
            fence=attempt.fence,
            policy_hash=attempt.policy_hash,
        )
    )
    tx.mark(key, priority=1)
    return Claimed(replace(after, revision=item.revision + 1), attempt)


def _taken(live: Attempt) -> NotClaimed:
    return NotClaimed(
        (waiting(ReasonCode.TAKEN, worker=live.worker.name, attempt=live.number),),
        owner=live.worker.name,
        lease_until=live.lease_until,
    )


def _reservation(
    tx: Ledger, item: Item, worker: Worker, policy: Policy, now: datetime, deployment_limit: int | None
) -> int | budget.Ceiling | None:
    """What the attempt may spend, or the ceiling that forbids it; None when it is not our money."""
    if not budget.costs(worker.kind):
        return None
    above = _ceilings(tx, item, policy, now, deployment_limit)
    return budget.reservation(policy.budgets, above, item.spec.agent or policy.agent.adapter)


def _ceilings(
    tx: Ledger, item: Item, policy: Policy, now: datetime, deployment_limit: int | None
) -> tuple[budget.Ceiling, ...]:
    day = budget.day_start(now)
    spent = budget.Spent(
        {item.key.number: tx.spent_on(item.key)},
        tx.spent_since(day, item.key.repo_key),
        tx.spent_since(day) if deployment_limit is not None else 0,
        deployment_limit,
    )
    return budget.ceilings(item.key.number, item.spec, policy.budgets, spent)


def _reserve(
    tx: Ledger, attempt: Attempt, item: Item, policy: Policy, now: datetime, amount: int, deployment_limit: int | None
) -> None:
    """Sets the money aside, and notes each ceiling that thereby passes one of its steps."""
    for ceiling in _ceilings(tx, item, policy, now, deployment_limit):
        step = budget.crossed(ceiling.used, ceiling.used + amount, ceiling.limit)
        if step is not None:
            tx.audit(
                Audit(
                    at=now,
                    key=item.key,
                    kind="budget.reached",
                    actor="bot",
                    cause=f"{step} % of the {ceiling.scope.value}'s budget is spent or set aside",
                    attempt=attempt.id,
                    fence=attempt.fence,
                    policy_hash=attempt.policy_hash,
                    detail={"scope": ceiling.scope.value, "percent": str(step), "limit_usd": budget.usd(ceiling.limit)},
                )
            )
    tx.reserve(attempt.id, item.key, now, amount)


def _blocked(tx: Ledger, item: Item, wanted: tuple[Lock, ...], policy: Policy, now: datetime) -> tuple[Waiting, ...]:
    """Capacity and locks, from inside the transaction: the last word."""
    repo = item.key.repo_key
    live = tx.live_attempts(repo)
    if len(live) >= policy.max_parallel:
        return (waiting(ReasonCode.SLOTS, count=len(live), limit=policy.max_parallel),)
    runs = tx.count_dispatches(repo, now - DISPATCH_WINDOW) + runs_to_come(live)
    if runs >= policy.budgets.dispatches_per_day:
        return (waiting(ReasonCode.RUNS_TODAY, limit=policy.budgets.dispatches_per_day),)
    held = Held(
        (parse_lock(row.path if row.mode == "write" else f"read:{row.path}"), row.issue) for row in tx.locks(repo)
    )
    return tuple(
        waiting(ReasonCode.LOCKS, path=path, number=number) for path, number in held.against(wanted, item.key.number)
    )


def _goes_on(last: Attempt) -> bool:
    """A conversation goes on from the commit that it began with; work that was begun stands on it."""
    return last.outcome is Outcome.ASKED or interrupted(last)
