"""One process of the bot, whole but for HTTP: engine, queue, router, inbox, webhook endpoint, sweep.

It is wired as the composition root wires it, on the simulated store, GitHub and clock; nothing of it is replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, cast

from pydantic import SecretStr

from bot.bell import Bell
from bot.domain.claim_record import ClaimRef
from bot.engine import build_engine
from bot.errors import TgsError
from bot.metrics import Metrics
from bot.queue.memory import MemoryQueue
from bot.simulate.disk import Disk, SimStore
from bot.simulate.faults import Weather
from bot.simulate.gateway import SimGateway, Watcher
from bot.simulate.hub import OWNER, Hub
from bot.simulate.office import SECRET, PlainRequest
from bot.simulate.process import Process
from bot.store.inbox import SqlInbox
from bot.store.keyrows import StoreKeyRows
from bot.store.router import Router
from bot.web.webhook import Webhook

if TYPE_CHECKING:
    from aiohttp import web

OnBug = Callable[[Process, str | None, BaseException], None]


@cache
def _metrics() -> Metrics:
    """One for all histories of a real process: nobody reads them."""
    return Metrics("simulation")


class Replica:
    """`on_bug` is told of every error that is none of the product's own kinds."""

    def __init__(
        self,
        process: Process,
        disk: Disk,
        hub: Hub,
        weather: Weather,
        watcher: Watcher,
        refs: dict[int, ClaimRef],
        on_bug: OnBug,
    ) -> None:
        self.process = process
        self.store = SimStore(process, disk)
        self.github = SimGateway(process, hub, weather, watcher, refs)
        self._on_bug = on_bug
        bell = Bell()
        self.engine = build_engine(
            self.store,
            self.github,
            process.clock,
            process.ids,
            _metrics(),
            html_url="https://sim",
            allowed_accounts=frozenset({OWNER.id}),
            disabled=False,
            bell=bell,
        )
        self.queue = MemoryQueue(
            StoreKeyRows(self.store), now=process.clock.now, chance=process.rng.random, on_error=self._trouble
        )

        def marked(key: str, priority: int = 0, *, at: datetime | None = None) -> None:
            self.queue.wake(key, priority, at=at)
            bell.ring(key)

        self.store.on_marked(marked)
        self.router = Router(self.store, lambda error: self._trouble(None, error))
        self.inbox = SqlInbox(self.store, self.router.nudge)
        self.webhook = Webhook(
            inbox=self.inbox,
            secrets=[SecretStr(SECRET)],
            serves=self.engine.accounts.serves,
            self_id=lambda: self.engine.sweep.bot.id if self.engine.sweep.bot is not None else None,
            metrics=_metrics(),
        )

    def start(self) -> None:
        """Everything that runs by itself begins."""
        for name, job in (
            ("router", self.router.run()),
            ("queue", self.queue.run(self.engine.handle)),
            ("sweep", self.engine.sweep.run()),
        ):
            task = self.process.spawn(job, f"{self.process.name} {name}")
            task.add_done_callback(lambda done, name=name: self._ended(name, done))  # type: ignore[misc]

    async def receive(self, request: PlainRequest) -> int:
        """A webhook arrives; the status of the answer. Raises Down."""
        response = await self.process.answer(lambda: self.webhook.receive(cast("web.Request", request)))
        return response.status

    def _ended(self, name: str, task: object) -> None:
        import asyncio

        assert isinstance(task, asyncio.Task)
        if not self.process.dead and not task.cancelled():
            error = task.exception()
            self._on_bug(self.process, name, error or RuntimeError(f"{name} has ended"))

    def _trouble(self, key: str | None, error: BaseException) -> None:
        if not isinstance(error, TgsError):
            self._on_bug(self.process, key, error)
