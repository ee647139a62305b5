"""`/api/v1/attempts/{attempt}/transcript` and `/work`: what an attempt leaves, and what it goes on with.

Who may call: the attempt's own token. `PUT` stores what this attempt leaves for the next one of its item; `GET` gives
what the attempt before has left for this one. Nobody else reads a conversation, neither people nor other attempts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from bot.carried import CarriedService
from bot.domain.attempt import Attempt
from bot.domain.carried import Carried
from bot.run_service import RunService
from bot.web.api.attempts import attempt_token
from bot.web.api.bodies import answer
from bot.web.api.bundles import CHUNK, Uploaded
from bot.web.api.described import ATTEMPT, Caller, Row
from bot.web.api.problems import ApiProblem, Code


class CarriedApi:
    """The routes of what is carried from attempt to attempt."""

    def __init__(self, service: RunService, carried: CarriedService) -> None:
        self._service = service
        self._carried = carried

    def routes(self) -> list[web.RouteDef]:
        return [
            route
            for kind in Carried
            for route in (
                web.put(f"{ATTEMPT}/{kind.value}", self._put(kind)),
                web.get(f"{ATTEMPT}/{kind.value}", self._get(kind), allow_head=False),
            )
        ]

    def _put(self, kind: Carried) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def put(request: web.Request) -> web.Response:
            attempt = await self._own(request)
            row = await self._carried.keep(attempt, kind, request.content.iter_chunked(CHUNK), request.content_length)
            return answer({"sha256": row.sha256, "size": row.size})

        return put

    def _get(self, kind: Carried) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def get(request: web.Request) -> web.Response:
            attempt = await self._own(request)
            found = await self._carried.give(attempt, kind)
            if found is None:
                raise ApiProblem(Code.NOT_FOUND, "No earlier attempt has left anything for this one.")
            headers = {"Cache-Control": "no-store"}
            return web.Response(body=found[1], content_type="application/octet-stream", headers=headers)

        return get

    async def _own(self, request: web.Request) -> Attempt:
        attempt = await self._service.authenticate(request.match_info["attempt"], attempt_token(request))
        structlog.contextvars.bind_contextvars(key=str(attempt.key))
        return attempt


_SAYS = {
    Carried.TRANSCRIPT: ("the agent's conversation, before the report that asks", "the conversation"),
    Carried.WORK: ("the work so far as a bundle, before the report that asks", "the work so far"),
}

DESCRIBED = tuple(
    row
    for kind in Carried
    for row in (
        Row(
            "PUT",
            f"{ATTEMPT}/{kind.value}",
            (Caller.ATTEMPT,),
            f"Take {_SAYS[kind][0]}. It is kept for 30 days, byte for byte, for the next attempt alone.",
            {200: Uploaded},
            body=bytes,
            problems=(Code.INVALID,),
        ),
        Row(
            "GET",
            f"{ATTEMPT}/{kind.value}",
            (Caller.ATTEMPT,),
            f"Give {_SAYS[kind][1]} that an earlier attempt has left for this one; the context names its SHA-256.",
            {200: bytes},
            problems=(Code.NOT_FOUND,),
        ),
    )
)
