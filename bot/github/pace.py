"""How many points a minute one credential spends: a steady flow instead of bursts, slower after every limit answer.

GitHub counts a read as one point and a write as five, and refuses beyond 900 points a minute without saying beforehand
how many are left. So the flow is kept below that by ourselves, and three things make it gentler still: after a limit
answer it is halved (down to an eighth) and comes back within minutes; at the end of a pause, and at the first answer
after an outage, nothing is saved up, so that everything that waited comes at the steady rate and not at once.

Writes are not held here: they are spaced by themselves, and what is claimed or released must not stand behind reads.
Races: state is touched between two awaits only; a reader that is cancelled has spent its point all the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from bot.errors import RateLimited
from bot.protocols.clock import Clock

POINTS_PER_SECOND = 13.0
"""780 a minute: below GitHub's 900, so that a burst on top of it stays within them."""
BURST = 60
"""Points that may be spent at once after a quiet time: a look at an item takes about ten reads."""
READ_POINTS = 1
WRITE_POINTS = 5
SLOWEST = 8
"""The flow is never slower than an eighth: it must show when GitHub has calmed down."""
RECOVERY = timedelta(minutes=5)
"""After this long without a limit answer the flow is doubled again."""
PATIENCE = timedelta(seconds=10)
"""Longest wait inside a call; a longer one is the caller's timer, not a hanging task."""


class Pace:
    """The flow of one credential."""

    def __init__(
        self,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
        *,
        points_per_second: float = POINTS_PER_SECOND,
        burst: int = BURST,
        sharers: Callable[[], int] = lambda: 1,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._one = timedelta(seconds=1 / points_per_second)
        self._slack = self._one * burst
        self._sharers = sharers
        # When everything that was taken so far is paid for at the steady rate.
        self._paid_at = datetime.fromtimestamp(0, UTC)
        self._factor = 1
        self._slow_since = self._paid_at
        self._failing = False

    @property
    def slowness(self) -> int:
        """By how much the flow is slower than normal now."""
        past = max(self._clock.now() - self._slow_since, timedelta(0)) // RECOVERY
        return max(1, self._factor >> min(past, SLOWEST))

    async def read(self, label: str) -> None:
        """Waits for a point. Raises RateLimited when that takes longer than PATIENCE."""
        now = self._clock.now()
        ready = self._paid_at - self._slack
        if ready - now > PATIENCE:
            raise RateLimited("our own flow of requests is full", until=ready, request=label)
        self._take(READ_POINTS)
        if ready > now:
            await self._sleep((ready - now).total_seconds())

    def write(self) -> None:
        """Counts a write, which does not wait here."""
        self._take(WRITE_POINTS)

    def limited(self, until: datetime) -> None:
        """GitHub refused; nothing is sent before `until`, and little after it."""
        self._factor, self._slow_since = min(self.slowness * 2, SLOWEST), until
        self._empty(until)

    def failed(self) -> None:
        """GitHub did not answer, or is ill."""
        self._failing = True

    def succeeded(self) -> None:
        """The first answer after an outage: everything that waited must not come at once."""
        if self._failing:
            self._failing = False
            self._empty(self._clock.now())

    def _take(self, points: int) -> None:
        cost = self._one * points * self.slowness * self._sharers()
        self._paid_at = max(self._paid_at, self._clock.now()) + cost

    def _empty(self, at: datetime) -> None:
        """Nothing is saved up at that time."""
        self._paid_at = max(self._paid_at, at + self._slack)
