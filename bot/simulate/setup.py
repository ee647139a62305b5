"""What kind of history a seed stands for: its size, the policy, the workers, and which troubles strike.

Most histories are small, because a defect that shows at all mostly shows in a short one and ten of them cost what a
big one does; some are as big as a busy afternoon. Most leave some kinds of trouble out, so that what one kind hides
of another comes to light.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from bot.simulate.faults import Fault


@dataclass(frozen=True)
class Size:
    """How much goes on. `length` and `settle` (the pause between two looks at the end) in seconds; people do `acts`.

    `pace` shortens what workers take; `brisk` is the chance that a maintainer calls everything off at the end and does
    not wait for it.
    """

    items: tuple[int, ...]
    acts: tuple[int, ...]
    length: tuple[float, float]
    machines: tuple[int, ...]
    settle: float
    pace: float
    brisk: float


TINY = Size((1,), (0, 1, 2, 3), (30.0, 4 * 60.0), (1,), 45.0, 0.1, 0.9)
SMALL = Size((1,), (1, 2, 3, 5), (3 * 60.0, 14 * 60.0), (1,), 90.0, 0.3, 0.6)
MEDIUM = Size((1, 1, 2), (4, 8, 12), (12 * 60.0, 40 * 60.0), (1, 2), 240.0, 0.6, 0.4)
BIG = Size((1, 1, 2, 3), (4, 10, 18), (20 * 60.0, 100 * 60.0), (1, 2), 15 * 60.0, 1.0, 0.0)


CEILINGS = ("dispatches_per_day", "per_item", "per_day")
"""Settings of the policy whose values the judge must know: runs, and whole US dollars."""


@dataclass(frozen=True)
class Setup:
    """`scale` multiplies the chances of all troubles (0: none); `plenty` multiplies how many planned ones come.

    `replicas` is how many processes there are at once. `shared`: another one can be on the same ledger, as on
    PostgreSQL; a ledger in a file has one process, for it holds the lock. `deployment` is the operator's ceiling for a
    day, in US dollars.
    """

    seed: int
    scale: float = 1.0
    items: int = 2
    acts: int = 14
    length: float = 3600.0
    policy: str = ""
    plans: bool = False
    pull_workers: int = 0
    often: tuple[Fault, ...] = ()
    only: tuple[Fault, ...] | None = None
    settle: float = 15 * 60.0
    plenty: float = 1.0
    replicas: int = 1
    shared: bool = False
    pace: float = 1.0
    brisk: bool = False
    deployment: int | None = None

    @property
    def shares_ledger(self) -> bool:
        """Whether two processes can be on one ledger, if only while one takes the place of the other."""
        return self.shared or self.replicas > 1

    @property
    def facts(self) -> dict[str, Any]:
        """What the oracle needs of the policy."""
        facts: dict[str, Any] = {"deployment": self.deployment, "locks": "\nlocks:" in f"\n{self.policy}"}
        for line in self.policy.splitlines():
            name, _, value = line.strip().partition(":")
            if name in CEILINGS:
                facts[name] = int(value)
        return facts


def setup_of(seed: int, scale: float | None = None, size: Size | None = None) -> Setup:
    """The history of a seed; with `size` one of that size."""
    rng = Random(f"setup {seed}")
    drawn = rng.choices([TINY, SMALL, MEDIUM, BIG], [74, 18, 6.5, 1.5])[0]
    size = size or drawn
    plans = rng.random() < 0.35
    workers = rng.choices(["actions", "pull", "pull_first"], [7, 1, 2])[0]
    only, often = _troubles(rng)
    return Setup(
        seed=seed,
        scale=rng.choice([0.3, 1.0, 1.0, 2.0]) if scale is None else scale,
        items=rng.choice(size.items),
        acts=rng.choice(size.acts),
        length=rng.uniform(*size.length),
        policy=_policy(rng, workers, plans=plans),
        plans=plans,
        pull_workers=0 if workers == "actions" else rng.choice(size.machines),
        only=only,
        often=often,
        settle=size.settle,
        plenty=1.0 if size is BIG else 0.5,
        replicas=1 if rng.random() < 0.85 else 2,
        pace=size.pace,
        brisk=rng.random() < size.brisk,
        deployment=rng.choice([6, 10]) if rng.random() < 0.1 else None,
        shared=rng.random() < 0.4,
    )


def _policy(rng: Random, workers: str, *, plans: bool) -> str:
    lines = [f"max_parallel: {rng.choice([1, 1, 2, 3])}", f"attempts: {rng.choice([1, 2, 3])}", f"workers: {workers}"]
    lines.append(f"mirror:\n  enabled: {str(plans).lower()}\n  auto_ready: {str(rng.random() < 0.6).lower()}")
    if rng.random() < 0.25:
        lines.append("locks: [src/]")
    if rng.random() < 0.15:
        lines.append("claim_refs: true")
    if rng.random() < 0.25:
        lines.append(f"budgets:\n  dispatches_per_day: {rng.choice([2, 3, 5, 50])}")
    elif rng.random() < 0.3:
        lines.append(f"budgets:\n  per_item: {rng.choice([4, 8, 15])}\n  per_day: {rng.choice([6, 12, 30])}")
    else:
        lines.append("budgets:\n  per_item: 1000\n  per_day: 1000")
    if rng.random() < 0.3:
        lines.append("assignee: none")
    if rng.random() < 0.3:
        lines.append("agent:\n  timeout_minutes: 20")
    return "\n".join(lines) + "\n"


def _troubles(rng: Random) -> tuple[tuple[Fault, ...] | None, tuple[Fault, ...]]:
    """The kinds that may strike (None: all), and those that strike often."""
    kind = rng.random()
    if kind < 0.4:
        return None, ()
    if kind < 0.8:
        return tuple(fault for fault in Fault if rng.random() < 0.6), ()
    few = tuple(rng.sample(list(Fault), 4))
    return few, few[:2]
