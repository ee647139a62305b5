"""One process of the bot, whole but for HTTP: engine, queue, router, inbox, webhook endpoint, sweep.

It is wired as the composition root wires it, on the simulated store, GitHub and clock; nothing of it is replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from pydantic import SecretStr

from bot.bell import Bell
from bot.domain.claim_record import ClaimRef
from bot.domain.model import AttemptId
from bot.engine import build_engine
from bot.errors import TgsError
from bot.metrics import Metrics
from bot.queue.api import Row
from bot.queue.memory import MemoryQueue
from bot.simulate.disk import Disk, SimStore
from bot.simulate.faults import Weather
from bot.simulate.gateway import SimGateway
from bot.simulate.hub import Hub
from bot.simulate.office import SECRET, PlainRequest
from bot.simulate.process import Process
from bot.simulate.sharing import SharedQueue
from bot.simulate.things import OWNER
from bot.simulate.way import Watcher
from bot.store.fencing import SharedKeyRows, still_ours
from bot.store.inbox import SqlInbox
from bot.store.keyrows import StoreKeyRows
from bot.store.ledger import SqlLedger
from bot.store.router import Router
from bot.web.webhook import Webhook

if TYPE_CHECKING:
    from aiohttp import web

ROUTE_SECONDS = 30.0
"""How often a process looks for deliveries that another one took and did not live to route; production does oftener."""

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
        others: Callable[[], Sequence[Replica]] | None = None,
        *,
        deployment: int | None = None,
    ) -> None:
        """`others` are those that share the ledger; None: this one has it to itself. `deployment` in US dollars."""
        shared = others is not None
        self.process = process
        self.store = SimStore(process, disk, shared=shared)
        self.github = SimGateway(process, hub, weather, watcher, refs)
        self._on_bug = on_bug
        self.bell = bell = Bell()
        if shared:
            self.github.before_write = lambda: still_ours(self.store, asyncio.get_running_loop().time)
        self.engine = build_engine(
            self.store,
            self.github,
            process.clock,
            process.ids,
            _metrics(),
            html_url="https://sim",
            allowed_accounts=frozenset({OWNER.id}),
            disabled=False,
            deployment_limit=None if deployment is None else deployment * 1_000_000,
            bell=bell,
            process=process.name if shared else None,
        )
        self.queue: MemoryQueue | SharedQueue
        if others is None:
            self.queue = MemoryQueue(
                StoreKeyRows(self.store), now=process.clock.now, chance=process.rng.random, on_error=self._trouble
            )
        else:
            rows = SharedKeyRows(self.store, process.name)
            self.queue = SharedQueue(process, rows, disk.board, on_error=self._trouble)
            self.store.on_told = Wire(self, others).tell

        def marked(key: str, priority: int = 0, *, at: datetime | None = None, row: Row | None = None) -> None:
            self.queue.wake(key, priority, at=at, row=row)
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
        jobs: dict[str, Coroutine[Any, Any, None]] = {
            "router": self.router.run(),
            "queue": self.queue.run(self.engine.handle),
            "sweep": self.engine.sweep.run(),
        }
        if isinstance(self.queue, SharedQueue):
            jobs["route"] = self._route_for_others()
        for name, job in jobs.items():
            task = self.process.spawn(job, f"{self.process.name} {name}")
            task.add_done_callback(lambda done, name=name: self._ended(name, done))  # type: ignore[misc]

    async def receive(self, request: PlainRequest) -> int:
        """A webhook arrives; the status of the answer. Raises Down."""
        response = await self.process.answer(lambda: self.webhook.receive(cast("web.Request", request)))
        return response.status

    async def _route_for_others(self) -> None:
        while True:
            await asyncio.sleep(ROUTE_SECONDS)
            self.router.nudge()

    def _ended(self, name: str, task: object) -> None:
        assert isinstance(task, asyncio.Task)
        if not self.process.dead and not task.cancelled():
            error = task.exception()
            self._on_bug(self.process, name, error or RuntimeError(f"{name} has ended"))

    def _trouble(self, key: str | None, error: BaseException) -> None:
        if not isinstance(error, TgsError):
            self._on_bug(self.process, key, error)


class Wire:
    """What one process commits is heard by the others a moment later, or by none that stands still."""

    def __init__(self, own: Replica, others: Callable[[], Sequence[Replica]]) -> None:
        self._own = own
        self._others = others

    def tell(self, ledger: SqlLedger) -> None:
        """One commit."""
        keys, revoke = [mark.key for mark in ledger.marked], sorted(ledger.revoke)
        if not keys and not revoke:
            return
        for other in self._others():
            if other is not self._own and other.process.up:
                seconds = 0.001 + 0.02 * self._own.process.rng.random()
                asyncio.get_running_loop().call_later(seconds, self._hear, other, keys, revoke)

    @staticmethod
    def _hear(other: Replica, keys: Sequence[str], revoke: Sequence[AttemptId]) -> None:
        if other.process.up:
            for key in keys:
                other.bell.ring(key)
            for attempt in revoke:
                other.process.spawn(other.engine.acts.revoke_here(attempt))
