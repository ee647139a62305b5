"""The heartbeat: a task of its own, so that long work never looks like silence.

Promise: beats at the agreed interval, and sooner when there is progress to show. The answer's wishes become state that
the job reads: `stop` is set, with the cause, when the bot cancels or the claim is lost. A bot that cannot be reached
stops nothing: the attempt goes on, and what it may publish is decided by its fence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from bot.domain.bundle import ContextBundle
from bot.errors import LostClaim, Refused
from bot.worker.api import Api, ApiDown, ApiError, Bearer, Beat
from bot.worker.log import RunLog

PROGRESS_SECONDS: Final = 5.0  # the shortest time between two beats: progress is for people, who read slowly


class StopCause(StrEnum):
    """Why the job must end before its work is done."""

    CANCELLED = "cancelled"
    LOST = "lost"
    INTERRUPTED = "interrupted"


class Heart:
    """Beats for one attempt until it is told to end."""

    def __init__(
        self,
        api: Api,
        bearer: Bearer,
        context: ContextBundle,
        interval: float,
        log: RunLog,
        on_steer: Callable[[str], None],
    ) -> None:
        self.stop = asyncio.Event()
        self.cause: StopCause | None = None
        self.draining = False
        self._api = api
        self._bearer = bearer
        self._context = context
        self._interval = interval
        self._log = log
        self._on_steer = on_steer
        self._progress: dict[str, object] | None = None
        self._heard = 0 if context.lease.hears else None
        self._words: list[str] = []
        self._news = asyncio.Event()

    def progress(self, step: int, total: int, text: str) -> None:
        """Keeps the newest progress; the next beat carries it."""
        self._progress = {"step": step, "total": total, "text": self._log.clean(text)[:200]}
        self._news.set()

    def words(self) -> tuple[str, ...]:
        """What people said since the last call, oldest first."""
        words, self._words = tuple(self._words), []
        return words

    def _hear(self, beat: Beat) -> None:
        """Passes words on once; the next beat, which comes soon, says that they are here."""
        if self._heard is not None and (beat.steer_seq <= self._heard or not beat.steer):
            return
        for text in beat.steer:
            self._log.info("steer", text=text)
            self._on_steer(text)
            self._words.append(text)
        if self._heard is not None:
            self._heard = beat.steer_seq
            self._news.set()

    def end(self, cause: StopCause) -> None:
        """Asks the job to stop; the first cause stays."""
        if self.cause is None:
            self.cause = cause
            self._log.warning("stopping", cause=cause.value)
        self.stop.set()

    async def run(self) -> None:
        """Beats until cancelled or until the claim is lost."""
        while True:
            self._news.clear()
            await self.beat()
            if self.cause is StopCause.LOST:
                return
            shortest = min(PROGRESS_SECONDS, self._interval)
            await asyncio.sleep(shortest)
            try:
                async with asyncio.timeout(max(0.0, self._interval - shortest)):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def beat(self) -> None:
        """One heartbeat; never raises for what the bot or the network do."""
        try:
            beat = await self._api.heartbeat(
                self._context.attempt, self._context.fence, self._bearer, self._progress, self._heard
            )
        except LostClaim:
            self.end(StopCause.LOST)
        except (ApiDown, ApiError, Refused) as error:
            self._log.warning("heartbeat failed", error=str(error))
        else:
            self.draining = self.draining or beat.drain
            self._hear(beat)
            if beat.cancel:
                self.end(StopCause.CANCELLED)
