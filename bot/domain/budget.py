"""Money: how much an attempt may spend, what it is held to have spent, and which ceiling says no.

Promise: an attempt is opened only after its money was reserved under every ceiling (the item's, the repository's day,
the deployment's day), so that reserved and spent together never pass a ceiling by a decision of ours. An agent may
overshoot its own limit by its last answer; that is settled as it was, and later reservations are smaller by it. Amounts
are whole micro-dollars: sums of fractions must be exact.

Race: two claims at the same moment would both see the same rest; the caller reserves in the transaction that opens the
attempt, so the second one sees the first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from bot.domain.attempt import Attempt, Outcome, WorkerKind
from bot.domain.model import WorkSpec
from bot.domain.policy_model import Budgets
from bot.domain.usage import Usage

MICRO: Final = 1_000_000
"""Micro-dollars in a US dollar."""

LEAST_SHARE: Final = 2
"""An attempt is started with at least 1/2 of what it may cost: with less it would mostly be cut off in its middle."""

STEPS: Final = (50, 80, 100)
"""Percentages of a ceiling at which people are told."""


METERED: Final = frozenset({"claude-code"})
"""Adapters that spend what they are allowed and count it. Others are held to what they report, after the fact."""


class Scope(StrEnum):
    """What a ceiling is about."""

    ITEM = "item"
    REPOSITORY = "repository"
    DEPLOYMENT = "deployment"


@dataclass(frozen=True, slots=True)
class Ceiling:
    """One ceiling and what is spent or reserved under it, in micro-dollars."""

    scope: Scope
    limit: int
    used: int

    @property
    def left(self) -> int:
        return max(0, self.limit - self.used)


@dataclass(frozen=True, slots=True)
class Spent:
    """What a repository's attempts have cost or reserved, in micro-dollars; days are those of UTC.

    `deployment_limit` is the operator's ceiling for all repositories together; None: there is none.
    """

    items: Mapping[int, int] = field(default_factory=dict)
    repository_today: int = 0
    deployment_today: int = 0
    deployment_limit: int | None = None

    def of(self, number: int) -> int:
        """What the item's attempts have cost or reserved."""
        return self.items.get(number, 0)


NOTHING_SPENT: Final = Spent()


def micro(usd: float) -> int:
    """US dollars as micro-dollars, rounded to the nearest."""
    return round(usd * MICRO)


def usd(amount: int) -> str:
    """Micro-dollars as people read them: `4.20`."""
    return f"{amount / MICRO:.2f}"


def item_limit(spec: WorkSpec, budgets: Budgets) -> int:
    """The item's own ceiling, never above the policy's."""
    wished = budgets.per_item if spec.budget_usd is None else min(spec.budget_usd, budgets.per_item)
    return micro(wished)


def ceilings(number: int, spec: WorkSpec, budgets: Budgets, spent: Spent, planned: int = 0) -> tuple[Ceiling, ...]:
    """The ceilings above the item's next attempt. `planned`: reservations of this pass that are not stored yet."""
    found = [
        Ceiling(Scope.ITEM, item_limit(spec, budgets), spent.of(number)),
        Ceiling(Scope.REPOSITORY, micro(budgets.per_day), spent.repository_today + planned),
    ]
    if spent.deployment_limit is not None:
        found.append(Ceiling(Scope.DEPLOYMENT, spent.deployment_limit, spent.deployment_today + planned))
    return tuple(found)


def reservation(budgets: Budgets, above: Sequence[Ceiling], adapter: str) -> int | Ceiling:
    """What the next attempt may spend, in micro-dollars, or the ceiling that forbids it.

    A whole attempt's money when every ceiling has it; else what the tightest one has left, if that is enough to begin.
    An item whose whole ceiling is below an attempt's money may use it up at once. An adapter that is not metered
    reserves nothing, and is not started any more when a ceiling is reached.
    """
    tightest = min(above, key=lambda ceiling: ceiling.left)
    if adapter not in METERED:
        return 0 if tightest.left > 0 else tightest
    whole = micro(budgets.per_attempt)
    amount = min(whole, tightest.left)
    enough = min(whole, *(ceiling.limit for ceiling in above)) // LEAST_SHARE
    return amount if amount > 0 and amount >= enough else tightest


def costs(kind: WorkerKind) -> bool:
    """Whether work of this kind is paid by us; people and other deployments pay for their own."""
    return kind in {WorkerKind.ACTIONS, WorkerKind.PULL}


def usage_of(attempt: Attempt) -> Usage | None:
    """What the worker counted, from its last word or, before that, from the job in which the agent ran."""
    reports = [report for report in (attempt.report, attempt.gate_report) if report is not None]
    return next((report.usage for report in reports if report.usage is not None), None)


def settled(attempt: Attempt, reserved: int) -> int:
    """What an attempt that has ended is held to have spent, in micro-dollars.

    What the worker reported; nothing when the agent never ran; else the whole reservation, because an agent that was
    lost may have spent all of it.
    """
    used = usage_of(attempt)
    if used is not None:
        return used.cost_microusd
    if attempt.outcome is Outcome.NOT_STARTED or attempt.started_at is None:
        return 0
    return reserved


def day_start(now: datetime) -> datetime:
    """Midnight (UTC) before `now`."""
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def next_day(now: datetime) -> datetime:
    """Midnight (UTC) after `now`, when the ceilings of days are empty again."""
    return day_start(now) + timedelta(days=1)


def crossed(before: int, after: int, limit: int) -> int | None:
    """The highest of `STEPS` that `after` reaches and `before` did not; None when nothing is to be told."""
    reached = [step for step in STEPS if before * 100 < step * limit <= after * 100]
    return max(reached, default=None)


def reached(used: int, limit: int) -> int | None:
    """The highest of `STEPS` that is reached; None below the first."""
    return max((step for step in STEPS if step * limit <= used * 100), default=None)
