"""Several servers on one database: the queue between them, and how each hears what the others commit.

Part of the composition root: it puts pieces together and decides nothing. Races it knows: a server that dies after it
took a delivery and before it routed it; the others look for such deliveries every few seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import structlog

from bot.bell import Bell
from bot.domain.model import AttemptId, RepoKey
from bot.queue.api import OnError
from bot.store.engine import SqlStore
from bot.store.fencing import SharedKeyRows
from bot.store.news import News, Wire
from bot.store.postgresql import PostgresqlDatabase
from bot.store.router import Router
from bot.store.together import due_keys
from bot.store.writer import Told

if TYPE_CHECKING:
    from bot.queue.procrastinate import ProcrastinateQueue

ROUTE_SECONDS = 5.0
"""How often deliveries are looked for that another process took and did not live to route."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ears:
    """Who hears what other processes commit."""

    bell: Bell
    written: Callable[[AbstractSet[RepoKey]], None]
    anything: Callable[[], None]
    revoke: Callable[[AttemptId], Awaitable[object]]


def shared_queue(
    store: SqlStore,
    url: str,
    process: str,
    *,
    now: Callable[[], datetime],
    chance: Callable[[], float],
    on_error: OnError,
) -> tuple[ProcrastinateQueue, Wire]:
    """The queue of several processes and the wire between them, both fed by every commit of the store. `process` is a
    name that no other one has."""
    from bot.queue.procrastinate import ProcrastinateQueue

    conninfo = PostgresqlDatabase(url).conninfo
    queue = ProcrastinateQueue(SharedKeyRows(store, process), conninfo, now=now, chance=chance, on_error=on_error)
    wire = Wire(conninfo, process)

    def together(driver: Any, told: Told) -> None:
        queue.queue_within(driver, due_keys(told, now()))
        wire.publish(driver, told)

    store.commit_with(together)
    return queue, wire


async def listen(wire: Wire, ears: Ears) -> None:
    """What other processes commit is heard here as what this one commits. Runs until cancelled."""

    async def hear(news: News) -> None:
        for repo in news.rang:
            ears.bell.ring(str(repo))
        ears.written(news.written)
        for attempt in news.revoke:
            await ears.revoke(attempt)
        if news.everything:
            ears.bell.ring_all()
            ears.anything()

    await wire.listen(hear, lambda error: log.warning("news_missed", error=type(error).__name__))


async def route_for_others(router: Router) -> None:
    """Looks for what others left. Runs until cancelled."""
    while True:
        await asyncio.sleep(ROUTE_SECONDS)
        router.nudge()
