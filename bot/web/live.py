"""Who follows what happens, and when there is something new for them.

Promise: nothing that happens is queued for a follower. A commit only wakes those who follow the repository; each reads
on in the table after the last id it was sent, at its own speed, so a slow one costs no memory and loses nothing. What
a follower may read is asked anew every minute. Races it knows: a commit between reading and waiting (the wake-up is
cleared before the read), and a commit of another process (the table is read again at every heartbeat anyway).
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import structlog

from bot.domain.model import RepoKey
from bot.errors import GitHubError, Refused
from bot.protocols.clock import Clock
from bot.web.api.problems import ApiProblem, Code

HEARTBEAT = 15.0
"""Seconds: proxies close silent connections after 30 or more."""

PAGE = 100
"""What is held in memory for one follower at a time."""

PER_CALLER = 8
"""Connections of one caller: some windows and a terminal."""

IN_ALL = 500
"""Connections of one process; each costs a socket and some kilobytes."""

ROLES_AGAIN = timedelta(minutes=1)
"""Who loses a role, or whose token is revoked, is cut off within this time."""

TRUSTED = timedelta(minutes=5)
"""While GitHub cannot be asked, an earlier answer counts for so long."""

PERSONAL = 16
"""Answers to one follower that wait to be sent; whoever asks faster than they read loses the oldest."""

log = structlog.get_logger(__name__)


class Ended(StrEnum):
    """Why the server ended a connection."""

    GONE = "gone"
    DRAINING = "draining"
    REFUSED = "refused"
    UPSTREAM = "upstream"
    SLOW = "slow"


@dataclass(eq=False, slots=True)
class Connection:
    """One follower. `cursor` is the last id it was sent."""

    caller: str
    repos: Mapping[RepoKey, str]
    cursor: int
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    personal: deque[Any] = field(default_factory=lambda: deque(maxlen=PERSONAL))
    ended: Ended | None = None

    def over(self) -> bool:
        """Whether it was ended, by either side."""
        return self.ended is not None

    def end(self, why: Ended) -> None:
        """The first reason counts."""
        self.ended = self.ended or why
        self.wake.set()


@dataclass(frozen=True, slots=True)
class Found:
    """Something to send. `id` None: an answer to this follower alone, which does not move its place."""

    id: int | None
    data: Any


Read = Callable[[Mapping[RepoKey, str], int, int], Awaitable[Sequence[Found]]]
"""(repositories with their names, after, limit) → what comes next, oldest first."""

Check = Callable[[], Awaitable[Mapping[RepoKey, str]]]
"""What the caller may read now. Raises ApiProblem or Refused when that is nothing any more."""


class ConnectionManager:
    """All followers of one process."""

    def __init__(self, clock: Clock, *, heartbeat: float = HEARTBEAT) -> None:
        self._clock = clock
        self._heartbeat = heartbeat
        self._all: set[Connection] = set()
        self._draining = False

    @property
    def connections(self) -> frozenset[Connection]:
        return frozenset(self._all)

    def connect(self, caller: str, repos: Mapping[RepoKey, str], after: int) -> Connection:
        """A new follower. Raises ApiProblem when there are too many, or the process is about to end."""
        if self._draining or len(self._all) >= IN_ALL:
            raise ApiProblem(Code.LIMITED, "This server takes no more connections now; try again soon.")
        if Counter(other.caller for other in self._all)[caller] >= PER_CALLER:
            raise ApiProblem(Code.TOO_MANY, f"You have {PER_CALLER} live connections; close one.")
        connection = Connection(caller, repos, after)
        self._all.add(connection)
        return connection

    def disconnect(self, connection: Connection) -> None:
        connection.end(Ended.GONE)
        self._all.discard(connection)

    def broadcast(self, repos: AbstractSet[RepoKey]) -> None:
        """There is something new in these repositories."""
        for connection in self._all:
            if not repos.isdisjoint(connection.repos):
                connection.wake.set()

    def broadcast_all(self) -> None:
        """There may be something new anywhere."""
        for connection in self._all:
            connection.wake.set()

    def send_personal(self, connection: Connection, data: Any) -> None:
        """An answer for this follower alone, as soon as it reads."""
        connection.personal.append(data)
        connection.wake.set()

    def close(self) -> None:
        """The process ends: every follower is told to come back later, and nobody new is taken."""
        self._draining = True
        for connection in self._all:
            connection.end(Ended.DRAINING)

    async def follow(self, connection: Connection, read: Read, check: Check) -> AsyncIterator[Found | None]:
        """What to send, as it happens; None is a sign of life. Ends when `connection.ended` is set."""
        checked = self._clock.now()
        while not connection.over():
            connection.wake.clear()
            repos = connection.repos
            page = await read(repos, connection.cursor, PAGE)
            # Asked after reading, so that nothing goes out that happened since the roles were known.
            checked = await self._checked(connection, check, checked)
            while connection.personal and not connection.over():
                yield Found(None, connection.personal.popleft())
            if connection.over():
                return
            if connection.repos != repos:
                continue
            for found in page:
                yield found
                connection.cursor = connection.cursor if found.id is None else found.id
                if connection.over():
                    return
            if len(page) == PAGE or connection.personal:
                continue
            try:
                async with asyncio.timeout(self._heartbeat):
                    await connection.wake.wait()
            except TimeoutError:
                yield None

    async def _checked(self, connection: Connection, check: Check, checked: datetime) -> datetime:
        """When the roles were last known; the connection ends when they do not suffice any more."""
        now = self._clock.now()
        if now - checked < ROLES_AGAIN:
            return checked
        try:
            connection.repos = await check()
        except (ApiProblem, Refused) as error:
            log.info("follower_refused", error=str(error))
            connection.end(Ended.REFUSED)
        except GitHubError as error:
            log.warning("roles_unknown", error=str(error))
            if now - checked >= TRUSTED:
                connection.end(Ended.UPSTREAM)
            return checked
        return now
