"""A stand-in for the bot that gives out several items to machines, over real HTTP and with a real git server."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from pydantic import SecretStr

from bot.clock import RandomIds
from bot.domain.bundle import ContextBundle
from bot.worker.machine import Machine, MachineSettings, Stop, Tally
from bot.worker.machine_api import MachineApi
from bot.worker.process import Graces
from tests.worker.support import LIMIT, NOW, READ_TOKEN, Call, FakeBot, Origin, context

WORKER_TOKEN = "tgw_a-worker-token-of-these-tests-0123456789"
AGENT = "set -e; mkdir -p out; echo $TGS_CONTEXT >> out/by-agent.txt"


@dataclass
class Depot(FakeBot):
    """Gives its `items` in order, one for each secret."""

    items: list[ContextBundle] = field(default_factory=list)
    given: dict[str, ContextBundle] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    down_after: set[str] = field(default_factory=set)
    """Calls that are carried out once, and whose answer gets lost."""
    hold: asyncio.Event | None = None
    """Questions for work stay open until then."""
    go: bool = False
    """Every agent is told to go on."""

    async def _note(self, request: web.Request, name: str, body: Any) -> web.Response | None:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.calls.append(Call(name, body, bearer, request.match_info.get("id", "")))
        async with self.changed:
            self.changed.notify_all()
        if name in self.errors:
            status, code = self.errors[name]
            return web.json_response({"code": code, "detail": "no"}, status=status)
        return None

    async def register(self, request: web.Request) -> web.Response:
        body = await request.json()
        return await self._note(request, "register", body) or web.json_response({"id": "w1"}, status=201)

    async def worker_beat(self, request: web.Request) -> web.Response:
        body = await request.json()
        return await self._note(request, "worker-beat", body) or web.json_response({"status": "idle"})

    async def deregister(self, request: web.Request) -> web.Response:
        return await self._note(request, "deregister", None) or web.Response(status=204)

    async def claim(self, request: web.Request) -> web.Response:
        body = await request.json()
        refused = await self._note(request, "claim", body)
        if refused is not None:
            return refused
        if body["token"] not in self.given and self.items and self.items[0].repository.full_name == body["repo"]:
            self.given[body["token"]] = self.items.pop(0)
        found = self.given.get(body["token"])
        if "claim" in self.down_after:
            self.down_after.discard("claim")
            return web.Response(status=503)
        if found is None or self.hold is not None:
            if self.hold is not None:
                await self.hold.wait()
            return web.Response(status=204)
        claim = {
            "attempt": found.attempt, "fence": found.fence, "item": {}, "branch": found.branch,
            "base_sha": found.base_sha, "lease_until": None, "context": found.model_dump(mode="json"),
        }  # fmt: skip
        return web.json_response({"claims": [claim]})

    async def upload(self, request: web.Request) -> web.Response:
        data = await request.read()
        refused = await self._note(request, "bundle", None)
        if refused is not None:
            return refused
        self.uploads[request.match_info["id"]] = data
        return web.json_response({"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)})

    def _answer(self, name: str, body: Any) -> web.Response:
        if name == "heartbeat" and self.go:
            self.beat["steer"] = ["go on"]
        return super()._answer(name, body)

    def reports(self) -> dict[str, Any]:
        """What was said of each attempt at its end."""
        failed = {call.attempt: {"succeeded": False, **call.body} for call in self.named("fail")}
        return failed | {call.attempt: call.body for call in self.named("report")}


@asynccontextmanager
async def depot(origin: Origin, count: int = 1, command: str = AGENT, **changes: Any) -> AsyncIterator[Depot]:
    """Offers `count` items of acme/shop, each with its own issue, branch and attempt."""
    bot = Depot(context(origin), origin.folder)
    app = web.Application(client_max_size=50_000_000)
    app.router.add_post("/api/v1/workers", bot.register)
    app.router.add_post("/api/v1/workers/w1/heartbeat", bot.worker_beat)
    app.router.add_delete("/api/v1/workers/w1", bot.deregister)
    app.router.add_post("/api/v1/queue/claim", bot.claim)
    app.router.add_put("/api/v1/attempts/{id}/bundle", bot.upload)
    app.router.add_route("*", "/api/v1/attempts/{id}/{name}", bot._api)
    app.router.add_route("*", "/git/{path:.*}", bot._git)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    bot.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    agent = {"adapter": "command", "command": ["sh", "-c", command]}
    bot.items = [
        context(
            origin, f"{bot.url}/git/acme/shop.git",
            **({"attempt": f"att-{n}", "issue": n, "branch": f"tgs/{n}-x", "thought": None, "agent": agent,
                "lease": {"heartbeat_seconds": 0.05}} | changes),
        )
        for n in range(1, count + 1)
    ]  # fmt: skip
    try:
        yield bot
    finally:
        if bot.hold is not None:
            bot.hold.set()
        await runner.cleanup()


def credentials(folder: Path, url: str) -> dict[str, str]:
    """A machine whose git may read the repository; the environment of a worker on it."""
    folder.mkdir(exist_ok=True)
    stored = folder / "git-credentials"
    stored.write_text(url.replace("http://", f"http://machine:{READ_TOKEN}@") + "\n")
    (folder / ".gitconfig").write_text(f"[credential]\n\thelper = store --file={stored}\n")
    return {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(folder)}


async def no_pause(_: float) -> None:
    await asyncio.sleep(0)


async def machine(bot: Depot, tmp: Path, stop: Stop | None = None, **settings: Any) -> Tally:
    """Runs a machine against the depot to its end."""
    given = MachineSettings(
        **({"name": "box-1", "repos": ("acme/shop",), "root": tmp / "machine", "once": True, "beat_seconds": 0.05,
            "wait_seconds": 5.0, "hide": (WORKER_TOKEN,), "graces": Graces(interrupt=5, terminate=5)} | settings)
    )  # fmt: skip
    said: list[str] = []
    async with aiohttp.ClientSession() as session, asyncio.timeout(LIMIT):
        worker = Machine(
            given, MachineApi(session, bot.url, SecretStr(WORKER_TOKEN), no_pause), lambda: NOW, RandomIds().new,
            said.append, credentials(tmp / "home", bot.url),
        )  # fmt: skip
        try:
            return await worker.run(stop or Stop())
        finally:
            (tmp / "said.txt").write_text("\n".join(said))
