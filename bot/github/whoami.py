"""Whose token this is: one call with the person's own token, to the configured API and nowhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import aiohttp
from pydantic import SecretStr

from bot.domain.model import InstallationId, Person
from bot.errors import Invalid
from bot.github.calls import Call, Origin
from bot.github.clients import Clients
from bot.github.limits import Sleep
from bot.protocols.clock import Clock


def whoami(
    session: aiohttp.ClientSession, origin: Origin, *, clock: Clock, sleep: Sleep, jitter: Callable[[], float]
) -> Callable[[str], Awaitable[Person]]:
    """A function from a token to the person it belongs to; it raises Unauthorized for an unknown one."""

    async def ask(token: str) -> Person:
        clients = Clients.of_token(session, origin, SecretStr(token), clock=clock, sleep=sleep, jitter=jitter)
        answer = await clients.installation(InstallationId(0)).request(Call("GET", "/user", {}, {}, None, None))
        data = answer.data
        if not isinstance(data, dict) or not isinstance(data.get("id"), int) or not isinstance(data.get("login"), str):
            raise Invalid("the answer names no account", status=answer.status, request="GET /user")
        return Person(data["id"], data["login"], data.get("type") == "Bot")

    return ask
