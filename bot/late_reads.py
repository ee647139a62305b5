"""Whether the head of a branch that was read is older than what was read of the branch before.

GitHub may answer from a copy that lags behind a push. What seems to be gone from an older commit was not removed, and
what seems to be changed back was not. A branch can really be moved back, too; it looks the same, so it is believed when
it has looked so for longer than reads lag.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from cachetools import LRUCache

from bot.domain.model import RepoKey
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub

LAG = timedelta(minutes=2)
"""Reads are not older than this; for as long traces of our own acts are looked for, too."""

DOUBTS = 1_000
"""How many are remembered; one that is forgotten begins anew."""


class LateReads:
    """Remembers since when what is in doubt."""

    def __init__(self, github: GitHub, clock: Clock) -> None:
        self._github = github
        self._clock = clock
        self._since: LRUCache[tuple[RepoKey, str, str], datetime] = LRUCache(DOUBTS)

    async def doubts(self, repo: RepoKey, known: str, head: str) -> bool:
        """Whether `head` may be older than the commit that is known of the same branch. Raises GitHubError kinds."""
        if not known or known == head:
            return False
        since = self._since.get((repo, known, head))
        if since is None:
            if await self._github.commits_beyond(repo, known, head) > 0:
                return False
            since = self._since[repo, known, head] = self._clock.now()
        return self._clock.now() - since < LAG
