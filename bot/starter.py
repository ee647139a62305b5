"""Starts an item: reads it on GitHub once more, then claims it. The scheduler, runs and workers come through here.

A label taken off, an edit, a hold or a lost role since the approval must not start work, so what was approved is
compared with what is there right before the claim's transaction. The claim itself is `bot/claims.py`.

A race it knows: a process that stood still between the two (stopped, swapped out, a laptop asleep) has read what may
have changed long ago; it claims nothing by that and looks again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from bot.claims import Claimed, NotClaimed, claim
from bot.domain import budget, labels
from bot.domain.attempt import Attempt, Worker, WorkerKind
from bot.domain.explain import at_rest
from bot.domain.facts import IssueFacts, Presence
from bot.domain.labels import IntentLabel
from bot.domain.line import Told
from bot.domain.locks import Lock, parse_lock
from bot.domain.model import TERMINAL_STATES, AttemptId, IssueKey, Item, ItemState, RepoKey, Role, Waiting
from bot.domain.permissions import Capability, Denied, decide
from bot.domain.policy_model import Policy
from bot.domain.reasons import ReasonCode, waiting
from bot.domain.repository import RepoRecord
from bot.domain.schedule import DISPATCH_WINDOW, Backlog, Plan, exactly, schedule
from bot.domain.workers import DEFAULT_CLAIMS, MISSED_HEARTBEATS, Taker, WorkerRecord
from bot.errors import Forbidden, NotFound
from bot.metrics import Metrics
from bot.policies import policy_of
from bot.protocols.clock import Clock, Ids
from bot.protocols.github import GitHub
from bot.protocols.ledger import Ledger, Store
from bot.queued import Queues

READ_HOLDS = timedelta(minutes=1)
"""So long what was read of an item is good for its claim: slow requests and a slow disk take less."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Claimer:
    """Who wants an item. `also` writes what belongs to the claim, in its transaction."""

    worker: Worker
    capabilities: tuple[str, ...] = ()
    run_id: int | None = None
    max_claims: int = DEFAULT_CLAIMS
    also: Callable[[Ledger, Attempt], None] | None = None

    @property
    def taker(self) -> Taker:
        return Taker(self.worker.kind, self.capabilities)


