"""A small world on a local hub: people, a repository, an App, a receiver of webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import jwt
from aiohttp import web

from bot.localhub.core import App, Hub, Installation, Repository, Role

SECRET = "a secret for webhooks"
PERMISSIONS = {
    "issues": "write",
    "pull_requests": "write",
    "contents": "write",
    "actions": "write",
    "checks": "write",
}
EVENTS = ["issues", "issue_comment", "label", "push", "pull_request", "repository"]
START = datetime(2026, 11, 20, 12, 0, 0, 250_000, tzinfo=UTC)


@dataclass
class Clock:
    """A clock that moves when told to."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class Received:
    """A webhook as the receiver saw it."""

    headers: dict[str, str]
    raw: bytes

    @property
    def payload(self) -> dict[str, Any]:
        return json.loads(self.raw)

    @property
    def name(self) -> str:
        action = self.payload.get("action")
        event = self.headers["X-GitHub-Event"]
        return event if action is None else f"{event}.{action}"

    def signed_with(self, secret: str) -> bool:
        wanted = "sha256=" + hmac.new(secret.encode(), self.raw, hashlib.sha256).hexdigest()
        return hmac.compare_digest(self.headers["X-Hub-Signature-256"], wanted)


@dataclass
class Receiver:
    """Takes webhooks; `status` is what it answers."""

    got: list[Received] = field(default_factory=list)
    status: int = 202
    url: str = ""

    async def take(self, request: web.Request) -> web.Response:
        self.got.append(Received(dict(request.headers), await request.read()))
        return web.Response(status=self.status)

    def names(self) -> list[str]:
        return [x.name for x in self.got]

    def last(self, name: str) -> Received:
        return [x for x in self.got if x.name == name][-1]


@dataclass
class Answer:
    status: int
    headers: Any
    body: Any


@dataclass
class World:
    hub: Hub
    clock: Clock
    receiver: Receiver
    session: aiohttp.ClientSession
    repo: Repository
    app: App
    installation: Installation
    token: str

    def jwt(self, **claims: object) -> str:
        now = int(self.clock.now.timestamp())
        body = {"iat": now - 30, "exp": now + 540, "iss": str(self.app.id)} | claims
        return jwt.encode(body, self.app.private_key_pem, algorithm="RS256")

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        redirects: bool = False,
    ) -> Answer:
        """One API request as the App's installation, or with another token ("" for none)."""
        use = self.token if token is None else token
        sent = {"Authorization": f"Bearer {use}"} if use else {}
        url = path if path.startswith("http") else self.hub.api_url + path
        async with self.session.request(
            method,
            url,
            json=body,
            headers=sent | (headers or {}),
            allow_redirects=redirects,
        ) as answer:
            text = await answer.text()
            is_json = "json" in answer.headers.get("Content-Type", "")
            parsed = json.loads(text) if is_json and text else text
            return Answer(answer.status, answer.headers, parsed)

    async def graphql(self, query: str, token: str | None = None, **variables: object) -> Any:
        body = {"query": query, "variables": variables}
        answer = await self.call("POST", self.hub.graphql_url, body, token=token)
        assert answer.status == 200, answer.body
        return answer.body

    def narrowed(self, **permissions: str) -> str:
        """A token of the App with these permissions only."""
        return self.hub.tokens.for_installation(self.installation, [self.repo.id], permissions).value


@asynccontextmanager
async def world(root: Path, *, private: bool = False, seed: int = 0) -> AsyncIterator[World]:
    clock, receiver = Clock(), Receiver()
    server = web.Application()
    server.router.add_post("/webhook", receiver.take)
    runner = web.AppRunner(server, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhook"
    try:
        async with Hub(root=root, clock=clock, seed=seed) as hub, aiohttp.ClientSession() as http:
            owner = hub.create_user("olive")
            for login in ("mia", "wim", "tess", "rob", "eve"):
                hub.create_user(login)
            roles = {
                "mia": Role.MAINTAIN,
                "wim": Role.WRITE,
                "tess": Role.TRIAGE,
                "rob": Role.READ,
            }
            repo = hub.create_repo(owner, "demo", private=private, files={"README.md": "# Demo\n"}, roles=roles)
            app = hub.create_app(owner, "tgs", PERMISSIONS, EVENTS, receiver.url, SECRET)
            item = hub.install(app, owner, [repo])
            token = hub.tokens.for_installation(item, [repo.id], PERMISSIONS).value
            yield World(hub, clock, receiver, http, repo, app, item, token)
    finally:
        await runner.cleanup()
