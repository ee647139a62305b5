"""`/api/v1/attempts/{attempt}/bundle`: what a pull worker made goes in, and out to the run that publishes it.

Who may call: `PUT` needs the attempt's own token, or, for a result that waits for a look, the OIDC token of the
publishing job of the very run that the bot started for this attempt; `GET` needs the latter. Nobody else reads a
bundle, its maker included. Both may be repeated.
"""

from __future__ import annotations

import msgspec
import structlog
from aiohttp import web

from bot.bundles import Bundles
from bot.domain.attempt import Attempt
from bot.run_service import RunService
from bot.web.api.bodies import answer, query_of
from bot.web.api.described import ATTEMPT, Caller, Row
from bot.web.api.problems import ApiProblem, Code
from bot.web.api.publishing import PublishingJob, is_oidc, run_token
from bot.web.api.run_forms import ContextQuery

CHUNK = 256 * 1024
"""Bytes that are taken from the connection at once; memory per upload stays at a few of them."""


class Uploaded(msgspec.Struct):
    """What lies with the bot now."""

    sha256: str
    size: int


class BundlesApi:
    """The routes of bundles."""

    def __init__(self, service: RunService, job: PublishingJob, bundles: Bundles) -> None:
        self._service = service
        self._job = job
        self._bundles = bundles

    def routes(self) -> list[web.RouteDef]:
        return [
            web.put(f"{ATTEMPT}/bundle", self.put),
            web.get(f"{ATTEMPT}/bundle", self.get, allow_head=False),
        ]

    async def put(self, request: web.Request) -> web.Response:
        token = run_token(request)
        publishing = is_oidc(token)
        if publishing:
            attempt = await self._publishing(request)
        else:
            attempt = await self._service.authenticate(request.match_info["attempt"], token)
            structlog.contextvars.bind_contextvars(key=str(attempt.key))
        row = await self._bundles.keep(
            attempt, request.content.iter_chunked(CHUNK), request.content_length, publishing=publishing
        )
        return answer({"sha256": row.sha256, "size": row.size})

    async def get(self, request: web.Request) -> web.StreamResponse:
        attempt = await self._publishing(request)
        path = await self._bundles.find(attempt)
        if path is None:
            raise ApiProblem(Code.NOT_FOUND, "There is no bundle of this attempt here.")
        return web.FileResponse(path, headers={"Content-Type": "application/octet-stream", "Cache-Control": "no-store"})

    async def _publishing(self, request: web.Request) -> Attempt:
        return await self._job.attempt(request, query_of(request, ContextQuery).fence)


DESCRIBED = (
    Row(
        "PUT",
        f"{ATTEMPT}/bundle",
        (Caller.ATTEMPT, Caller.PUBLISH),
        "Take what a pull worker made, before its report. The same bytes may be sent again; others replace them until "
        "the report. From the publishing job: the reported result, which waits for somebody to look at it.",
        {200: Uploaded},
        query=ContextQuery,
        body=bytes,
        problems=(Code.INVALID,),
    ),
    Row(
        "GET",
        f"{ATTEMPT}/bundle",
        (Caller.PUBLISH,),
        "Give out what a pull worker uploaded, to the run that publishes it.",
        {200: bytes},
        query=ContextQuery,
        problems=(Code.NOT_FOUND,),
    ),
)
