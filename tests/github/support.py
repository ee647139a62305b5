"""What the tests of the GitHub client share: a scripted server, a clock that jumps, ready-made clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import ClientSession, web
from pydantic import SecretStr

from bot.domain.model import InstallationId, IssueKey, RepoId, RepoKey
from bot.github.calls import Origin
from bot.github.client import GitHubClient
from bot.github.limits import Limits

START = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
TOKEN = "ghs_1_first.token.of-the-test"
REPO = RepoKey(InstallationId(7), RepoId(42))
ISSUE = IssueKey(InstallationId(7), RepoId(42), 5)


class JumpingClock:
    """Time that moves only when somebody sleeps or a test says so."""

    def __init__(self, now: datetime = START) -> None:
        self.time = now
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    def forward(self, **by: float) -> None:
        self.time += timedelta(**by)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        until = self.time + timedelta(seconds=seconds)
        await asyncio.sleep(0)
        self.time = max(self.time, until)


@dataclass
class Seen:
    """A request as the scripted server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


Responder = Callable[[Seen], web.Response]


def reply(body: Any = None, status: int = 200, **headers: str) -> web.Response:
    """An answer; header names with underscores for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is None:
        return web.Response(status=status, headers=named)
    return web.json_response(body, status=status, headers=named)


@dataclass
class ScriptedServer:
    """Answers from a script, in order; the last entry repeats."""

    url: str = ""
    script: list[web.Response | Responder | str] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    def say(self, *answers: web.Response | Responder | str) -> None:
        """The answers to come; the text `drop` closes the connection without one."""
        self.script = list(answers)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = await request.json() if raw else None
        seen = Seen(request.method, request.raw_path, {k.lower(): v for k, v in request.headers.items()}, body)
        self.seen.append(seen)
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, str):
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if isinstance(answer, web.Response):
            # A response object serves one request; the script may repeat it.
            return web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        return answer(seen)


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    server, app = ScriptedServer(), web.Application()
    app.router.add_route("*", "/{path:.*}", server.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


class Tokens:
    """A token source that hands out the next token after a refusal."""

    def __init__(self, *tokens: str) -> None:
        self.left = list(tokens or (TOKEN,))
        self.refusals = 0

    async def token(self) -> SecretStr:
        return SecretStr(self.left[0])

    def refused(self, token: SecretStr) -> None:
        self.refusals += 1
        if len(self.left) > 1:
            self.left.pop(0)


@dataclass
class Rig:
    """A client in front of a scripted server."""

    server: ScriptedServer
    client: GitHubClient
    clock: JumpingClock
    tokens: Tokens
    session: ClientSession

    @property
    def limits(self) -> Limits:
        return self.client.limits


def make_client(
    session: ClientSession,
    url: str,
    clock: JumpingClock,
    tokens: Tokens,
    before_write: Callable[[], Awaitable[None]] | None = None,
) -> GitHubClient:
    limits = Limits(clock, clock.sleep, write_spacing=0)
    return GitHubClient(
        session,
        Origin(url, f"{url}/graphql"),
        tokens,
        limits,
        sleep=clock.sleep,
        jitter=lambda: 0.5,
        before_write=before_write,
    )
