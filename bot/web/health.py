"""`GET /`, `GET /healthz`, `GET /readyz`, `GET /metrics`: for whoever comes by, the platform, the operator and
the collector.

Promises: `/healthz` answers as long as the event loop turns and asks nobody else, so a broken database does not
make the platform kill a process that keeps accepted work; `/readyz` says in words what keeps the bot from working,
with 503; neither shows anything of a tenant. `/metrics` has totals only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import web

from bot.metrics import Metrics
from bot.protocols.clock import Clock

PROBE_SECONDS: Final = 2.0
"""A probe that takes longer counts as failed; platforms give a check about five seconds in all."""
PROBED_AGAIN: Final = timedelta(seconds=1)
"""The database is probed this often at most, however many ask, because each probe is a write."""
WAITING_LIMIT: Final = timedelta(minutes=5)
"""A marked key that nobody looked at for so long means that the queue stands still."""
GITHUB_LIMIT: Final = timedelta(minutes=30)
"""The sweep calls GitHub more often than this, so a longer silence means that calls fail."""

FRONT = """\
TGS bot {version}

People use it on GitHub, and with `tgs` on the command line; there is nothing to see here.

/healthz           whether it lives
/readyz            whether it can work
/metrics           totals for Prometheus
/api/openapi.json  its HTTP API
"""
"""What whoever opens the bare address in a browser reads."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Probes:
    """What `/readyz` asks, given by the composition root.

    `write` changes something small in the database and raises when it cannot; `oldest_waiting` is the time since
    which the oldest marked key waits (None: nothing waits); `github_success` is when GitHub last answered well
    (None: not yet); `started` is when this process began.
    """

    write: Callable[[], Awaitable[None]]
    oldest_waiting: Callable[[], Awaitable[datetime | None]]
    github_success: Callable[[], datetime | None]
    started: datetime


class Health:
    """The endpoints that anybody may ask."""

    def __init__(self, *, probes: Probes, metrics: Metrics, clock: Clock, version: str) -> None:
        self._probes = probes
        self._metrics = metrics
        self._clock = clock
        self._version = version
        self._probing = asyncio.Lock()
        self._probed: tuple[datetime, bool] | None = None

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.front),
            web.get("/healthz", self.healthz),
            web.get("/readyz", self.readyz),
            web.get("/metrics", self.metrics),
        ]

    async def front(self, _: web.Request) -> web.Response:
        return web.Response(text=FRONT.format(version=self._version), headers={"Cache-Control": "no-store"})

    async def healthz(self, _: web.Request) -> web.Response:
        return _json({"status": "ok", "version": self._version}, HTTPStatus.OK)

    async def readyz(self, _: web.Request) -> web.Response:
        """200 with what was seen, or 503 with the reasons, each with a stable code and a sentence."""
        now = self._clock.now()
        reasons: list[dict[str, str]] = []
        seen: dict[str, float | None] = {}
        if not await self._database_ok():
            reasons.append(_reason("database", "The database cannot be written. Deliveries are refused until it can."))
        else:
            seen["oldest_waiting_seconds"] = await self._waiting(now, reasons)
        last = self._probes.github_success()
        seen["github_success_seconds_ago"] = None if last is None else (now - last).total_seconds()
        if now - (last or self._probes.started) > GITHUB_LIMIT:
            reasons.append(
                _reason("github", "GitHub has not answered well for 30 minutes. Look at the log for the last error.")
            )
        body = {"status": "ready" if not reasons else "not ready", "reasons": reasons, **seen}
        return _json(body, HTTPStatus.OK if not reasons else HTTPStatus.SERVICE_UNAVAILABLE)

    async def _waiting(self, now: datetime, reasons: list[dict[str, str]]) -> float | None:
        """The age of the oldest waiting key, in seconds."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                since = await self._probes.oldest_waiting()
        except Exception:
            log.exception("probe failed", probe="queue")
            reasons.append(_reason("queue", "The queue cannot be read."))
            return None
        age = max(now - since, timedelta(0)) if since is not None else timedelta(0)
        self._metrics.oldest_waiting.set(age.total_seconds())
        if age > WAITING_LIMIT:
            reasons.append(_reason("queue", "Work has waited for more than 5 minutes without being looked at."))
        return age.total_seconds()

    async def _database_ok(self) -> bool:
        async with self._probing:
            now = self._clock.now()
            if self._probed is None or now - self._probed[0] >= PROBED_AGAIN:
                self._probed = now, await self._probe()
            return self._probed[1]

    async def _probe(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._probes.write()
        except Exception:
            log.exception("probe failed", probe="database")
            return False
        return True

    async def metrics(self, _: web.Request) -> web.Response:
        body, content_type = self._metrics.render()
        return web.Response(body=body, headers={"Content-Type": content_type})


def _reason(code: str, detail: str) -> dict[str, str]:
    return {"code": code, "detail": detail}


def _json(body: object, status: HTTPStatus) -> web.Response:
    return web.json_response(body, status=status.value, headers={"Cache-Control": "no-store"})
