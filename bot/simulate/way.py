"""How requests of one simulated process travel to the model of GitHub and back, with the faults on the way.

What it keeps from the real client: the error kinds, what is uncertain after them, one wait for all calls after a limit.
Reads may be old.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Never, TypeVar

from bot.domain.claim_record import ClaimRef
from bot.domain.facts import IssueFacts
from bot.domain.model import IssueKey
from bot.errors import NotFound, RateLimited, Unavailable
from bot.simulate.faults import Fault, Weather
from bot.simulate.hub import Hub
from bot.simulate.process import Process
from bot.simulate.things import (
    LAG_LIMIT,
    ModelIssue,
)

T = TypeVar("T")

TIMEOUT = 10.0
"""Seconds after which the client gives up."""


class Watcher:
    """Is told what a process asks GitHub to do, before anything can come in between, and what it reads."""

    def asks(self, process: Process, verb: str, subject: object) -> None:
        """A write is about to be sent."""

    def reads_issue(self, process: Process, number: int, facts: IssueFacts | None) -> None:
        """An issue was read fresh."""


class Way:
    """The way from one process to GitHub and back."""

    def __init__(
        self, process: Process, hub: Hub, weather: Weather, watcher: Watcher, refs: dict[int, ClaimRef]
    ) -> None:
        self._process = process
        self._hub = hub
        self._weather = weather
        self._watcher = watcher
        self._refs = refs
        self.calls = 0
        self.before_write: Callable[[], Awaitable[None]] | None = None

    # --- the way

    async def _there(self, verb: str, *, write: bool) -> None:
        """The request travels, whether or not its process goes on meanwhile. Raises what comes back in its place."""
        process, weather = self._process, self._weather
        await process.gate()
        self.calls += 1
        now = process.clock.now()
        if process.limited_until is not None and now < process.limited_until:
            raise RateLimited("still limited", until=process.limited_until, request=verb)
        await asyncio.sleep(weather.seldom_long(0.02, 1.5))
        if weather.fair:
            return
        if weather.strikes(Fault.RATE_LIMIT):
            await self._limit(verb, weather.between(20, 300))
        if weather.strikes(Fault.SECONDARY_LIMIT):
            await self._limit(verb, 60)
        if weather.strikes(Fault.SERVER_ERROR):
            await process.gate()
            raise Unavailable("HTTP 502", status=502, request=verb, uncertain=write)
        if write and weather.strikes(Fault.TIMEOUT_BEFORE):
            await self._no_answer()
            raise Unavailable("no answer (TimeoutError)", request=verb, uncertain=True)

    async def _limit(self, verb: str, seconds: float) -> Never:
        await self._process.gate()
        self._process.limited_until = self._process.clock.now() + timedelta(seconds=seconds)
        raise RateLimited("You have exceeded a rate limit", until=self._process.limited_until, request=verb)

    async def _no_answer(self) -> None:
        await asyncio.sleep(TIMEOUT)
        await self._process.gate()

    async def _read(self, verb: str, look: Callable[[datetime], T]) -> T:
        await self._there(verb, write=False)
        at = self._hub.exactly()
        if not self._weather.fair and self._weather.strikes(Fault.STALE_READ):
            at -= timedelta(seconds=self._weather.seldom_long(1.0, LAG_LIMIT.total_seconds()))
        try:
            return look(at)
        finally:
            await self._process.gate()

    async def _write(self, verb: str, subject: object, act: Callable[[], T]) -> T:
        if self.before_write is not None:
            await self.before_write()
        self._watcher.asks(self._process, verb, subject)
        await self._there(verb, write=True)
        try:
            done = self._hub.world.copy().run(act)
        finally:
            await self._process.gate()
        if self._weather.strikes(Fault.TIMEOUT_AFTER):
            await self._no_answer()
            raise Unavailable("no answer (TimeoutError)", request=verb, uncertain=True)
        await self._process.breathe()
        return done

    def _there_is(self, key: IssueKey) -> ModelIssue:
        found = self._hub.issues.get(key.number)
        if found is None or found.deleted:
            raise NotFound("This issue was deleted", status=410, request="issue")
        return found
