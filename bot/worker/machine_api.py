"""What a machine asks of the bot with its worker token: to be known, to be given work, to be let go.

Promise: as `bot/worker/wire.py`. The secret of a claim is made by the caller and sent with every repetition of the
question, so a claim whose answer was lost is the caller's all the same. The worker token goes to the bot only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from bot.domain.bundle import ContextBundle
from bot.worker.api import Api
from bot.worker.wire import CALL_SECONDS, parse

WAIT_SECONDS: Final = 25.0  # how long one question for work stays open; proxies cut off at 30 and more

_ID: Final = r"^[A-Za-z0-9_-]{1,64}$"


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Registered(_Answer):
    """The bot knows this worker."""

    id: str = Field(pattern=_ID)


class WorkerBeat(_Answer):
    """The answer to a worker's sign of life."""

    drain: bool = False


class Offer(_Answer):
    """A claim that was won."""

    attempt: str = Field(pattern=_ID)
    fence: int
    context: ContextBundle


class _Claims(_Answer):
    claims: tuple[Offer, ...] = ()


class MachineApi(Api):
    """Calls of one machine, beside those about attempts."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        server_url: str,
        worker_token: SecretStr,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(session, server_url, sleep)
        self._token = worker_token

    async def _worker(self) -> SecretStr:
        return self._token

    async def register(self, name: str, capabilities: Sequence[str], slots: int, local_path: str) -> Registered:
        """Makes the worker known. `local_path` is where it keeps its clones, for the people who run it."""
        body = {"name": name, "capabilities": list(capabilities), "slots": slots, "local_path": local_path}
        return parse(Registered, await self.wire.call("POST", "/workers", self._worker, body), "register")

    async def worker_beat(self, worker: str, error: str | None) -> WorkerBeat:
        """A sign of life. Raises LostClaim when the worker is not registered any more."""
        body = {"error": error}
        answer = await self.wire.call("POST", f"/workers/{worker}/heartbeat", self._worker, body, tries=1)
        return parse(WorkerBeat, answer or {}, "worker heartbeat")

    async def deregister(self, worker: str) -> None:
        """Lets the worker go once its attempts have ended; it gets nothing new from now on."""
        await self.wire.call("DELETE", f"/workers/{worker}", self._worker, None)

    async def claim(
        self, repo: str, name: str, worker: str, capabilities: Sequence[str], secret: str, wait: float
    ) -> Offer | None:
        """Asks for an item; `secret` becomes the attempt's token. None: there is nothing within `wait` seconds.

        Raises LostClaim when an item was withdrawn while it was claimed.
        """
        body = {
            "repo": repo, "name": name, "worker_id": worker, "capabilities": list(capabilities),
            "token": secret, "wait": wait,
        }  # fmt: skip
        seconds = wait + CALL_SECONDS
        answer = await self.wire.call("POST", "/queue/claim", self._worker, body, seconds=seconds)
        if answer is None:
            return None
        claims = parse(_Claims, answer, "claim").claims
        return claims[0] if claims else None