class Starter:
    """The way from "ready" to a live attempt."""

    def __init__(
        self,
        github: GitHub,
        store: Store,
        clock: Clock,
        ids: Ids,
        metrics: Metrics,
        *,
        disabled: bool = False,
        deployment_limit: int | None = None,
    ) -> None:
        self._github = github
        self._store = store
        self._clock = clock
        self._ids = ids
        self._metrics = metrics
        self._disabled = disabled
        self._deployment_limit = deployment_limit
        self._queues = Queues()

    async def backlog(self, repo: RepoRecord, policy: Policy) -> Backlog:
        """What a scheduling pass needs, from the ledger; dependencies that are no items are read from GitHub."""
        now = self._clock.now()
        limit = self._deployment_limit
        backlog = await self._store.read(
            lambda tx: read_backlog(tx, repo, now, self._queues, disabled=self._disabled, deployment_limit=limit)
        )
        wanted = {number for line in backlog.queue for number in line.depends_on}
        if not wanted:
            return backlog
        states = await self._store.read(lambda tx: tx.states_of(repo.key, wanted))
        blocking = {number for number in wanted if not await self._satisfied(repo.key, number, states.get(number))}
        by_item = {
            line.number: open_
            for line in backlog.queue
            if (open_ := tuple(number for number in line.depends_on if number in blocking))
        }
        return replace(backlog, open_dependencies=by_item)

    async def exactly(self, repo: RepoRecord, key: IssueKey) -> Told | None:
        """What an item waits for now and its place in the queue, by a decision over all of it, as a pass makes it.

        Raises GitHubError when a dependency cannot be read.
        """
        policy = policy_of(repo)
        return exactly(await self.backlog(repo, policy), policy, self._clock.now(), key.number)

    async def _satisfied(self, key: RepoKey, number: int, state: ItemState | None) -> bool:
        """A dependency is met when its issue is closed as completed; not planned means it will never be.

        Of an item that is not over nobody needs to ask: in a long queue that would be many requests for each event.
        """
        if state is not None and state not in TERMINAL_STATES:
            return False
        presence, issue = await self._github.issue(IssueKey(key.installation, key.repo, number))
        if issue is None:
            return presence is Presence.DELETED
        return not issue.open and issue.state_reason in {None, "completed"}

    async def start(self, repo: RepoRecord, item: Item, policy: Policy, claimer: Claimer) -> Claimed | NotClaimed:
        """Re-read, then claim. `NotClaimed` says why not; the item's own pass deals with what changed."""
        # A queue is remembered without the texts that were approved.
        key = item.key
        known = await self._store.read(lambda tx: tx.item(key))
        item = known if known is not None else item
        read_at = self._clock.now()
        why = await self._changed(repo, item, policy)
        if why is not None:
            await self._store.write(lambda tx: tx.mark(item.key))
            return NotClaimed((why,))
        base = await self._github.head(repo.key, item.spec.base_branch or repo.default_branch)
        if base is None:
            return NotClaimed((waiting(ReasonCode.PREFLIGHT, what="the repository is empty", remedy="Push a commit."),))
        attempt_id = AttemptId(self._ids.new("a"))

        def open_claim(tx: Ledger) -> Claimed | NotClaimed:
            if self._clock.now() - read_at > READ_HOLDS:
                tx.mark(repo.key)
                return NotClaimed((waiting(ReasonCode.QUEUED),))
            result = claim(
                tx,
                item.key,
                claimer.worker,
                policy=policy,
                now=self._clock.now(),
                attempt_id=attempt_id,
                base_sha=base,
                run_id=claimer.run_id,
                max_claims=claimer.max_claims,
                deployment_limit=self._deployment_limit,
            )
            if isinstance(result, Claimed) and claimer.also is not None:
                claimer.also(tx, result.attempt)
            return result

        result = await self._store.write(open_claim)
        if isinstance(result, Claimed):
            since = item.ready_since or item.since
            self._metrics.ready_seconds.observe(max((result.attempt.claimed_at - since).total_seconds(), 0.0))
            log.info("claimed", number=item.key.number, attempt=attempt_id, fence=result.attempt.fence)
        return result

    async def start_for_run(self, repo: RepoRecord, run_id: int, name: str, number: int | None) -> Attempt | None:
        """A run that nobody dispatched takes the named item or the next one; None when there is none.

        When it asks again, because the answer was lost, it has the attempt that it took the first time.
        """

        def taken(tx: Ledger) -> Attempt | None:
            return tx.attempt_of_run(repo.key, run_id)

        mine = await self._store.read(taken)
        if mine is not None:
            return mine
        found = await self.take(repo, Claimer(Worker(WorkerKind.ACTIONS, name), run_id=run_id), number)
        if isinstance(found, Claimed):
            return found.attempt
        return await self._store.read(taken)

    async def take(self, repo: RepoRecord, claimer: Claimer, number: int | None) -> Claimed | NotClaimed:
        """The named item, or the first that may start, for somebody who asked for work.

        `NotClaimed` has the reasons of the named item; without a number, those of the first that waits, or none when
        nothing is queued.
        """
        policy = policy_of(repo)
        plan = await self.plan(repo, claimer.taker, number)
        for item in plan.start:
            result = await self.start(repo, item, policy, claimer)
            if isinstance(result, Claimed) or number is not None:
                return result
        for _, reasons, _ in plan.waiting:
            return NotClaimed(reasons)
        if number is None:
            return NotClaimed(())
        key = IssueKey(repo.key.installation, repo.key.repo, number)
        return await self._store.read(lambda tx: why_not(tx, key))

    async def plan(self, repo: RepoRecord, taker: Taker, number: int | None = None) -> Plan:
        """What this taker would get, in order, and why the rest waits; with a number, of that item alone.

        Whoever names an item does not stand in line behind the others, but needs a free place like everybody.
        """
        policy = policy_of(repo)
        backlog = await self.backlog(repo, policy)
        if number is not None:
            backlog = replace(backlog, queue=[line for line in backlog.queue if line.number == number])
        return schedule(backlog, policy, self._clock.now(), taker)

    async def _changed(self, repo: RepoRecord, item: Item, policy: Policy) -> Waiting | None:
        """What forbids the start now although the ledger says ready."""
        presence, issue = await self._github.issue(item.key)
        if presence is not Presence.HERE or issue is None:
            return waiting(ReasonCode.NOT_APPROVED, state=presence.value)
        found = not_as_approved(item, issue)
        if found is not None:
            return found
        approver = item.approver
        if approver is None:
            return None
        if approver.is_bot and approver.id in policy.bots:
            return None
        role: Role | None
        try:
            role = await self._github.role(repo.key, approver)
        except (Forbidden, NotFound):
            role = None
        if isinstance(decide(Capability.START, role, policy.roles), Denied):
            return waiting(ReasonCode.NOT_APPROVED, approver=approver.login)
        return None


