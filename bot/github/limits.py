"""How fast one credential may talk to GitHub: primary and secondary limits, write lanes, content quotas.

Promises: one `Limits` per installation, so that one tenant's burst never slows another. Writes go out one at a
time, `write_spacing` seconds apart, the most important lane first. After a limit answer nothing of the installation
is sent before the time GitHub named; callers get `RateLimited(until)` at once instead of hanging.

Races: all state is touched between two awaits of one event loop only. A waiter that is cancelled leaves its lane
and wakes the others, so a turn can't get lost. The most important waiter sleeps for the spacing *outside* the turn:
a more important one that arrives meanwhile goes first.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from itertools import count

from bot.errors import RateLimited
from bot.github.pace import PATIENCE, Pace
from bot.protocols.clock import Clock

WRITE_SPACING = 1.0
"""Seconds between the starts of two writes: GitHub asks for at least one second between mutations."""
MAX_READS = 20
"""Reads in flight per installation: far below GitHub's 100 concurrent requests, which all our processes share."""
CONTENT_PER_MINUTE = 80
"""GitHub's secondary limit on requests that create content."""
CONTENT_PER_HOUR = 500
"""GitHub's secondary limit on requests that create content."""
SECONDARY_PAUSE = timedelta(seconds=60)
"""First pause after a secondary limit without `Retry-After`: GitHub says to wait at least one minute."""
SECONDARY_PAUSE_MAX = timedelta(hours=1)
"""The doubling pause stops growing here; primary limits are reset hourly, so nothing longer helps."""
RETRY_AFTER_MAX = 86_400
"""Seconds of `Retry-After` we believe: longer than any limit GitHub documents, short enough to recover by itself."""
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)

Sleep = Callable[[float], Awaitable[None]]


class Lane(IntEnum):
    """Importance of a write, most important first."""

    CLAIM = 0
    RELEASE = 1
    WORDS = 2
    BOARD = 3


class Bucket(StrEnum):
    """GitHub's primary limits that we use; the values are those of `X-RateLimit-Resource`."""

    CORE = "core"
    GRAPHQL = "graphql"


@dataclass(frozen=True, slots=True)
class GithubUsage:
    """Counters since the start of the process. `requests` counts everything sent, `not_modified` the free 304s."""

    requests: int = 0
    writes: int = 0
    content: int = 0
    not_modified: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """What a caller is about to send. `lane` None: a read. `label` is method and path template, for messages."""

    label: str
    bucket: Bucket = Bucket.CORE
    lane: Lane | None = None
    content: bool = False


