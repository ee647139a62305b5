"""Who a person is that calls the API with a GitHub token, and what they may see.

The token goes to GitHub's API only, to ask whose it is; it is never stored, and its owner is remembered for a minute
under the token's hash. What the person may do is decided by their role in the repository, read with the App's rights.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from datetime import timedelta

from cachetools import TTLCache

from bot.domain.model import Person, RepoKey, Role
from bot.domain.repository import RepoRecord
from bot.errors import Forbidden, NotFound, RateLimited, Refused, Suspended, Unauthorized
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub
from bot.protocols.ledger import Store

REMEMBERED = timedelta(minutes=1)
"""How long the owner of a token is remembered; a revoked token works at most this much longer."""

MAX_STRANGERS = 100
"""Tokens that GitHub did not know within REMEMBERED; GitHub stops listening to an address that brings it many more, and
then the bot's own requests would not be heard either."""

ASKED_AT_ONCE = 8
"""Roles read at the same time for one list; more would take the requests of everybody else."""

Whoami = Callable[[str], Awaitable[Person]]


class People:
    """Authentication of people by their GitHub token, and their roles."""

    def __init__(self, github: GitHub, store: Store, whoami: Whoami, clock: Clock) -> None:
        self._github = github
        self._store = store
        self._whoami = whoami
        self._clock = clock
        self._strangers: TTLCache[str, bool] = TTLCache(MAX_STRANGERS, REMEMBERED.total_seconds())
        self._known: TTLCache[str, Person] = TTLCache(1024, REMEMBERED.total_seconds())
        self._readable: TTLCache[int, frozenset[RepoKey]] = TTLCache(1024, REMEMBERED.total_seconds())

    async def person(self, token: str) -> Person | None:
        """Whose token this is; None when GitHub does not know it.

        Raises RateLimited instead of asking about one more after many that it did not know.
        """
        digest = hashlib.sha256(token.encode()).hexdigest()
        known = self._known.get(digest)
        if known is not None:
            return known
        self._strangers.expire()
        if digest in self._strangers:
            return None
        if len(self._strangers) >= MAX_STRANGERS:
            raise RateLimited("too many unknown tokens", until=self._clock.now() + REMEMBERED, request="GET /user")
        try:
            found = await self._whoami(token)
        except Unauthorized:
            self._strangers[digest] = True
            return None
        except (Forbidden, NotFound):
            return None
        self._known[digest] = found
        return found

    async def repos_of(self, person: Person) -> list[RepoRecord]:
        """The served repositories that the person can read, by name. What they may do there is decided anew each time.

        Each repository costs a question to GitHub, so the answer is remembered for a minute.
        """
        served = [repo for repo in await self._store.read(lambda tx: tx.repos()) if repo.active]
        known = self._readable.get(person.id)
        if known is None:
            limit = asyncio.Semaphore(ASKED_AT_ONCE)

            async def readable(repo: RepoRecord) -> bool:
                async with limit:
                    try:
                        return await self._github.role(repo.key, person) >= Role.READ
                    except (Forbidden, NotFound, Suspended):
                        return False

            may = await asyncio.gather(*(readable(repo) for repo in served))
            known = frozenset(repo.key for repo, ok in zip(served, may, strict=True) if ok)
            self._readable[person.id] = known
        # After a new installation the one of before may still be there; the newest counts, as everywhere.
        newest = {repo.key.repo: repo for repo in served if repo.key in known}
        return sorted(newest.values(), key=lambda repo: repo.full_name.lower())

    async def repo_for(self, person: Person, full_name: str, least: Role) -> RepoRecord:
        """The repository, if the person has at least this role in it now.

        Raises Refused, with the same words for a repository that is not served and one that they may not see.
        """
        repo = await self._store.read(lambda tx: tx.repo_by_name(full_name))
        role = Role.NONE
        if repo is not None and repo.active:
            try:
                role = await self._github.role(repo.key, person)
            except (Forbidden, NotFound):
                role = Role.NONE
        if repo is None or not repo.active or role < max(least, Role.READ):
            raise Refused(
                f"`{full_name}` is not served here, or @{person.login} does not have the role "
                f"`{least.name.lower()}` in it.",
                "Check the name, and that the App is installed there.",
            )
        return repo
