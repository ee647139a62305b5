"""Sessions of people and pull workers: how long one may be silent, and how old it may get. Pure.

A session that is silent too long is over: whatever its claim still wants is refused, so the item may go to somebody
else. One that is old gets nothing new, for a conversation does not get better with age; but age alone never ends work
whose signs of life are fresh. Runs of Actions have no session here: their limit is the time from start to end.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bot.domain.model import AttemptId, InstallationId, IssueKey, RepoId, RepoKey
from bot.domain.policy_model import Policy

ACTIVE_FOR = timedelta(minutes=5)
"""A session that was heard within this time is shown as active."""


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One conversation. `session_id` is the agent's own; `owner` is a key (`person:7` or `token:wt1`) and who it is.

    `attempt` and `number` are the claim that it made last.
    """

    id: str
    session_id: str
    installation: InstallationId
    repo: RepoId
    owner: str
    created_at: datetime
    last_activity_at: datetime
    number: int | None = None
    attempt: AttemptId | None = None
    worker: str | None = None
    terminated_at: datetime | None = None
    why: str | None = None

    @property
    def repo_key(self) -> RepoKey:
        return RepoKey(self.installation, self.repo)

    @property
    def issue_key(self) -> IssueKey | None:
        return None if self.number is None else IssueKey(self.installation, self.repo, self.number)

    def owned_by(self, owner: str) -> bool:
        """Whether both name the same account or token, whatever it is called now."""
        return self.owner.split("/", 1)[0] == owner.split("/", 1)[0]


class SessionStatus(StrEnum):
    ACTIVE = "active"
    IDLE = "idle"
    TERMINATED = "terminated"


class Fate(StrEnum):
    """What becomes of a session now."""

    KEEP = "keep"
    DRAIN = "drain"
    TERMINATE = "terminate"


@dataclass(frozen=True, slots=True)
class SessionLimits:
    idle_max: timedelta
    age_max: timedelta


def limits_of(policy: Policy) -> SessionLimits:
    """The limits of a repository."""
    return SessionLimits(timedelta(minutes=policy.session.idle_max), timedelta(minutes=policy.session.age_max))


def fate(session: SessionRecord, limits: SessionLimits, now: datetime, *, working: bool) -> Fate:
    """What becomes of it. `working`: its attempt is live; signs of life of the attempt are activity of the session."""
    if session.terminated_at is not None or now - session.last_activity_at > limits.idle_max:
        return Fate.TERMINATE
    if now - session.created_at > limits.age_max:
        return Fate.DRAIN if working else Fate.TERMINATE
    return Fate.KEEP


def reason(session: SessionRecord, limits: SessionLimits, now: datetime) -> str:
    """Why it ends, for people."""
    if now - session.last_activity_at > limits.idle_max:
        return f"no sign of life for {_minutes(limits.idle_max)} minutes"
    return f"older than {_minutes(limits.age_max)} minutes"


def look_at(session: SessionRecord, limits: SessionLimits, now: datetime, *, working: bool) -> datetime:
    """When its fate can change by time alone."""
    moment = timedelta(seconds=1)  # the limits themselves are still allowed
    idle = session.last_activity_at + limits.idle_max + moment
    old = session.created_at + limits.age_max + moment
    return idle if working or old <= now else min(idle, old)


def status_of(session: SessionRecord, limits: SessionLimits, now: datetime, *, working: bool) -> SessionStatus:
    """What people see."""
    if fate(session, limits, now, working=working) is Fate.TERMINATE:
        return SessionStatus.TERMINATED
    return SessionStatus.ACTIVE if now - session.last_activity_at <= ACTIVE_FOR else SessionStatus.IDLE


def _minutes(span: timedelta) -> int:
    return int(span.total_seconds() // 60)
