"""A pull worker played by a test: it claims, beats, uploads and reports over the real routes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from bot.claims import NotClaimed
from bot.clock import RandomIds
from bot.domain.identity import RunSecret
from bot.domain.model import Person
from bot.domain.workers import WorkerRecord, WorkerToken
from bot.pull_service import Asker, Given
from tests.world import World

PULL_POLICY = "workers: pull\nagent:\n  adapter: scripted\nallow_unisolated: true\n"
"""Nothing is dispatched by itself: whoever asks gets the item."""


@dataclass
class Puller:
    """A registered worker and the attempt that it holds."""

    world: World
    worker: WorkerToken
    record: WorkerRecord
    secret: str
    """The worker token, as its holder knows it."""
    token: str = field(default_factory=lambda: RandomIds().new(RunSecret.ATTEMPT))
    attempt: str = ""
    fence: int = 0

    async def claim(self, number: int | None = None) -> Given | NotClaimed:
        """Asks for work; meanwhile the bot takes the label and shows the start."""
        repo = await self.world.repo_record()
        asker = Asker(self.record.name, token=self.worker, record=self.record, capabilities=self.record.capabilities)
        asking = asyncio.create_task(self.world.parts.engine.pull.claim(repo, asker, self.token, number))
        while not asking.done():
            await self.world.settle()
            await asyncio.sleep(0)
        found = await asking
        if isinstance(found, Given):
            self.attempt, self.fence = found.attempt.id, found.attempt.fence
        return found

    async def call(
        self, method: str, path: str, *, bearer: str | None = None, json: object = None, data: object = None
    ) -> tuple[int, Any]:
        """A call about the attempt, with its token unless another is named."""
        assert self.world.http is not None
        async with self.world.http.request(
            method, f"{self.world.url}/api/v1/attempts/{self.attempt}/{path}", json=json, data=data,
            headers={"Authorization": f"Bearer {bearer or self.token}"},
        ) as answer:  # fmt: skip
            if answer.content_type == "application/octet-stream":
                return answer.status, await answer.read()
            return answer.status, await answer.json(content_type=None)

    async def upload(self, data: bytes | AsyncIterator[bytes]) -> tuple[int, Any]:
        return await self.call("PUT", "bundle", data=data)

    async def beat(self) -> tuple[int, Any]:
        return await self.call("POST", "heartbeat", json={"fence": self.fence})

    async def report(self, data: bytes | None = None, *, reason: str | None = None) -> tuple[int, Any]:
        """Success with the digest of these bytes, or a failure for this reason."""
        digest = hashlib.sha256(data).hexdigest() if data is not None else None
        return await self.call(
            "POST", "report",
            json={"fence": self.fence, "succeeded": reason is None, "reason": reason, "bundle_digest": digest,
                  "summary": "Did it."},
        )  # fmt: skip

    async def hand_in(self, data: bytes) -> None:
        """The result reaches the bot, and the run that publishes it is dispatched."""
        status, body = await self.upload(data)
        assert status == 200, body
        status, body = await self.report(data)
        assert status == 200, body
        await self.world.settle()


async def new_puller(world: World, name: str = "box-1", *capabilities: str, slots: int = 1) -> Puller:
    """A token for the world's repository, and a worker registered with it."""
    pull = world.parts.engine.pull
    repo = await world.repo_record()
    token, secret = await pull.create_token([repo], Person(world.maria.id, "maria"), name, timedelta(days=1))
    now = world.clock.now()
    id_ = RandomIds().new("w")[:33]
    record = WorkerRecord(id_, token.installation, token.id, name, now, now, capabilities=capabilities, slots=slots)
    await world.parts.store.write(lambda tx: tx.put_worker(record))
    return Puller(world, token, record, secret)
