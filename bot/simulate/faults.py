"""What can go wrong in a history: the kinds, how often each strikes, and how often it struck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from enum import StrEnum
from random import Random


class Fault(StrEnum):
    """Every kind of trouble that the simulation makes."""

    WEBHOOK_FAILED = "webhook not taken, GitHub knows"
    WEBHOOK_VANISHED = "webhook never sent"
    WEBHOOK_DUPLICATED = "webhook twice, under another id"
    WEBHOOK_DELAYED = "webhook late"
    WEBHOOK_REORDERED = "webhook after a later one"
    SERVER_ERROR = "GitHub answers 5xx"
    RATE_LIMIT = "GitHub answers 429"
    SECONDARY_LIMIT = "GitHub answers 403, secondary limit"
    TIMEOUT_BEFORE = "no answer, nothing done"
    TIMEOUT_AFTER = "no answer, but done"
    NAMELESS_RUN = "dispatch names no run"
    STALE_READ = "old read"
    DROPPED_ASSIGNEE = "assignee dropped silently"
    CRASH = "bot crashes"
    ZOMBIE_BOT = "bot is paused, perhaps replaced, and wakes up"
    CLOCK_SKEW = "clocks disagree"
    DATABASE_REFUSES = "database refuses"
    LEDGER_LOST = "database is lost"
    ANSWER_LOST = "bot's answer to a worker is lost"
    WORKER_CRASH = "worker ends without a word"
    WORKER_SILENT = "worker falls silent"
    WORKER_ZOMBIE = "worker is paused and goes on"
    NO_RUNNER = "run waits for a runner too long"
    STUBBORN_RUN = "run ignores a polite cancel"


ORDINARY: Mapping[Fault, float] = {
    Fault.WEBHOOK_FAILED: 0.03,
    Fault.WEBHOOK_VANISHED: 0.03,
    Fault.WEBHOOK_DUPLICATED: 0.05,
    Fault.WEBHOOK_DELAYED: 0.08,
    Fault.SERVER_ERROR: 0.012,
    Fault.RATE_LIMIT: 0.003,
    Fault.SECONDARY_LIMIT: 0.003,
    Fault.TIMEOUT_BEFORE: 0.02,
    Fault.TIMEOUT_AFTER: 0.03,
    Fault.NAMELESS_RUN: 0.2,
    Fault.STALE_READ: 0.06,
    Fault.DROPPED_ASSIGNEE: 0.35,
    Fault.ANSWER_LOST: 0.03,
    Fault.WORKER_CRASH: 0.4,
    Fault.WORKER_SILENT: 0.25,
    Fault.WORKER_ZOMBIE: 0.25,
    Fault.NO_RUNNER: 0.2,
    Fault.STUBBORN_RUN: 0.7,
}
"""The chance of each kind at each occasion, in a history with all of them. Kinds that are missing come by plan."""

PLANNED: Mapping[Fault, float] = {
    Fault.CRASH: 1.2,
    Fault.ZOMBIE_BOT: 0.5,
    Fault.DATABASE_REFUSES: 0.4,
    Fault.CLOCK_SKEW: 0.5,
    Fault.LEDGER_LOST: 0.3,
}
"""How many of each come in one history on average."""


OFTEN = 8
"""How much more often a kind strikes that a history is about."""


class Weather:
    """Decides when a fault strikes, and counts. After `clear` nothing strikes any more."""

    def __init__(
        self,
        rng: Random,
        scale: float,
        often: Collection[Fault] = (),
        only: Collection[Fault] | None = None,
        plenty: float = 1.0,
    ) -> None:
        """`scale` multiplies all chances; the kinds in `often` strike far more often; `only`: no others strike.

        `plenty` multiplies how many of the planned kinds come.
        """
        self._plenty = plenty
        self._only = frozenset(Fault) if only is None else frozenset(only)
        self._rng = rng
        self._scale = scale
        self._often = frozenset(often)
        self.counts: Counter[Fault] = Counter()

    def clear(self) -> None:
        self._scale = 0.0

    @property
    def fair(self) -> bool:
        return self._scale == 0.0

    def strikes(self, fault: Fault) -> bool:
        """Whether it happens on this occasion."""
        if (
            self._scale == 0.0
            or fault not in self._only
            or self._rng.random() >= ORDINARY[fault] * self._scale * (OFTEN if fault in self._often else 1)
        ):
            return False
        self.counts[fault] += 1
        return True

    def note(self, fault: Fault) -> None:
        """It was made to happen."""
        self.counts[fault] += 1

    def planned(self, fault: Fault) -> int:
        """How many of a planned kind this history shall have."""
        if fault not in self._only:
            return 0
        wanted = PLANNED[fault] * self._scale * self._plenty * (OFTEN / 2 if fault in self._often else 1)
        return int(wanted) + (self._rng.random() < wanted - int(wanted))

    def between(self, low: float, high: float) -> float:
        return self._rng.uniform(low, high)

    def seldom_long(self, low: float, high: float) -> float:
        """Mostly near `low`, now and then near `high`."""
        return low + (high - low) * self._rng.random() ** 4