class Limits:
    """The gate of one installation (or of the App itself, or of one user token)."""

    def __init__(
        self,
        clock: Clock,
        sleep: Sleep,
        *,
        write_spacing: float = WRITE_SPACING,
        max_reads: int = MAX_READS,
        content_per_minute: int = CONTENT_PER_MINUTE,
        content_per_hour: int = CONTENT_PER_HOUR,
        sharers: Callable[[], int] = lambda: 1,
    ) -> None:
        """`write_spacing` is in seconds; `sleep` takes seconds. `sharers` is how many processes share the credential's
        limits at this moment, this one included: each keeps to its part."""
        self._clock = clock
        self._sleep = sleep
        self._spacing = timedelta(seconds=write_spacing)
        self._sharers = sharers
        # Without spacing nothing is paced: a GitHub of one's own, or a test.
        self._pace = Pace(clock, sleep, sharers=sharers) if write_spacing > 0 else None
        self._reads = asyncio.Semaphore(max_reads)
        self._windows = ((MINUTE, content_per_minute), (HOUR, content_per_hour))
        self._content: deque[datetime] = deque()
        self._waiters: list[tuple[Lane, int]] = []
        self._numbers = count()
        self._wakers: dict[tuple[Lane, int], asyncio.Event] = {}
        self._writing = False
        self._next_write = datetime.min.replace(tzinfo=UTC)
        self._paused_until: datetime | None = None
        self._pause_reason = ""
        self._exhausted: dict[Bucket, datetime] = {}
        self._strikes = 0
        self._usage = GithubUsage()

    def seconds(self) -> float:
        """The time of the clock by which it waits, since 1970."""
        return self._clock.now().timestamp()

    @property
    def usage(self) -> GithubUsage:
        return self._usage

    @property
    def paused_until(self) -> datetime | None:
        """The end of the current pause, None when requests may go out."""
        until = self._paused_until
        return until if until is not None and until > self._clock.now() else None

    @property
    def _slowness(self) -> int:
        return 1 if self._pace is None else self._pace.slowness

    @asynccontextmanager
    async def slot(self, ask: Ask) -> AsyncIterator[None]:
        """Holds the right to send one request. Raises RateLimited when it may not be sent for longer than PATIENCE."""
        self._refuse_if_limited(ask)
        if ask.lane is None:
            async with self._reads:
                if self._pace is not None:
                    await self._pace.read(ask.label)
                self._refuse_if_limited(ask)
                self._count(ask)
                yield
            return
        await self._take_turn_for(ask, ask.lane)
        try:
            self._refuse_if_limited(ask)
            if ask.content:
                self._content.append(self._clock.now())
            if self._pace is not None:
                self._pace.write()
            self._count(ask)
            yield
        finally:
            self._end_turn()

    def heard(self, bucket: Bucket, headers: Mapping[str, str]) -> None:
        """Learns the primary limit from any answer's headers; unreadable ones are ignored."""
        try:
            remaining = int(headers["x-ratelimit-remaining"])
            reset = datetime.fromtimestamp(int(headers["x-ratelimit-reset"]), UTC)
            named = Bucket(headers.get("x-ratelimit-resource", bucket))
        except (KeyError, ValueError, OverflowError, OSError):
            return
        if remaining <= 0:
            self._exhausted[named] = reset
        else:
            self._exhausted.pop(named, None)

    def succeeded(self) -> None:
        """An answer without a limit: the doubling of secondary pauses starts over."""
        self._strikes = 0
        if self._pace is not None:
            self._pace.succeeded()

    def failed(self) -> None:
        """No answer, or one that says that GitHub is ill."""
        if self._pace is not None:
            self._pace.failed()

    def not_modified(self) -> None:
        """A 304 came back, which costs nothing of the primary limit."""
        self._usage = replace(self._usage, not_modified=self._usage.not_modified + 1)

    def limited(self, headers: Mapping[str, str], reason: str) -> datetime:
        """Starts a pause after a limit answer and returns its end.

        Order of GitHub's documentation: `Retry-After`, then the reset of an exhausted primary limit, else a minute
        that doubles with each further limit answer. An exhausted primary limit stops its own bucket (`heard` has
        noted it); the other two stop everything of the installation.
        """
        now = self._clock.now()
        until = _retry_after(headers, now)
        if until is None and (reset := _reset(headers, now)) is not None:
            return reset
        if until is None:
            until = now + min(SECONDARY_PAUSE * 2**self._strikes, SECONDARY_PAUSE_MAX)
            self._strikes = min(self._strikes + 1, 10)
        if self._pace is not None:
            self._pace.limited(until)
        if self._paused_until is None or until > self._paused_until:
            self._paused_until, self._pause_reason = until, reason
        return until

    def _refuse_if_limited(self, ask: Ask) -> None:
        if (until := self.paused_until) is not None:
            raise RateLimited(self._pause_reason, until=until, request=ask.label)
        until = self._exhausted.get(ask.bucket)
        if until is not None and until > self._clock.now():
            raise RateLimited(f"the hourly {ask.bucket} limit is used up", until=until, request=ask.label)

    def _count(self, ask: Ask) -> None:
        self._usage = replace(
            self._usage,
            requests=self._usage.requests + 1,
            writes=self._usage.writes + (ask.lane is not None),
            content=self._usage.content + ask.content,
        )

    async def _wait_for_content(self, ask: Ask) -> None:
        while (ready := self._content_ready()) > (now := self._clock.now()):
            if ready - now > PATIENCE:
                raise RateLimited("our own quota of new content is used up", until=ready, request=ask.label)
            await self._sleep((ready - now).total_seconds())

    def _content_ready(self) -> datetime:
        """When the next content-creating request may go out; in the past when it may go out now."""
        now = self._clock.now()
        while self._content and self._content[0] <= now - HOUR:
            self._content.popleft()
        ready = now
        for span, most in self._windows:
            recent = [at for at in self._content if at > now - span]
            ours = max(1, most // self._sharers())
            if len(recent) >= ours:
                ready = max(ready, recent[-ours] + span)
        return ready

    async def _take_turn_for(self, ask: Ask, lane: Lane) -> None:
        """A turn, with the content quota free at that moment: others may have used it up while we stood in line."""
        while True:
            if ask.content:
                await self._wait_for_content(ask)
            await self._take_turn(lane)
            if not ask.content or self._content_ready() <= self._clock.now():
                return
            self._end_turn()

    async def _take_turn(self, lane: Lane) -> None:
        """Waits for the turn. Nothing is awaited once it is taken, so a cancellation can't take it away with it."""
        me, woken = (lane, next(self._numbers)), asyncio.Event()
        insort(self._waiters, me)
        self._wakers[me] = woken
        try:
            while True:
                if self._writing or self._waiters[0] != me:
                    woken.clear()
                    await woken.wait()
                    continue
                wait = (self._next_write - self._clock.now()).total_seconds()
                if wait <= 0:
                    self._writing = True
                    self._next_write = self._clock.now() + self._spacing * self._sharers() * self._slowness
                    return
                await self._sleep(wait)
        finally:
            self._waiters.remove(me)
            del self._wakers[me]
            self._wake_first()

    def _end_turn(self) -> None:
        self._writing = False
        self._wake_first()

    def _wake_first(self) -> None:
        if self._waiters:
            self._wakers[self._waiters[0]].set()


def _retry_after(headers: Mapping[str, str], now: datetime) -> datetime | None:
    try:
        seconds = int(headers["retry-after"])
    except (KeyError, ValueError):
        return None
    return now + timedelta(seconds=min(max(seconds, 1), RETRY_AFTER_MAX))


def _reset(headers: Mapping[str, str], now: datetime) -> datetime | None:
    """The reset of the primary limit, only when it is really used up; at least a second ahead."""
    try:
        if int(headers["x-ratelimit-remaining"]) > 0:
            return None
        reset = datetime.fromtimestamp(int(headers["x-ratelimit-reset"]), UTC)
    except (KeyError, ValueError, OverflowError, OSError):
        return None
    return max(reset, now + timedelta(seconds=1))
