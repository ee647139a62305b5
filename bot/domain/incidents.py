"""Incidents: causes of failures that lie outside the items, one issue for each, however many items they stop.

Promise: a cause has one issue in its repository, for ever. It is made when the cause shows to be systemic, edited in
place while it lasts, closed when work gets past the point where it failed, and opened again when it comes back. Silence
is no recovery: only an attempt that began after the last failure can show it.

A person may close the issue while the cause lasts; it is opened again only by a new episode.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final, assert_never

from bot.domain.attempt import Attempt, Outcome
from bot.domain.model import FailureReason


class Cause(StrEnum):
    """What is wrong, in the words of somebody who mends it."""

    PERMISSION = "permission"
    WORKFLOW = "workflow"
    CREDENTIAL = "credential"
    ACTOR = "actor"
    AGENT_SETTINGS = "agent_settings"
    QUOTA = "quota"
    MODEL = "model"
    DISPATCH = "dispatch"
    RUNNERS = "runners"


class Past(StrEnum):
    """How far an attempt must come to show that a cause is gone."""

    STARTED = "started"
    WORKED = "worked"


@dataclass(frozen=True, slots=True)
class Kind:
    """A cause's failures, how many of them in one episode make an incident, and what shows that it is over."""

    reasons: tuple[FailureReason, ...]
    failures: int
    over: Past


_R = FailureReason
SEVERAL: Final = 3
"""Failures that may be one runner's or one minute's trouble are an incident when they repeat."""

CAUSES: Final = MappingProxyType(
    {
        Cause.PERMISSION: Kind((_R.CONFIG_PERMISSION,), 1, Past.STARTED),
        Cause.WORKFLOW: Kind((_R.CONFIG_WORKFLOW_MISSING,), 1, Past.STARTED),
        Cause.CREDENTIAL: Kind((_R.CONFIG_SECRET_MISSING,), 1, Past.WORKED),
        Cause.ACTOR: Kind((_R.CONFIG_ACTOR_BLOCKED,), 1, Past.WORKED),
        Cause.AGENT_SETTINGS: Kind((_R.CONFIG_AGENT,), SEVERAL, Past.WORKED),
        Cause.QUOTA: Kind((_R.QUOTA_PROVIDER,), SEVERAL, Past.WORKED),
        Cause.MODEL: Kind((_R.INFRA_MODEL,), SEVERAL, Past.WORKED),
        Cause.DISPATCH: Kind((_R.INFRA_DISPATCH, _R.QUOTA_GITHUB), SEVERAL, Past.STARTED),
        Cause.RUNNERS: Kind((_R.INFRA_NOT_STARTED, _R.INFRA_RUNNER_LOST, _R.INFRA_NETWORK), SEVERAL, Past.WORKED),
    }
)
"""Reasons that are not here lie in one item's work: the item tells of them."""

_BY_REASON = MappingProxyType({reason: cause for cause, kind in CAUSES.items() for reason in kind.reasons})

EDIT_SPACING: Final = timedelta(minutes=10)
"""Between two edits that only bring a higher count: the issue is read by people, not watched."""

MAX_NUMBERS: Final = 20
"""Items that an incident names; the others are counted."""

QUIET: Final = timedelta(days=1)
"""Failures further apart are not one episode, as long as they were too few for an incident."""

RAN: Final = ("agent.", "quality.", "policy.", "security.", "budget.")
"""Beginnings of reasons that an attempt can only end with when its agent has worked."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One attempt that ended by a cause. `detail` is sanitised text."""

    cause: Cause
    number: int
    detail: str


@dataclass(frozen=True, slots=True)
class Incident:
    """A cause in one repository. `numbers` are the items, newest last; `shown` is the digest of what its issue says,
    None when a new episode has not been shown yet. `closed_at`: the episode is over."""

    cause: Cause
    first_at: datetime
    last_at: datetime
    count: int
    numbers: tuple[int, ...]
    affected: int
    detail: str
    issue: int | None = None
    shown: str | None = None
    shown_at: datetime | None = None
    closed_at: datetime | None = None


class Do(StrEnum):
    """What is to be done about an incident now."""

    NOTHING = "nothing"
    CREATE = "create"
    EDIT = "edit"
    REOPEN = "reopen"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Step:
    """`at`: when to look again although nothing happens."""

    do: Do
    at: datetime | None = None


def cause_of(reason: FailureReason) -> Cause | None:
    """The systemic cause of a failure; None when it lies in the item's own work."""
    return _BY_REASON.get(reason)


def sighted(known: Incident | None, seen: Sighting, now: datetime) -> Incident:
    """The incident after one more failure. After the end of an episode, or a long silence, counting begins anew."""
    if known is None:
        return Incident(seen.cause, now, now, 1, (seen.number,), 1, seen.detail)
    small = known.count < CAUSES[known.cause].failures
    over = known.closed_at is not None or (small and now - known.last_at > QUIET)
    if over:
        return Incident(seen.cause, now, now, 1, (seen.number,), 1, seen.detail, known.issue, None, known.shown_at)
    fresh = seen.number not in known.numbers
    others = tuple(number for number in known.numbers if number != seen.number)
    return Incident(
        known.cause,
        known.first_at,
        now,
        known.count + 1,
        (*others, seen.number)[-MAX_NUMBERS:],
        known.affected + fresh,
        seen.detail or known.detail,
        known.issue,
        known.shown,
        known.shown_at,
    )


def next_step(incident: Incident, digest: str, since: Iterable[Attempt], now: datetime, *, wanted: bool = True) -> Step:
    """What to do about it. `digest` is that of the text its issue should have, `since` the attempts that were claimed
    after the last failure, `wanted` whether the policy wants issues of incidents."""
    if incident.closed_at is not None:
        return Step(Do.NOTHING)
    if recovered(incident.cause, since):
        return Step(Do.CLOSE)
    if not wanted or incident.count < CAUSES[incident.cause].failures:
        return Step(Do.NOTHING)
    if incident.issue is None:
        return Step(Do.CREATE)
    if incident.shown is None:
        return Step(Do.REOPEN)
    if incident.shown == digest:
        return Step(Do.NOTHING)
    at = incident.shown_at + EDIT_SPACING if incident.shown_at is not None else now
    return Step(Do.EDIT) if now >= at else Step(Do.NOTHING, at)


def recovered(cause: Cause, since: Iterable[Attempt]) -> bool:
    """Whether one of these attempts got past the point where the cause stopped the others."""
    match CAUSES[cause].over:
        case Past.STARTED:
            return any(attempt.started_at is not None for attempt in since)
        case Past.WORKED:
            return any(_worked(attempt) for attempt in since)
        case _:
            assert_never(CAUSES[cause].over)


def _worked(attempt: Attempt) -> bool:
    if attempt.outcome in {Outcome.PUBLISHED, Outcome.ASKED}:
        return True
    return attempt.failure is not None and attempt.failure.reason.value.startswith(RAN)
