"""Feeds the metrics that are states rather than events: what the ledger and the GitHub client count.

Runs beside everything else and reads only; a failed look is skipped and the next one tries again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Protocol

import structlog

from bot.domain.attempt import Attempt, AttemptPhase
from bot.domain.budget import MICRO, day_start, usage_of
from bot.domain.model import InstallationId, ItemState
from bot.metrics import GithubBucket, Metrics
from bot.protocols.clock import Clock

LOOK_SECONDS = 15.0
"""Scrapers ask every 15 to 60 seconds; looking more often would show nothing more."""

log = structlog.get_logger(__name__)


class Usage(Protocol):
    """What a client of one installation counted since the start."""

    @property
    def requests(self) -> int: ...
    @property
    def writes(self) -> int: ...
    @property
    def content(self) -> int: ...
    @property
    def not_modified(self) -> int: ...


class Counts(Protocol):
    """What the ledger counts."""

    def items_by_state(self) -> Mapping[str, int]: ...
    def live_by_phase(self) -> Mapping[str, int]: ...
    def ended_since(self, since: datetime) -> list[Attempt]: ...
    def key_counts(self) -> Mapping[str, int]: ...
    def spent_since(self, since: datetime) -> int: ...
    def oldest_due(self) -> datetime | None: ...


Reads = Callable[[Callable[[Counts], None]], Awaitable[None]]


class Gauges:
    """Copies counts into the metrics."""

    def __init__(
        self,
        metrics: Metrics,
        clock: Clock,
        read: Reads,
        usage: Callable[[], Mapping[InstallationId | None, Usage]],
        last_success: Callable[[], datetime | None],
    ) -> None:
        self._metrics = metrics
        self._read = read
        self._usage = usage
        self._last_success = last_success
        self._clock = clock
        self._seen: dict[GithubBucket, int] = {}
        self._ended = clock.now()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.look()
            except Exception:
                log.warning("metrics_not_read", exc_info=True)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """One look at everything that is counted."""
        await self._read(self._ledger)
        success = self._last_success()
        if success is not None:
            self._metrics.github_last_success.set(success.timestamp())
        usage = list(self._usage().values())
        totals = {
            GithubBucket.NOT_MODIFIED: sum(u.not_modified for u in usage),
            GithubBucket.CONTENT: sum(u.content for u in usage),
            GithubBucket.WRITE: sum(u.writes for u in usage),
            GithubBucket.READ: sum(u.requests - u.writes - u.not_modified for u in usage),
        }
        for bucket, total in totals.items():
            self._metrics.github_requests.labels(bucket.value).inc(max(total - self._seen.get(bucket, 0), 0))
            self._seen[bucket] = total

    def _ledger(self, counts: Counts) -> None:
        states, phases = counts.items_by_state(), counts.live_by_phase()
        for state in ItemState:
            self._metrics.items.labels(state.value).set(states.get(state.value, 0))
        for phase in AttemptPhase:
            if phase is not AttemptPhase.ENDED:
                self._metrics.live_attempts.labels(phase.value).set(phases.get(phase.value, 0))
        self._metrics.waiting_keys.set(counts.key_counts().get("pending", 0))
        due = counts.oldest_due()
        waited = (self._clock.now() - due).total_seconds() if due is not None else 0.0
        self._metrics.oldest_waiting.set(max(waited, 0.0))
        self._metrics.spent_today.set(counts.spent_since(day_start(self._clock.now())) / MICRO)
        for attempt in counts.ended_since(self._ended):
            if attempt.ended_at is None or attempt.outcome is None:
                continue
            reason = attempt.failure.reason if attempt.failure is not None else None
            self._metrics.attempt_ended(
                attempt.outcome, reason, (attempt.ended_at - attempt.claimed_at).total_seconds()
            )
            gate = attempt.gate_report
            # The attempt that only publishes a result carries the report of the one that made it, from its claim on.
            if gate is not None and gate.opinion is not None and gate.at > attempt.claimed_at:
                self._metrics.second_opinions.labels(gate.opinion.outcome.value).inc()
            used = usage_of(attempt)
            if used is not None:
                self._metrics.agent_used(used)
            self._ended = max(self._ended, attempt.ended_at)
