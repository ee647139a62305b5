"""Which items of a repository to start now, and for each of the others the reason why not.

The order (`bot/domain/line.py`) is strict: an item that must wait does not block the next one unless they want the same
path. The first in a long queue are told all that they wait for, the others what concerns them alone.

The decision is advice: `bot/claims.py` checks capacity and locks once more
inside the transaction that opens the attempt, so two passes can never start one item or overlapping items twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import attrgetter
from typing import assert_never

from bot.domain import budget as money
from bot.domain.artifacts import unusable
from bot.domain.attempt import Attempt, WorkerKind
from bot.domain.line import Queued, Told, order
from bot.domain.locks import Held, Lock, parse_lock
from bot.domain.model import Item, ItemState, Waiting
from bot.domain.permissions import Capability, needed
from bot.domain.policy_model import Policy, WorkSource
from bot.domain.reasons import ReasonCode, waiting
from bot.domain.repository import RepoRecord
from bot.domain.workers import DISPATCHER, Taker, able

DISPATCH_WINDOW = timedelta(days=1)
"""The ceiling on runs counts over the last day."""

HEADSTART = timedelta(seconds=60)
"""With `workers: pull_first` an item is kept this long for a free worker; it asks every half minute at the latest."""


IN_LINE = (waiting(ReasonCode.QUEUED),)
"""What an item far behind waits for, if nothing concerns it alone."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What one scheduling pass knows of one repository. `free_workers`: what each free pull worker can do.

    `queue`: ready items and those in progress; the ones that an attempt works on are left out. `in_order`: the queue is
    in its order already. `told`: number → what is stored of its wait.
    """

    repo: RepoRecord
    queue: Sequence[Queued]
    live: Sequence[Attempt]
    held_locks: Sequence[tuple[Lock, int]]
    in_review: int
    dispatches_today: int
    open_dependencies: Mapping[int, tuple[int, ...]]
    disabled: bool = False
    free_workers: Sequence[tuple[str, ...]] = ()
    spent: money.Spent = money.NOTHING_SPENT
    in_order: bool = False
    told: Mapping[int, Told] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """`start`: to be claimed now, in this order. `waiting`: item, its reasons, its place in the queue."""

    start: tuple[Item, ...]
    waiting: tuple[tuple[Queued, tuple[Waiting, ...], int], ...]
    wake_at: datetime | None


def exactly(backlog: Backlog, policy: Policy, now: datetime, number: int) -> Told | None:
    """What this item waits for and its place, however far behind it is; None when it is not in the queue.

    No reason at all: it is about to be started.
    """
    plan = schedule(backlog, policy, now, near=0, asked=number)
    for line, reasons, place in plan.waiting:
        if line.number == number:
            return reasons, place
    starting = next((item for item in plan.start if item.key.number == number), None)
    if starting is None:
        return None
    others = (*map(order, plan.start), *(line.order for line, _, _ in plan.waiting))
    return (), 1 + sum(other < order(starting) for other in others)


def schedule(
    backlog: Backlog,
    policy: Policy,
    now: datetime,
    taker: Taker = DISPATCHER,
    *,
    near: int | None = None,
    asked: int | None = None,
) -> Plan:
    """Choose for this taker; every item that is not chosen gets at least one reason.

    With `near`, the items behind that place get only the reasons that are their own; not the one that is `asked` for.
    """
    live = {attempt.key.number for attempt in backlog.live}
    queue = [line for line in backlog.queue if line.number not in live] if live else backlog.queue
    if not backlog.in_order:
        queue = sorted(queue, key=attrgetter("order"))
    depend = backlog.open_dependencies
    blockers = repo_blockers(backlog.repo, policy, now, disabled=backlog.disabled)
    slots = policy.max_parallel - len(backlog.live)
    held = Held(backlog.held_locks)
    prices = _Prices(taker, backlog, policy)
    start: list[Item] = []
    waits: list[tuple[Queued, tuple[Waiting, ...], int]] = []
    wake: datetime | None = None
    runs_left = policy.budgets.dispatches_per_day - backlog.dispatches_today - runs_to_come(backlog.live)
    planned = 0
    # Work under way will ask for review as well; counting it makes the limit hold however the starts were spread.
    # Work that waits (for a person, for its back-off) is not counted: it must not block the others.
    unreviewed = backlog.in_review + len(backlog.live)
    reviewable, room = policy.max_unreviewed_prs - unreviewed, min(slots, runs_left)
    brief_from = len(queue) if near is None or asked is not None or policy.require_approval else near
    for position, line in enumerate(queue, start=1):
        if position > brief_from and line.plain and line.number not in depend and (blockers or len(start) >= room):
            waits.append((line, IN_LINE, position))  # almost all of a long queue
            continue
        item = line.item
        if item.not_before is not None and item.not_before > now:
            wake = item.not_before if wake is None else min(wake, item.not_before)
        behind = near is not None and position > near and item.key.number != asked
        # Work that was started before is not new: it may go on while pull requests wait for review.
        no_reviewer = len(start) >= reviewable and item.state is ItemState.READY and not item.answered
        if behind and (blockers or len(start) >= room or no_reviewer):
            waits.append((line, _own_reasons(line, backlog, policy, now, taker), position))
            continue
        reasons = [*blockers, *_item_blockers(item, backlog, held, policy, now)]
        closed = gate(item, policy, taker.kind)
        if closed is not None:
            reasons.append(closed)
        kept = _not_for(taker, item, backlog, policy, now)
        if kept is not None:
            reason, until = kept
            reasons.append(reason)
            if runs_left <= 0:
                # Whoever else may have it would not get it today either: waiting for them alone would be wrong to say.
                reasons.append(waiting(ReasonCode.RUNS_TODAY, limit=policy.budgets.dispatches_per_day))
            if until is not None:
                wake = until if wake is None else min(wake, until)
        if not reasons:
            if no_reviewer:
                count = unreviewed + len(start)
                reasons.append(waiting(ReasonCode.UNREVIEWED, count=count, limit=policy.max_unreviewed_prs))
            if len(start) >= slots:
                reasons.append(
                    waiting(ReasonCode.SLOTS, count=len(backlog.live) + len(start), limit=policy.max_parallel)
                )
            if len(start) >= runs_left:
                reasons.append(waiting(ReasonCode.RUNS_TODAY, limit=policy.budgets.dispatches_per_day))
        price = prices.of(item, planned)
        if isinstance(price, money.Ceiling):
            reasons.append(over_budget(price, now))
            if price.scope is not money.Scope.ITEM:
                wake = money.next_day(now) if wake is None else min(wake, money.next_day(now))
        if reasons:
            told = _own_reasons(line, backlog, policy, now, taker) if behind else tuple(reasons)
            waits.append((line, told, position))
            continue
        planned += price if isinstance(price, int) else 0
        start.append(item)
        for lock in wanted_locks(item, policy):
            held.add(lock, item.key.number)
    pause = backlog.repo.pause
    if pause is not None and pause.active(now) and pause.until is not None:
        wake = pause.until if wake is None else min(wake, pause.until)
    return Plan(tuple(start), tuple(waits), wake)


def runs_to_come(live: Sequence[Attempt]) -> int:
    """Runs that what is under way will still begin: its own, or the one that pushes what a pull worker hands in. They
    take part of the day's ceiling from the claim on, for work that is done cannot wait for another day."""
    kinds = {WorkerKind.ACTIONS, WorkerKind.PULL}
    return sum(one.worker.kind in kinds and one.dispatched_at is None for one in live)


