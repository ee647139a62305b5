"""Every metric of the product: names, help, labels and buckets, in one object with a registry of its own.

Promises: no metric exists outside `Metrics`; every label has a small closed set of values (`LABELS`), so that no
repository, issue, person or delivery can become a time series. There is no global registry: two bots in one
process (as in tests) count apart. Times are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from bot.domain.attempt import AttemptPhase, Outcome
from bot.domain.budget import MICRO
from bot.domain.model import FailureReason, ItemState
from bot.domain.usage import Usage

OTHER: Final = "other"
"""The value of a label whose real value is outside the closed set."""


class DeliveryOutcome(StrEnum):
    """What became of one request to the webhook address."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    IGNORED = "ignored"
    NOT_SERVED = "not_served"
    PING = "ping"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    UNSIGNED = "unsigned"
    UNAVAILABLE = "unavailable"


class GithubBucket(StrEnum):
    """How GitHub counts a request."""

    READ = "read"
    NOT_MODIFIED = "not_modified"
    WRITE = "write"
    CONTENT = "content"
    GRAPHQL = "graphql"


class PassKind(StrEnum):
    """Which kind of key a reconcile pass looked at."""

    REPO = "repo"
    ISSUE = "issue"


class PassOutcome(StrEnum):
    """How a reconcile pass ended."""

    SETTLED = "settled"
    CHANGED = "changed"
    WAITING = "waiting"
    FAILED = "failed"


class TokenKind(StrEnum):
    """How tokens are priced."""

    INPUT = "input"
    OUTPUT = "output"
    CACHE_READ = "cache_read"
    CACHE_WRITE = "cache_write"


LABELS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "event": 20,
        "outcome": 12,
        "bucket": len(GithubBucket),
        "key": len(PassKind),
        "state": len(ItemState),
        "phase": len(AttemptPhase),
        "reason": len(FailureReason) + 1,
        "effect": 40,
        "version": 1,
        "kind": len(TokenKind),
        "table": 32,
    }
)
"""Each label name that a metric may have, and the most values it can take."""

FAST: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Buckets for answers to a webhook: the goal is a few milliseconds, GitHub gives up after ten seconds."""
SLOW: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Buckets for passes and calls to GitHub, whose own limit is some tens of seconds."""
LONG: Final = (60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0)
"""Buckets for waiting and for attempts: minutes to a day."""


class Metrics:
    """All metrics of one bot. Pass it around; never make one at import."""

    def __init__(self, version: str = "") -> None:
        # When each series began doubles the page, and collectors find resets without it.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library does not type it
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        r = self.registry
        self.build = Gauge("tgs_build_info", "Always 1; the version is the label.", ["version"], registry=r)
        self.build.labels(version or "unknown").set(1)

        # intake
        self.deliveries = Counter(
            "tgs_deliveries", "Requests to the webhook address.", ["event", "outcome"], registry=r
        )
        self.delivery_seconds = Histogram(
            "tgs_delivery_seconds", "From the first byte read to the answer.", ["outcome"], buckets=FAST, registry=r
        )
        self.last_delivery = Gauge(
            "tgs_last_delivery_timestamp_seconds", "When the last delivery was stored (Unix time).", registry=r
        )

        # The series that were used: looking one up by its labels costs more than counting.
        self._answered: dict[tuple[str, DeliveryOutcome], tuple[Counter, Histogram]] = {}

        # queue
        self.waiting_keys = Gauge("tgs_waiting_keys", "Keys that are marked and not yet looked at.", registry=r)
        self.oldest_waiting = Gauge(
            "tgs_oldest_waiting_key_seconds", "Age of the key that has waited longest.", registry=r
        )
        self.passes = Counter("tgs_passes", "Reconcile passes.", ["key", "outcome"], registry=r)
        self.pass_seconds = Histogram(
            "tgs_pass_seconds", "Length of a reconcile pass.", ["key"], buckets=SLOW, registry=r
        )
        self.effects = Counter("tgs_effects", "Effects by kind and outcome.", ["effect", "outcome"], registry=r)

        # GitHub
        self.github_requests = Counter(
            "tgs_github_requests", "Requests to GitHub by how it counts them.", ["bucket"], registry=r
        )
        self.github_last_success = Gauge(
            "tgs_github_last_success_timestamp_seconds",
            "When the sweep last heard from GitHub (Unix time); it asks every 10 minutes.",
            registry=r,
        )

        # work
        self.items = Gauge("tgs_items", "Items by state.", ["state"], registry=r)
        self.live_attempts = Gauge("tgs_live_attempts", "Attempts that are not over, by phase.", ["phase"], registry=r)
        self.attempts = Counter("tgs_attempts", "Attempts that ended.", ["outcome", "reason"], registry=r)
        self.attempt_seconds = Histogram(
            "tgs_attempt_seconds", "From claim to end of an attempt.", ["outcome"], buckets=LONG, registry=r
        )
        self.second_opinions = Counter(
            "tgs_second_opinions",
            "Second opinions that were wanted, by how they ended.",
            ["outcome"],
            registry=r,
        )
        self.agent_turns = Counter("tgs_agent_turns", "Turns of agents in attempts that ended.", registry=r)
        self.agent_tokens = Counter("tgs_agent_tokens", "Tokens of agents by kind.", ["kind"], registry=r)
        self.agent_cost = Counter("tgs_agent_cost_usd", "What agents reported to have cost, in US dollars.", registry=r)
        self.spent_today = Gauge(
            "tgs_spent_today_usd", "Spent or set aside since midnight UTC, in US dollars.", registry=r
        )
        self.ready_seconds = Histogram(
            "tgs_ready_to_claim_seconds", "How long an item was ready before it was claimed.", buckets=LONG, registry=r
        )
        self.forgotten = Counter(
            "tgs_forgotten_rows", "Rows of the ledger that were removed for their age, by table.", ["table"], registry=r
        )
        self.invariant_breaches = Counter(
            "tgs_invariant_breaches", "Run-time assertions that failed; anything but 0 is a defect.", registry=r
        )

    def delivery_answered(self, event: str, outcome: DeliveryOutcome, seconds: float) -> None:
        """Counts one answered request to the webhook address; `seconds` since its first byte was read."""
        found = self._answered.get((event, outcome))
        if found is None:
            found = self.deliveries.labels(event, outcome.value), self.delivery_seconds.labels(outcome.value)
            self._answered[event, outcome] = found
        counter, histogram = found
        counter.inc()
        histogram.observe(seconds)

    def attempt_ended(self, outcome: Outcome, reason: FailureReason | None, seconds: float) -> None:
        """Counts the end of an attempt; `seconds` since its claim."""
        self.attempts.labels(outcome.value, reason.value if reason is not None else "none").inc()
        self.attempt_seconds.labels(outcome.value).observe(seconds)

    def agent_used(self, usage: Usage) -> None:
        """Counts what the agent of one attempt used."""
        self.agent_turns.inc(usage.turns)
        self.agent_cost.inc(usage.cost_microusd / MICRO)
        tokens = {
            TokenKind.INPUT: usage.input_tokens,
            TokenKind.OUTPUT: usage.output_tokens,
            TokenKind.CACHE_READ: usage.cache_read_tokens,
            TokenKind.CACHE_WRITE: usage.cache_write_tokens,
        }
        for kind, count in tokens.items():
            self.agent_tokens.labels(kind.value).inc(count)

    def render(self) -> tuple[bytes, str]:
        """(text, content type) for `GET /metrics`."""
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4
