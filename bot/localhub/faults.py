"""Faults of the API on demand: errors, lost answers and silence, before or after the effect.

Promise: a fault is matched by method and path, strikes a limited number of times and is recorded;
with `chance` below 1 it strikes by the hub's seeded random numbers, so a run can be repeated.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class FaultKind(Enum):
    """What happens instead of the normal answer."""

    ERROR_BEFORE = "error before the effect"
    ERROR_AFTER = "error after the effect"
    """The effect is done, the answer is an error."""
    DISCONNECT_BEFORE = "connection closed before the effect"
    DISCONNECT_AFTER = "connection closed after the effect"
    HANG_BEFORE = "no answer, no effect"
    HANG_AFTER = "no answer, effect done"
    """The connection stays open in silence until the caller gives up or the hub stops."""


@dataclass
class Fault:
    """One planned fault. `count` None means for ever; `skip` lets the first matches pass."""

    kind: FaultKind
    method: str | None = None
    path: str = ".*"
    """Regular expression, searched in the path below the API root (with the query string)."""
    status: int = 502
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "Server Error"
    count: int | None = 1
    skip: int = 0
    chance: float = 1.0
    hits: int = 0

    def takes(self, method: str, path: str, rng: random.Random) -> bool:
        """Whether this fault strikes now; counts down when it does."""
        if self.count == 0 or (self.method is not None and self.method != method):
            return False
        if re.search(self.path, path) is None:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.chance < 1.0 and rng.random() >= self.chance:
            return False
        if self.count is not None:
            self.count -= 1
        self.hits += 1
        return True


@dataclass
class Faults:
    """The planned faults of a hub, first match wins."""

    rng: random.Random
    planned: list[Fault] = field(default_factory=list)

    def add(self, fault: Fault) -> Fault:
        """Plan a fault; keep the returned object to read `hits`."""
        self.planned.append(fault)
        return fault

    def rate_limited(self, *, path: str = ".*", retry_after: int = 1, status: int = 429) -> Fault:
        """Plan one secondary-limit answer."""
        return self.add(
            Fault(
                FaultKind.ERROR_BEFORE,
                path=path,
                status=status,
                headers={"Retry-After": str(retry_after)},
                message="You have exceeded a secondary rate limit.",
            )
        )

    def clear(self) -> None:
        """Plan nothing any more."""
        self.planned.clear()

    def match(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, if any."""
        return next((x for x in self.planned if x.takes(method, path, self.rng)), None)
