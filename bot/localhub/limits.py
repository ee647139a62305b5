"""Primary and secondary rate limits.

Promise: buckets per acting identity over the hub's clock; the numbers are GitHub's published ones
and can be changed for a test. A 304 answer costs nothing of the primary limit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bot.localhub.actor import Actor, ActorKind
from bot.localhub.http import ApiError

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
READ_POINTS = 1
WRITE_POINTS = 5
"""Secondary points: a mutation costs five times a read."""
SECONDARY = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."


@dataclass
class Quota:
    """Limits of one identity. Change the fields to try out small numbers."""

    core_per_hour: int = 5000
    graphql_per_hour: int = 5000
    points_per_minute: int = 900
    content_per_minute: int = 80
    content_per_hour: int = 500
    secondary_status: int = 403
    """GitHub answers 403 or 429; both occur."""


@dataclass
class _Window:
    reset: datetime
    used: int = 0


@dataclass
class _Usage:
    windows: dict[str, _Window] = field(default_factory=dict)
    points: deque[tuple[datetime, int]] = field(default_factory=deque)
    content: deque[datetime] = field(default_factory=deque)


@dataclass
class Limits:
    """The buckets of all identities; `quota` holds for those without an override."""

    now: Callable[[], datetime]
    quota: Quota = field(default_factory=Quota)
    overrides: dict[str, Quota] = field(default_factory=dict)
    _usage: dict[str, _Usage] = field(default_factory=dict)

    def override(self, installation_id: int, quota: Quota) -> None:
        """Other limits for one installation."""
        self.overrides[f"installation:{installation_id}"] = quota

    def quota_of(self, actor: Actor) -> Quota:
        """The limits that hold for this actor."""
        return self.overrides.get(identity(actor), self.quota)

    def check(self, actor: Actor, resource: str, *, write: bool, content: bool) -> None:
        """Admit a request or raise ApiError 403/429; secondary usage is charged here."""
        quota, usage, now = self.quota_of(actor), self._of(actor), self.now()
        window = self._window(actor, resource)
        if window.used >= self._limit(actor, resource):
            raise ApiError(
                403,
                f"API rate limit exceeded for {identity(actor)}.",
                headers=self.headers(actor, resource),
            )
        points = WRITE_POINTS if write else READ_POINTS
        while usage.points and usage.points[0][0] <= now - MINUTE:
            usage.points.popleft()
        while usage.content and usage.content[0] <= now - HOUR:
            usage.content.popleft()
        wait = 0.0
        if sum(x for _, x in usage.points) + points > quota.points_per_minute:
            wait = (usage.points[0][0] + MINUTE - now).total_seconds()
        if content:
            if len(usage.content) >= quota.content_per_hour:
                oldest = usage.content[-quota.content_per_hour] if usage.content else now
                wait = max(wait, (oldest + HOUR - now).total_seconds())
            recent = [x for x in usage.content if x > now - MINUTE]
            if len(recent) >= quota.content_per_minute:
                oldest = recent[-quota.content_per_minute] if quota.content_per_minute else now
                wait = max(wait, (oldest + MINUTE - now).total_seconds())
        if wait > 0:
            headers = self.headers(actor, resource) | {"Retry-After": str(max(1, round(wait)))}
            raise ApiError(quota.secondary_status, SECONDARY, headers=headers)
        usage.points.append((now, points))
        if content:
            usage.content.append(now)

    def charge(self, actor: Actor, resource: str) -> None:
        """Count one request against the primary limit."""
        self._window(actor, resource).used += 1

    def headers(self, actor: Actor, resource: str) -> dict[str, str]:
        """The `X-RateLimit-*` headers as they stand now."""
        window, limit = self._window(actor, resource), self._limit(actor, resource)
        return {
            "X-RateLimit-Limit": str(limit),
            "X-RateLimit-Remaining": str(max(0, limit - window.used)),
            "X-RateLimit-Used": str(window.used),
            "X-RateLimit-Reset": str(int(window.reset.timestamp())),
            "X-RateLimit-Resource": resource,
        }

    def reset(self, actor: Actor, resource: str) -> datetime:
        """When the primary window of this actor ends."""
        return self._window(actor, resource).reset

    def overview(self, actor: Actor) -> dict[str, dict[str, int]]:
        """The resources of `GET /rate_limit`, which itself is free."""
        out = {}
        for resource in ("core", "graphql", "search"):
            window, limit = self._window(actor, resource), self._limit(actor, resource)
            out[resource] = {
                "limit": limit,
                "used": window.used,
                "remaining": max(0, limit - window.used),
                "reset": int(window.reset.timestamp()),
            }
        return out

    def _limit(self, actor: Actor, resource: str) -> int:
        quota = self.quota_of(actor)
        match actor.kind:
            case ActorKind.ANONYMOUS:
                return min(60, quota.core_per_hour)
            case ActorKind.JOB:
                return min(1000, quota.core_per_hour)
            case _:
                return quota.graphql_per_hour if resource == "graphql" else quota.core_per_hour

    def _of(self, actor: Actor) -> _Usage:
        return self._usage.setdefault(identity(actor), _Usage())

    def _window(self, actor: Actor, resource: str) -> _Window:
        windows, now = self._of(actor).windows, self.now()
        window = windows.get(resource)
        if window is None or window.reset <= now:
            windows[resource] = window = _Window(now + HOUR)
        return window


def identity(actor: Actor) -> str:
    """Whose bucket a request counts in, e.g. `installation:12`."""
    if actor.installation is not None:
        return f"installation:{actor.installation.id}"
    if actor.kind is ActorKind.APP and actor.app is not None:
        return f"app:{actor.app.id}"
    if actor.kind is ActorKind.JOB:
        return f"job:{min(actor.repository_ids, default=0)}"
    return "anonymous" if actor.account is None else f"user:{actor.account.id}"
