"""A gateway with a person's token in front of scripted answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from aiohttp import web
from pydantic import SecretStr

from bot.domain.model import RepoKey
from bot.github.calls import Origin
from bot.github.client import open_session
from bot.github.gateway import Gateway, token_gateway
from tests.github.support import REPO, START, JumpingClock, ScriptedServer, Seen, reply, scripted_server

NAME = "/repos/o/r"
VIEW = {
    "id": REPO.repo,
    "node_id": "R_1",
    "name": "r",
    "full_name": "o/r",
    "owner": {"id": 1, "login": "o"},
    "html_url": "https://github.example/o/r",
    "size": 12,
}
Answering = web.Response | Callable[[Seen], web.Response]


class Script:
    """Answers by method and path; everything else is 404."""

    def __init__(self, server: ScriptedServer, gateway: Gateway, clock: JumpingClock) -> None:
        self.server, self.gateway, self.clock = server, gateway, clock
        self.answers: dict[str, Answering] = {f"GET {NAME}": reply(VIEW)}
        server.say(self.serve)

    def on(self, what: str, answer: Answering) -> None:
        """`what` is method and path below the repository, e.g. `GET /pulls/1`; GraphQL is `POST graphql`."""
        method, path = what.split(" ", 1)
        self.answers[f"{method} {'/graphql' if path == 'graphql' else NAME + path}"] = answer

    def serve(self, seen: Seen) -> web.Response:
        found = self.answers.get(f"{seen.method} {seen.path.partition('?')[0]}", reply({"message": "Not Found"}, 404))
        if isinstance(found, web.Response):
            return web.Response(status=found.status, body=found.body, headers=found.headers)
        return found(seen)


@asynccontextmanager
async def script() -> AsyncIterator[Script]:
    """The gateway of repository `REPO`, which the ledger knows as `o/r`."""

    async def name(key: RepoKey) -> str:
        assert key == REPO
        return "o/r"

    async with scripted_server() as server, open_session() as session:
        clock = JumpingClock()
        origin = Origin(server.url, f"{server.url}/graphql")
        gateway = token_gateway(
            session,
            origin,
            SecretStr("t"),
            names=name,
            clock=clock,
            sleep=clock.sleep,
            jitter=lambda: 0.5,
            write_spacing=0,
        )
        yield Script(server, gateway, clock)


def moment(minutes: int) -> datetime:
    """So many minutes after START."""
    return START + timedelta(minutes=minutes)


def at(minutes: int) -> str:
    """The same as the API writes it."""
    return moment(minutes).strftime("%Y-%m-%dT%H:%M:%SZ")
