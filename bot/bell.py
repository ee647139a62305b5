"""Wakes those who wait for a repository to move, so that a long wait costs the database nothing.

Promise: no ring is missed. Who waits notes the count before looking and waits for a higher one, so a commit between
the look and the wait ends the wait at once. Everything happens in one event loop; what other processes commit rings
here as soon as they tell.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

from bot.domain.model import RepoKey, parse_key


class Bell:
    """Rung with each key that a commit marked; heard by repository."""

    def __init__(self) -> None:
        self._rung: Counter[RepoKey] = Counter()
        self._waiting: dict[RepoKey, dict[asyncio.Event, None]] = {}
        """Who has waited longest wakes first, and so is the first to be given work."""

    def ring(self, key: str) -> None:
        """Something about this key may have changed."""
        found = parse_key(key)
        repo = found if isinstance(found, RepoKey) else found.repo_key
        self._rung[repo] += 1
        for event in self._waiting.get(repo, ()):
            event.set()

    def ring_all(self) -> None:
        """Something may have changed anywhere."""
        for repo, events in self._waiting.items():
            self._rung[repo] += 1
            for event in events:
                event.set()

    def count(self, repo: RepoKey) -> int:
        """How often it rang so far; to be noted before looking."""
        return self._rung[repo]

    async def wait(self, repo: RepoKey, since: int, seconds: float) -> None:
        """Returns when it rings after `since` was noted, or when the time is over."""
        if self._rung[repo] != since or seconds <= 0:
            return
        event = asyncio.Event()
        waiting = self._waiting.setdefault(repo, {})
        waiting[event] = None
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), seconds)
        finally:
            waiting.pop(event, None)
            if not waiting:
                self._waiting.pop(repo, None)