def not_as_approved(item: Item, issue: IssueFacts) -> Waiting | None:
    """The difference between what was approved and what is there, if there is one that forbids a start."""
    if not issue.open:
        return waiting(ReasonCode.NOT_APPROVED, state="closed")
    if item.snapshot is None:
        return waiting(ReasonCode.NOT_APPROVED, state=item.state.value)
    if item.state is ItemState.READY and labels.READY not in issue.labels:
        return waiting(ReasonCode.NOT_APPROVED, state="label removed")
    if IntentLabel.HOLD in issue.labels:
        return waiting(ReasonCode.HELD, by="label", reason="")
    if IntentLabel.NO_AGENT in issue.labels:
        return waiting(ReasonCode.HUMAN_OWNED)
    if item.thought is not None:
        if item.snapshot.plan_sha not in {None, item.thought.plan_sha}:
            return waiting(ReasonCode.NOT_APPROVED, state="plan changed")
        return None
    if (item.snapshot.title, item.snapshot.body) != (issue.title, issue.body):
        return waiting(ReasonCode.NOT_APPROVED, state="edited")
    return None


def read_backlog(
    tx: Ledger,
    repo: RepoRecord,
    now: datetime,
    queues: Queues,
    *,
    disabled: bool,
    deployment_limit: int | None = None,
) -> Backlog:
    """The ledger's part of a scheduling pass."""
    free = [
        worker.capabilities
        for worker in tx.workers(repo.key.installation, since=now - MISSED_HEARTBEATS)
        if worker.draining_since is None and _serves(tx, worker, repo.key, now)
    ]
    queue, told = queues.read(tx, repo.key)
    day = budget.day_start(now)
    return Backlog(
        repo=tx.repo(repo.key) or repo,
        queue=queue,
        in_order=True,
        told=told,
        live=tuple(tx.live_attempts(repo.key)),
        held_locks=tuple((_lock(row.path, row.mode), row.issue) for row in tx.locks(repo.key)),
        in_review=tx.count_in_review(repo.key),
        dispatches_today=tx.count_dispatches(repo.key, now - DISPATCH_WINDOW),
        open_dependencies={},
        disabled=disabled,
        free_workers=tuple(free),
        spent=budget.Spent(
            tx.spent_on_waiting(repo.key),
            tx.spent_since(day, repo.key),
            tx.spent_since(day) if deployment_limit is not None else 0,
            deployment_limit,
        ),
    )


def _serves(tx: Ledger, worker: WorkerRecord, repo: RepoKey, now: datetime) -> bool:
    """Whether the worker could take an item of the repository now."""
    tokens = {token.id: token for token in tx.worker_tokens(worker.installation)}
    token = tokens.get(worker.token_id)
    if token is None or not token.good(now) or not token.opens(repo):
        return False
    mine = [attempt for attempt in tx.live_attempts_of(token.id) if attempt.worker.id == worker.id]
    return len(mine) < worker.slots


def why_not(tx: Ledger, key: IssueKey) -> NotClaimed:
    """Why an item that is not in the queue cannot be claimed."""
    live = tx.live_attempt(key)
    if live is not None:
        return NotClaimed(
            (waiting(ReasonCode.TAKEN, worker=live.worker.name, attempt=live.number),),
            owner=live.worker.name,
            lease_until=live.lease_until,
        )
    item = tx.item(key)
    return NotClaimed((at_rest(item) if item is not None else waiting(ReasonCode.NOT_TRACKED),))


def _lock(path: str, mode: str) -> Lock:
    return parse_lock(path if mode == "write" else f"read:{path}")
