"""`/api/v1` for runs: activate, hand over, heartbeat, report, publish.

Who may call: `activate` and the publishing calls need the OIDC token of a run of our workflow on the default branch,
each used once; `handoff` needs the single-use code of the attempt; the rest needs the attempt's own token. Nobody
else may call anything here. Every call may be repeated by its caller when the answer was lost.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
import structlog
from aiohttp import web

from bot.domain.attempt import Attempt, WorkerReport
from bot.domain.attempting import HEARTBEAT, handed_in
from bot.domain.identity import RunSecret, secret_pattern
from bot.domain.model import FailureReason
from bot.domain.sanitise import for_comment, redact
from bot.protocols.clock import Clock
from bot.run_service import RunService
from bot.web.api.problems import ApiProblem, Code
from bot.web.oidc import OidcVerifier

MAX_BODY = 256 * 1024
"""Bytes of a request; the largest is a report with its summary."""

MAX_WORDS = 8_000
"""Characters of a text of a worker; more would not be read in a comment."""

T = TypeVar("T")

HandoffCode = Annotated[str, msgspec.Meta(pattern=secret_pattern(RunSecret.HANDOFF))]
AttemptToken = Annotated[str, msgspec.Meta(pattern=secret_pattern(RunSecret.ATTEMPT))]
Asker = Annotated[str, msgspec.Meta(pattern=secret_pattern(RunSecret.PUBLISHER))]


class ActivateBody(msgspec.Struct, forbid_unknown_fields=True):
    handoff: HandoffCode
    claim_id: str | None = None
    issue: int | None = None


class HandoffBody(msgspec.Struct, forbid_unknown_fields=True):
    fence: int
    code: str
    token: AttemptToken


class ProgressBody(msgspec.Struct, forbid_unknown_fields=True):
    step: int
    total: int
    text: str


class HeartbeatBody(msgspec.Struct, forbid_unknown_fields=True):
    fence: int
    progress: ProgressBody | None = None


class ReportBody(msgspec.Struct, forbid_unknown_fields=True):
    fence: int
    succeeded: bool
    reason: str | None = None
    detail: str = ""
    summary: str = ""
    bundle_digest: str | None = None
    isolation: str | None = None


class PublishBody(msgspec.Struct, forbid_unknown_fields=True):
    fence: int
    asker: Asker
    bundle_digest: str
    head_sha: str
    base_sha: str
    files: int = 0
    insertions: int = 0
    deletions: int = 0
    deleted_tests: tuple[str, ...] = ()


class PublishedBody(msgspec.Struct, forbid_unknown_fields=True):
    fence: int
    head_sha: str


class RefusedBody(msgspec.Struct, forbid_unknown_fields=True):
    fence: int
    reason: str
    detail: str = ""


class Runs:
    """The routes that runs use."""

    def __init__(self, service: RunService, oidc: OidcVerifier, clock: Clock, public_url: str) -> None:
        self._service = service
        self._oidc = oidc
        self._clock = clock
        self._start_audience = f"{public_url}/start"
        self._publish_audience = f"{public_url}/publish"
        self._scan_audience = f"{public_url}/scan"

    def routes(self) -> list[web.RouteDef]:
        attempt = "/api/v1/attempts/{attempt}"
        return [
            web.post("/api/v1/runs/activate", self.activate),
            web.post("/api/v1/runs/scan", self.scan),
            web.post(f"{attempt}/handoff", self.handoff),
            web.get(f"{attempt}/context", self.context),
            web.post(f"{attempt}/heartbeat", self.heartbeat),
            web.post(f"{attempt}/report", self.report),
            web.post(f"{attempt}/publish-token", self.publish_token),
            web.post(f"{attempt}/published", self.published),
            web.post(f"{attempt}/refused", self.refused),
        ]

    async def activate(self, request: web.Request) -> web.Response:
        who = await self._oidc.verify(_bearer(request), self._start_audience, self._clock.now())
        body = await _body(request, ActivateBody)
        attempt = await self._service.activate(who, body.claim_id, body.issue, body.handoff)
        if attempt is None:
            return web.Response(status=204)
        return _json(
            {
                "attempt": attempt.id,
                "number": attempt.number,
                "fence": attempt.fence,
                "issue": attempt.key.number,
                "lease_until": attempt.lease_until.isoformat() if attempt.lease_until else None,
                "publish_only": handed_in(attempt),
                "bundle_digest": attempt.gate_report.bundle_digest if attempt.gate_report else None,
            }
        )

    async def scan(self, request: web.Request) -> web.Response:
        who = await self._oidc.verify(_bearer(request), self._scan_audience, self._clock.now())
        repo = await self._service.scan(who)
        return _json({"repository": repo.full_name})

    async def handoff(self, request: web.Request) -> web.Response:
        body = await _body(request, HandoffBody)
        attempt = await self._service.hand_over(request.match_info["attempt"], body.fence, body.code, body.token)
        context = await self._service.context(attempt)
        return _json({"context": context.model_dump(mode="json"), "heartbeat_seconds": HEARTBEAT.total_seconds()})

    async def context(self, request: web.Request) -> web.Response:
        if _bearer(request).count(".") == 2:
            fence = request.query.get("fence", "")
            attempt = await self._publishing(request, int(fence) if fence.isdecimal() else -1)
        else:
            attempt = await self._own(request)
        context = await self._service.context(attempt)
        return _json(context.model_dump(mode="json"))

    async def heartbeat(self, request: web.Request) -> web.Response:
        attempt = await self._own(request)
        body = await _body(request, HeartbeatBody)
        progress = None
        if body.progress is not None:
            p = body.progress
            progress = (max(p.step, 0), max(p.total, 0), _words(p.text)[:200])
        beat = await self._service.heartbeat(attempt.id, body.fence, progress)
        return _json(
            {
                "lease_until": beat.lease_until.isoformat(),
                "cancel": beat.cancel,
                "steer": list(beat.steer),
                "drain": beat.drain,
            }
        )

    async def report(self, request: web.Request) -> web.Response:
        token = _bearer(request)
        body = await _body(request, ReportBody)
        if token.count(".") == 2:
            attempt, final = await self._publishing(request, body.fence), True
        else:
            attempt, final = await self._own(request), False
        await self._service.report(
            attempt.id,
            body.fence,
            WorkerReport(
                succeeded=body.succeeded and not final,
                at=self._clock.now(),
                reason=_reason(body.reason),
                detail=_words(body.detail),
                summary=_words(body.summary),
                bundle_digest=body.bundle_digest,
                isolation=body.isolation,
            ),
            final=final,
        )
        return _json({})

    async def publish_token(self, request: web.Request) -> web.Response:
        body = await _body(request, PublishBody)
        attempt = await self._publishing(request, body.fence)
        grant = await self._service.publish_token(attempt, body.bundle_digest, body.asker)
        return _json(
            {
                "token": grant.token,
                "expires_at": grant.expires_at.isoformat(),
                "repo_url": grant.repo_url,
                "branch": grant.branch,
            }
        )

    async def published(self, request: web.Request) -> web.Response:
        body = await _body(request, PublishedBody)
        attempt = await self._publishing(request, body.fence, published=body.head_sha)
        if not attempt.live:
            return _json({})
        gate = attempt.gate_report
        await self._service.report(
            attempt.id,
            body.fence,
            WorkerReport(
                succeeded=True,
                at=self._clock.now(),
                summary=gate.summary if gate is not None else "",
                head_sha=body.head_sha,
                isolation=gate.isolation if gate is not None else None,
            ),
            final=True,
        )
        return _json({})

    async def refused(self, request: web.Request) -> web.Response:
        body = await _body(request, RefusedBody)
        attempt = await self._publishing(request, body.fence)
        report = WorkerReport(
            False, self._clock.now(), _reason(body.reason) or FailureReason.QUALITY_GATE, _words(body.detail)
        )
        await self._service.report(attempt.id, body.fence, report, final=True)
        return _json({})

    async def _own(self, request: web.Request) -> Attempt:
        attempt = await self._service.authenticate(request.match_info["attempt"], _bearer(request))
        structlog.contextvars.bind_contextvars(key=str(attempt.key))
        return attempt

    async def _publishing(self, request: web.Request, fence: int, *, published: str | None = None) -> Attempt:
        who = await self._oidc.verify(_bearer(request), self._publish_audience, self._clock.now())
        attempt = await self._service.publisher(who, request.match_info["attempt"], fence, published=published)
        structlog.contextvars.bind_contextvars(key=str(attempt.key))
        return attempt


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise ApiProblem(Code.UNAUTHENTICATED, "Send `Authorization: Bearer <token>`.")
    return token.strip()


async def _body(request: web.Request, form: type[T]) -> T:
    """The request's JSON. Raises ApiProblem that names the field."""
    raw = await request.content.read(MAX_BODY + 1)
    while len(raw) <= MAX_BODY and not request.content.at_eof():
        raw += await request.content.read(MAX_BODY + 1 - len(raw))
    if len(raw) > MAX_BODY:
        raise ApiProblem(Code.INVALID, f"The body is larger than {MAX_BODY} bytes.")
    try:
        return msgspec.json.decode(raw or b"{}", type=form)
    except msgspec.MsgspecError as error:
        raise ApiProblem(Code.INVALID, f"The body does not fit: {error}.") from None


def _reason(text: str | None) -> FailureReason | None:
    """An unknown reason of a newer worker is a crash: it must not be lost."""
    if text is None:
        return None
    try:
        return FailureReason(text)
    except ValueError:
        return FailureReason.AGENT_CRASH


def _words(text: str) -> str:
    return redact(for_comment(text[:MAX_WORDS]))


def _json(body: object) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), content_type="application/json", headers={"Cache-Control": "no-store"}
    )