def over_budget(ceiling: money.Ceiling, now: datetime) -> Waiting:
    """The reason that a ceiling gives: which one, how high it is in US dollars, and when it is empty again."""
    until = None if ceiling.scope is money.Scope.ITEM else money.next_day(now)
    return waiting(ReasonCode.BUDGET, scope=ceiling.scope.value, limit=money.usd(ceiling.limit), until=until)


class _Prices:
    """What the next attempt of each item reserves. Most of a queue has spent nothing and wants nothing special, so
    that one answer serves them all.
    """

    def __init__(self, taker: Taker, backlog: Backlog, policy: Policy) -> None:
        self._free = not money.costs(taker.kind)
        self._spent = backlog.spent
        self._policy = policy
        self._known: dict[tuple[int, str, float | None], int | money.Ceiling] = {}

    def of(self, item: Item, planned: int) -> int | money.Ceiling:
        """The amount in micro-dollars, or the ceiling that forbids it. `planned` is reserved before it in this pass."""
        if self._free or item.passed is not None:
            return 0
        spec, number, budgets = item.spec, item.key.number, self._policy.budgets
        adapter = spec.agent or self._policy.agent.adapter
        plain = number not in self._spent.items
        wanted = (planned, adapter, spec.budget_usd)
        known = self._known.get(wanted) if plain else None
        if known is None:
            above = money.ceilings(number, spec, budgets, self._spent, planned)
            known = money.reservation(budgets, above, adapter)
            if plain:
                self._known[wanted] = known
        return known


def wanted_locks(item: Item, policy: Policy) -> tuple[Lock, ...]:
    """The paths an item needs for itself: its own, else the policy's."""
    return tuple(parse_lock(path) for path in (item.spec.locks or policy.locks))


