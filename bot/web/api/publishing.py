"""`/api/v1` for the publishing job of a run: the write token, and what became of the result.

Who may call: a job of our workflow on the default branch in the environment for publishing, by an OIDC token that is
used once, of the very run that works on the attempt. Nobody else may call anything here. Every call may be repeated by
its caller when the answer was lost.
"""

from __future__ import annotations

import structlog
from aiohttp import web

from bot.domain.attempt import Attempt, ShownResult, WorkerReport
from bot.domain.identity import RunIdentity
from bot.domain.model import FailureReason
from bot.protocols.clock import Clock
from bot.publishing import Publishing
from bot.run_service import RunService
from bot.web.api.bodies import answer, body_of
from bot.web.api.callers import bearer
from bot.web.api.described import ATTEMPT, Caller, Example, Row
from bot.web.api.problems import ApiProblem, Code
from bot.web.api.run_forms import (
    Granted,
    Noted,
    PublishBody,
    PublishedBody,
    RefusedBody,
    WithheldBody,
)
from bot.web.api.run_words import MAX_REPORT, difference_told, doubts_told, reason_of, told
from bot.web.oidc import OidcVerifier


class PublishingJob:
    """The publishing job that calls, and the attempt that it speaks for."""

    def __init__(self, publishing: Publishing, oidc: OidcVerifier, clock: Clock, public_url: str) -> None:
        self._publishing = publishing
        self._oidc = oidc
        self._clock = clock
        self._audience = f"{public_url}/publish"

    async def identity(self, request: web.Request) -> RunIdentity:
        """Who calls. Raises ApiProblem without a token, and Refused for one that proves nothing."""
        return await self._oidc.verify(run_token(request), self._audience, self._clock.now())

    async def attempt(self, request: web.Request, fence: int, *, published: str | None = None) -> Attempt:
        """The attempt of the caller; `published` as `Publishing.publisher` takes it, which also says what it raises."""
        return await self.attempt_of(await self.identity(request), request, fence, published=published)

    async def attempt_of(
        self, who: RunIdentity, request: web.Request, fence: int, *, published: str | None = None
    ) -> Attempt:
        """The attempt that the address names, if this run works on it."""
        attempt = await self._publishing.publisher(who, request.match_info["attempt"], fence, published=published)
        structlog.contextvars.bind_contextvars(key=str(attempt.key))
        return attempt


class PublishingApi:
    """The routes that publishing jobs alone use."""

    def __init__(self, job: PublishingJob, publishing: Publishing, runs: RunService, clock: Clock) -> None:
        self._job = job
        self._publishing = publishing
        self._runs = runs
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(f"{ATTEMPT}/publish-token", self.publish_token),
            web.post(f"{ATTEMPT}/published", self.published),
            web.post(f"{ATTEMPT}/withheld", self.withheld),
            web.post(f"{ATTEMPT}/refused", self.refused),
        ]

    async def publish_token(self, request: web.Request) -> web.Response:
        body = await body_of(request, PublishBody)
        who = await self._job.identity(request)
        attempt = await self._job.attempt_of(who, request, body.fence)
        grant = await self._publishing.publish_token(attempt, who.check_run_id, body.bundle_digest, body.asker)
        return answer(
            {
                "token": grant.token,
                "expires_at": grant.expires_at.isoformat(),
                "repo_url": grant.repo_url,
                "branch": grant.branch,
            }
        )

    async def published(self, request: web.Request) -> web.Response:
        body = await body_of(request, PublishedBody)
        attempt = await self._job.attempt(request, body.fence, published=body.head_sha)
        if not attempt.live:
            return answer({})
        gate = attempt.gate_report
        await self._runs.report(
            attempt.id,
            body.fence,
            WorkerReport(
                succeeded=True,
                at=self._clock.now(),
                summary=gate.summary if gate is not None else "",
                head_sha=body.head_sha,
                isolation=gate.isolation if gate is not None else None,
                doubts=doubts_told(body.doubts, gate.doubts if gate is not None else ()),
            ),
            final=True,
        )
        return answer({})

    async def withheld(self, request: web.Request) -> web.Response:
        body = await body_of(request, WithheldBody, MAX_REPORT)
        attempt = await self._job.attempt(request, body.fence)
        gate = attempt.gate_report
        report = WorkerReport(
            succeeded=False,
            at=self._clock.now(),
            summary=gate.summary if gate is not None else "",
            bundle_digest=body.bundle_digest,
            doubts=doubts_told(body.doubts, gate.doubts if gate is not None else ()),
        )
        shown = ShownResult(difference_told(body.diff), body.files, body.insertions, body.deletions)
        await self._publishing.withhold(attempt, report, shown)
        return answer({})

    async def refused(self, request: web.Request) -> web.Response:
        body = await body_of(request, RefusedBody)
        attempt = await self._job.attempt(request, body.fence)
        report = WorkerReport(
            False, self._clock.now(), reason_of(body.reason) or FailureReason.QUALITY_GATE, told(body.detail)
        )
        await self._runs.report(attempt.id, body.fence, report, final=True)
        return answer({})


def run_token(request: web.Request) -> str:
    """What a run sends to prove itself. Raises ApiProblem when there is nothing."""
    token = bearer(request)
    if not token:
        raise ApiProblem(Code.UNAUTHENTICATED, "Send `Authorization: Bearer <token>`.")
    return token


def is_oidc(token: str) -> bool:
    """Whether this has the form of an OIDC token; what we make ourselves has no dots."""
    return token.count(".") == 2


DESCRIBED = (
    Row(
        "POST",
        f"{ATTEMPT}/publish-token",
        (Caller.PUBLISH,),
        "The write token of the attempt, for one asker and the bundle that the agent's job reported.",
        {200: Granted},
        body=PublishBody,
        example=Example(
            {
                "fence": 1,
                "asker": "tgp_" + "0" * 48,
                "bundle_digest": "0" * 64,
                "head_sha": "1" * 40,
                "base_sha": "2" * 40,
            }
        ),
    ),
    Row(
        "POST",
        f"{ATTEMPT}/published",
        (Caller.PUBLISH,),
        "The branch was pushed at this commit.",
        {200: Noted},
        body=PublishedBody,
        example=Example({"fence": 1, "head_sha": "1" * 40}),
    ),
    Row(
        "POST",
        f"{ATTEMPT}/withheld",
        (Caller.PUBLISH,),
        "The result is good and lies with the bot; it waits until somebody has looked at it. The attempt ends.",
        {200: Noted},
        body=WithheldBody,
        example=Example({"fence": 1, "bundle_digest": "0" * 64, "diff": "+hello\n", "files": 1, "insertions": 1}),
    ),
    Row(
        "POST",
        f"{ATTEMPT}/refused",
        (Caller.PUBLISH,),
        "The gate refused the bundle.",
        {200: Noted},
        body=RefusedBody,
        example=Example({"fence": 1, "reason": "quality.gate", "detail": "A file is larger than a megabyte."}),
    ),
)
