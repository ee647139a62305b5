"""The real webhook endpoint over HTTP, in front of an inbox in memory that can be told to misbehave."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from bot.domain.intake import Intake
from bot.metrics import Metrics
from bot.web.webhook import Webhook

OLD, NEW = "the-old-webhook-secret", "the-new-webhook-secret"
SELF_ID = 777
UNSERVED = 666
"""An account that may not use this server."""


@dataclass
class Accepted:
    delivery: str
    event: str
    action: str | None
    intake: Intake
    body: bytes | None


@dataclass
class MemoryInbox:
    """Keeps deliveries; `fails` is raised by `accept`, `gate` (when set) holds commits back."""

    accepted: list[Accepted] = field(default_factory=list)
    fails: Exception | None = None
    gate: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    async def accept(self, delivery: str, event: str, action: str | None, intake: Intake, body: bytes | None) -> bool:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        if any(known.delivery == delivery for known in self.accepted):
            return False
        self.accepted.append(Accepted(delivery, event, action, intake, body))
        return True


@dataclass
class World:
    inbox: MemoryInbox
    metrics: Metrics
    client: TestClient[web.Request, web.Application]
    woken: list[int]

    async def post(self, body: bytes, headers: dict[str, str]) -> aiohttp.ClientResponse:
        response = await self.client.post("/webhook", data=io.BytesIO(body), headers=headers)
        await response.read()
        return response

    def count(self, event: str, outcome: str) -> float:
        return (
            self.metrics.registry.get_sample_value("tgs_deliveries_total", {"event": event, "outcome": outcome}) or 0.0
        )


def sign(body: bytes, secret: str = NEW) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def headers(
    body: bytes, *, event: str = "push", delivery: str = "8b1f", secret: str = NEW, without: str = ""
) -> dict[str, str]:
    """What GitHub sends, less the header named by `without`."""
    every = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature": "sha1=" + hmac.new(secret.encode(), body, hashlib.sha1).hexdigest(),
        "X-Hub-Signature-256": sign(body, secret),
    }
    return {name: value for name, value in every.items() if name != without}


def endpoint(inbox: MemoryInbox, metrics: Metrics, on_stored: Callable[[], None] = lambda: None) -> Webhook:
    return Webhook(
        inbox=inbox,
        secrets=[SecretStr(OLD), SecretStr(NEW)],
        serves=lambda account: account != UNSERVED,
        self_id=lambda: SELF_ID,
        metrics=metrics,
        now=lambda: 1_700_000_000.0,
        on_stored=on_stored,
    )


@pytest.fixture
async def world() -> AsyncIterator[World]:
    inbox, metrics, woken = MemoryInbox(), Metrics(), list[int]()
    app = web.Application()
    app.add_routes(endpoint(inbox, metrics, lambda: woken.append(1)).routes())
    async with TestClient(TestServer(app)) as client:
        yield World(inbox, metrics, client, woken)