def _not_for(
    taker: Taker, item: Item, backlog: Backlog, policy: Policy, now: datetime
) -> tuple[Waiting, datetime | None] | None:
    """Why this taker does not get the item although it could start, and when that ends by itself."""
    if item.passed is not None:
        # The work is done; what is left is a run of ours that publishes it.
        return None if taker.kind is WorkerKind.ACTIONS else (waiting(ReasonCode.QUEUED), None)
    needs = ", ".join(item.spec.needs)
    match taker.kind:
        case WorkerKind.ACTIONS:
            if policy.workers is WorkSource.PULL or item.spec.needs:
                return waiting(ReasonCode.WORKER, needs=needs), None
            until = (item.ready_since or item.since) + HEADSTART
            kept = policy.workers is WorkSource.PULL_FIRST and now < until and len(backlog.free_workers) > 0
            return (waiting(ReasonCode.WORKER, until=until), until) if kept else None
        case WorkerKind.PULL:
            if policy.workers is WorkSource.ACTIONS and not item.spec.needs:
                return waiting(ReasonCode.NOT_PULLED), None
            return (
                None if able(taker.capabilities, item.spec.needs) else (waiting(ReasonCode.WORKER, needs=needs), None)
            )
        case WorkerKind.INTERACTIVE | WorkerKind.EXTERNAL:
            return None
        case _:
            assert_never(taker.kind)


def _own_reasons(line: Queued, backlog: Backlog, policy: Policy, now: datetime, taker: Taker) -> tuple[Waiting, ...]:
    """What an item far behind waits for that concerns it alone."""
    item = line.item
    if line.plain and not policy.require_approval and line.number not in backlog.open_dependencies:
        return IN_LINE
    found = _of_item(item, backlog, now)
    closed = gate(item, policy, taker.kind)
    if closed is not None:
        found.append(closed)
    kept = _not_for(taker, item, backlog, policy, now) if item.spec.needs else None
    if kept is not None:
        found.append(kept[0])
    return tuple(found) or IN_LINE


def repo_blockers(repo: RepoRecord, policy: Policy, now: datetime, *, disabled: bool = False) -> list[Waiting]:
    """What keeps every item of the repository from being started."""
    found: list[Waiting] = []
    if disabled or not policy.enabled:
        found.append(waiting(ReasonCode.DISABLED))
    if repo.archived:
        found.append(waiting(ReasonCode.ARCHIVED))
    if repo.pause is not None and repo.pause.active(now):
        found.append(
            waiting(
                ReasonCode.PAUSED,
                by=repo.pause.by,
                reason=repo.pause.reason,
                until=repo.pause.until.isoformat() if repo.pause.until else "",
            )
        )
    if not repo.preflight_ok:
        problems = repo.preflight_problems
        if problems:
            found.extend(waiting(ReasonCode.PREFLIGHT, what=p.what, remedy=p.remedy) for p in problems[:3])
        else:
            found.append(waiting(ReasonCode.PREFLIGHT, what="the first checks have not run yet", remedy=""))
    return found


def gate(item: Item, policy: Policy, kind: WorkerKind) -> Waiting | None:
    """The manual gate: what the bot starts by itself waits for a person's explicit word, where policy wants that."""
    confirmed = item.snapshot is not None and item.snapshot.confirmed
    if not policy.require_approval or confirmed or kind not in {WorkerKind.ACTIONS, WorkerKind.PULL}:
        return None
    return waiting(ReasonCode.GATE, role=needed(Capability.APPROVE, policy.roles).name.lower())


def _item_blockers(item: Item, backlog: Backlog, held: Held, policy: Policy, now: datetime) -> list[Waiting]:
    found = _of_item(item, backlog, now)
    found.extend(
        waiting(ReasonCode.LOCKS, path=path, number=number)
        for path, number in held.against(wanted_locks(item, policy), item.key.number)
    )
    return found


def _of_item(item: Item, backlog: Backlog, now: datetime) -> list[Waiting]:
    found = of_itself(item, now)
    found.extend(
        waiting(ReasonCode.DEPENDS_ON, number=number) for number in backlog.open_dependencies.get(item.key.number, ())
    )
    return found


def of_itself(item: Item, now: datetime) -> list[Waiting]:
    """What the item's own record says against a start, whatever else there is."""
    found: list[Waiting] = []
    problem = unusable(item)
    if problem is not None:
        found.append(waiting(ReasonCode.PLAN, what=problem.what, remedy=problem.remedy))
    if item.human_owned:
        found.append(waiting(ReasonCode.HUMAN_OWNED))
    if item.projection.blown_at is not None:
        found.append(waiting(ReasonCode.FUSE, since=item.projection.blown_at))
    if item.held_by is not None:
        found.append(waiting(ReasonCode.HELD, by=item.held_by, reason=item.held_reason or ""))
    if item.not_before is not None and item.not_before > now:
        why = item.last_failure.reason.value if item.last_failure else ""
        found.append(waiting(ReasonCode.NOT_BEFORE, at=item.not_before.isoformat(), why=why))
    return found
