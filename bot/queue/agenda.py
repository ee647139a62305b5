"""What is to be run, in memory: keys that are ready (by priority, then in order) and keys with a time.

No key is in it twice: waking again only raises the priority or brings the time forward. Nothing here is durable.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(slots=True)
class Agenda:
    """Heaps with lazy deletion: the dictionaries say what counts, stale heap entries are skipped when they surface."""

    _ready: dict[str, tuple[int, int]] = field(default_factory=dict)
    _ready_heap: list[tuple[int, int, str]] = field(default_factory=list)
    _timed: dict[str, tuple[datetime, int]] = field(default_factory=dict)
    _timed_heap: list[tuple[datetime, str]] = field(default_factory=list)
    _count: int = 0

    def add(self, key: str, priority: int) -> None:
        """The key is ready. A key that is ready already keeps its place unless the priority is higher."""
        known = self._ready.get(key)
        if known is not None and -known[0] >= priority:
            return
        self._count += 1
        place = (-priority, self._count)
        self._ready[key] = place
        heapq.heappush(self._ready_heap, (*place, key))

    def add_at(self, key: str, at: datetime, priority: int) -> None:
        """The key becomes ready at `at`, unless a sooner time is noted."""
        known = self._timed.get(key)
        if known is not None and known[0] <= at:
            return
        self._timed[key] = (at, priority)
        heapq.heappush(self._timed_heap, (at, key))

    def ripen(self, now: datetime) -> None:
        """Makes the keys ready whose time has come."""
        while (at := self.next_time()) is not None and at <= now:
            _, key = heapq.heappop(self._timed_heap)
            _, priority = self._timed.pop(key)
            self.add(key, priority)

    def next_time(self) -> datetime | None:
        """The soonest noted time."""
        while self._timed_heap:
            at, key = self._timed_heap[0]
            known = self._timed.get(key)
            if known is not None and known[0] == at:
                return at
            heapq.heappop(self._timed_heap)
        return None

    def pop(self) -> str | None:
        """Takes the first ready key out, with the time noted for it: its row says the next one after the run."""
        while self._ready_heap:
            rank, count, key = heapq.heappop(self._ready_heap)
            if self._ready.get(key) == (rank, count):
                del self._ready[key]
                self._timed.pop(key, None)
                return key
        return None

    @property
    def ready(self) -> int:
        return len(self._ready)

    @property
    def timed(self) -> int:
        return len(self._timed)
