"""`/api/v1` for runs: activate, hand over, heartbeat, report, publish.

Who may call: `activate` and the publishing calls need the OIDC token of a run of our workflow on the default branch,
each used once; `handoff` needs the single-use code of the attempt; the rest needs the attempt's own token. Nobody
else may call anything here. Every call may be repeated by its caller when the answer was lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from aiohttp import web

from bot.domain.attempt import Attempt, ShownResult, WorkerReport
from bot.domain.attempting import HEARTBEAT, handed_in
from bot.domain.bundle import ContextBundle
from bot.domain.failures import bounded_reset
from bot.domain.identity import RunIdentity
from bot.domain.model import FailureReason
from bot.domain.questions import AskedQuestion, Choice, QuestionStatus
from bot.domain.sanitise import for_comment, redact, visible
from bot.protocols.clock import Clock
from bot.run_service import RunService
from bot.web.api.bodies import answer, body_of, query_of
from bot.web.api.described import ATTEMPT, SHOWN_ATTEMPT, Caller, Example, Row
from bot.web.api.problems import ApiProblem, Code
from bot.web.api.run_forms import (
    EXAMPLE_CODE,
    EXAMPLE_TOKEN,
    ActivateBody,
    Activated,
    Answers,
    AskBody,
    AskedView,
    ContextQuery,
    Granted,
    HandedOver,
    HandoffBody,
    Heard,
    HeartbeatBody,
    Noted,
    PublishBody,
    PublishedBody,
    QuestionBody,
    RefusedBody,
    ReportBody,
    ScanStarted,
    WithheldBody,
    doubts_told,
    usage_of,
)
from bot.web.oidc import OidcVerifier

MAX_REPORT = 400_000
"""Bytes of a report: the largest are those with many long questions."""

MAX_WORDS = 8_000
"""Characters of a text of a worker; more would not be read in a comment."""


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
        return [
            web.post("/api/v1/runs/activate", self.activate),
            web.post("/api/v1/runs/scan", self.scan),
            web.post(f"{ATTEMPT}/handoff", self.handoff),
            web.get(f"{ATTEMPT}/context", self.context),
            web.post(f"{ATTEMPT}/heartbeat", self.heartbeat),
            web.post(f"{ATTEMPT}/ask", self.ask),
            web.post(f"{ATTEMPT}/report", self.report),
            web.post(f"{ATTEMPT}/publish-token", self.publish_token),
            web.post(f"{ATTEMPT}/published", self.published),
            web.post(f"{ATTEMPT}/withheld", self.withheld),
            web.post(f"{ATTEMPT}/refused", self.refused),
        ]

    async def activate(self, request: web.Request) -> web.Response:
        who = await self._oidc.verify(_bearer(request), self._start_audience, self._clock.now())
        body = await body_of(request, ActivateBody)
        attempt = await self._service.activate(who, body.claim_id, body.issue, body.handoff)
        if attempt is None:
            return web.Response(status=204)
        return answer(
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
        return answer({"repository": repo.full_name})

    async def handoff(self, request: web.Request) -> web.Response:
        body = await body_of(request, HandoffBody)
        attempt = await self._service.hand_over(request.match_info["attempt"], body.fence, body.code, body.token)
        context = await self._service.context(attempt)
        return answer({"context": context.model_dump(mode="json"), "heartbeat_seconds": HEARTBEAT.total_seconds()})

    async def context(self, request: web.Request) -> web.Response:
        if _bearer(request).count(".") == 2:
            attempt = await self._publishing(request, query_of(request, ContextQuery).fence)
        else:
            attempt = await self._own(request)
        context = await self._service.context(attempt)
        return answer(context.model_dump(mode="json"))

    async def heartbeat(self, request: web.Request) -> web.Response:
        attempt = await self._own(request)
        body = await body_of(request, HeartbeatBody)
        progress = None
        if body.progress is not None:
            p = body.progress
            progress = (max(p.step, 0), max(p.total, 0), _words(p.text)[:200])
        beat = await self._service.heartbeat(attempt.id, body.fence, progress, body.heard)
        return answer(
            {
                "lease_until": beat.lease_until.isoformat(),
                "cancel": beat.cancel,
                "steer": list(beat.steer),
                "drain": beat.drain,
                "steer_seq": beat.steer_seq,
            }
        )

    async def ask(self, request: web.Request) -> web.Response:
        attempt = await self._own(request)
        body = await body_of(request, AskBody, MAX_REPORT)
        asked = questions_of(body.questions)

        def gone() -> bool:
            return request.transport is None or request.transport.is_closing()

        found = await self._service.ask(attempt.id, body.fence, asked, body.wait, gone)
        answered = len(found) == len(asked) and all(q.status is QuestionStatus.ANSWERED for q in found)
        shown = [AskedView(q.asked.id, q.number, q.status.value, list(q.answer)) for q in found]
        return answer(Answers(answered, shown))

    async def report(self, request: web.Request) -> web.Response:
        token = _bearer(request)
        body = await body_of(request, ReportBody, MAX_REPORT)
        asked = questions_of(body.asked)
        if token.count(".") == 2:
            attempt, final = await self._publishing(request, body.fence), True
        else:
            attempt, final = await self._own(request), False
        await self._service.report(
            attempt.id,
            body.fence,
            WorkerReport(
                succeeded=body.succeeded and not final and not asked,
                at=self._clock.now(),
                reason=_reason(body.reason),
                detail=_words(body.detail),
                summary=_words(body.summary),
                bundle_digest=body.bundle_digest,
                isolation=body.isolation,
                asked=() if final else asked,
                session_id=body.session_id,
                usage=usage_of(body.usage),
                retry_at=bounded_reset(body.retry_at, self._clock.now()),
                prompt=body.prompt,
                doubts=doubts_told(body.doubts),
            ),
            final=final,
        )
        return answer({})

    async def publish_token(self, request: web.Request) -> web.Response:
        body = await body_of(request, PublishBody)
        who = await self._publisher(request)
        attempt = await self._attempt_of(who, request, body.fence)
        grant = await self._service.publish_token(attempt, who.check_run_id, body.bundle_digest, body.asker)
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
        attempt = await self._publishing(request, body.fence, published=body.head_sha)
        if not attempt.live:
            return answer({})
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
                doubts=doubts_told(body.doubts, gate.doubts if gate is not None else ()),
            ),
            final=True,
        )
        return answer({})

    async def withheld(self, request: web.Request) -> web.Response:
        body = await body_of(request, WithheldBody, MAX_REPORT)
        attempt = await self._publishing(request, body.fence)
        gate = attempt.gate_report
        report = WorkerReport(
            succeeded=False,
            at=self._clock.now(),
            summary=gate.summary if gate is not None else "",
            bundle_digest=body.bundle_digest,
            doubts=doubts_told(body.doubts, gate.doubts if gate is not None else ()),
        )
        shown = ShownResult(redact(visible(body.diff)), body.files, body.insertions, body.deletions)
        await self._service.withhold(attempt, report, shown)
        return answer({})

    async def refused(self, request: web.Request) -> web.Response:
        body = await body_of(request, RefusedBody)
        attempt = await self._publishing(request, body.fence)
        report = WorkerReport(
            False, self._clock.now(), _reason(body.reason) or FailureReason.QUALITY_GATE, _words(body.detail)
        )
        await self._service.report(attempt.id, body.fence, report, final=True)
        return answer({})

    async def _own(self, request: web.Request) -> Attempt:
        attempt = await self._service.authenticate(request.match_info["attempt"], _bearer(request))
        structlog.contextvars.bind_contextvars(key=str(attempt.key))
        return attempt

    async def _publishing(self, request: web.Request, fence: int, *, published: str | None = None) -> Attempt:
        return await self._attempt_of(await self._publisher(request), request, fence, published=published)

    async def _publisher(self, request: web.Request) -> RunIdentity:
        return await self._oidc.verify(_bearer(request), self._publish_audience, self._clock.now())

    async def _attempt_of(
        self, who: RunIdentity, request: web.Request, fence: int, *, published: str | None = None
    ) -> Attempt:
        attempt = await self._service.publisher(who, request.match_info["attempt"], fence, published=published)
        structlog.contextvars.bind_contextvars(key=str(attempt.key))
        return attempt


def _bearer(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise ApiProblem(Code.UNAUTHENTICATED, "Send `Authorization: Bearer <token>`.")
    return token.strip()


def _reason(text: str | None) -> FailureReason | None:
    """An unknown reason of a newer worker is a crash: it must not be lost."""
    if text is None:
        return None
    try:
        return FailureReason(text)
    except ValueError:
        return FailureReason.AGENT_CRASH


def questions_of(bodies: Sequence[QuestionBody]) -> tuple[AskedQuestion, ...]:
    """The questions as they are kept: nothing invisible, no secrets, no default that is no choice.

    Raises ApiProblem for two of one id and for one without words.
    """
    if len({body.id for body in bodies}) != len(bodies):
        raise ApiProblem(Code.INVALID, "Two questions have the same id.")
    found: list[AskedQuestion] = []
    for body in bodies:
        text = _kept(body.text)
        if not text:
            raise ApiProblem(Code.INVALID, f"Question {body.id!r} has no words.")
        choices = {_kept(choice.label): _kept(choice.description) for choice in body.choices}
        default = None if body.default is None else _kept(body.default)
        found.append(
            AskedQuestion(
                body.id,
                text,
                _kept(body.header),
                tuple(Choice(label, description) for label, description in choices.items() if label),
                body.several,
                default if default in choices else None,
            )
        )
    return tuple(found)


def _kept(text: str) -> str:
    return redact(visible(text)).strip()


def _words(text: str) -> str:
    return redact(for_comment(text[:MAX_WORDS]))


DESCRIBED = (
    Row(
        "POST",
        "/api/v1/runs/activate",
        (Caller.START,),
        "Bind the run to its claim, start the lease, note the code for the agent's job. 204: there is nothing to do.",
        {200: Activated, 204: None},
        body=ActivateBody,
        example=Example({"handoff": EXAMPLE_CODE, "claim_id": SHOWN_ATTEMPT}),
    ),
    Row(
        "POST",
        "/api/v1/runs/scan",
        (Caller.SCAN,),
        "Look at the run's repository again, as a webhook would make the bot do. Asking twice changes nothing.",
        {200: ScanStarted},
        example=Example(),
    ),
    Row(
        "POST",
        f"{ATTEMPT}/handoff",
        (Caller.CODE,),
        "From now on this token speaks for the attempt; the answer is the context.",
        {200: HandedOver},
        body=HandoffBody,
        example=Example({"fence": 1, "code": EXAMPLE_CODE, "token": EXAMPLE_TOKEN}),
    ),
    Row(
        "GET",
        f"{ATTEMPT}/context",
        (Caller.ATTEMPT, Caller.PUBLISH),
        "What the worker is told. The publishing job names the fence.",
        {200: ContextBundle},
        query=ContextQuery,
        example=Example(),
    ),
    Row(
        "POST",
        f"{ATTEMPT}/heartbeat",
        (Caller.ATTEMPT,),
        "Extend the lease; the answer says whether to stop.",
        {200: Heard},
        body=HeartbeatBody,
        example=Example({"fence": 1, "progress": {"step": 2, "total": 5, "text": "Write the tests"}}),
    ),
    Row(
        "POST",
        f"{ATTEMPT}/ask",
        (Caller.ATTEMPT,),
        "Ask people on the issue while the work goes on, and wait for the answers for a while. Who asks the same "
        "again waits on. To wait longer without a machine, end with a report that asks the same.",
        {200: Answers},
        body=AskBody,
        example=Example({"fence": 1, "questions": [{"id": "name", "text": "Which name?"}], "wait": 0}),
    ),
    Row(
        "POST",
        f"{ATTEMPT}/report",
        (Caller.ATTEMPT, Caller.PUBLISH),
        "Say how the work ended, or with `asked` that people must answer first. From the publishing job only failures "
        "are taken.",
        {200: Noted},
        body=ReportBody,
        example=Example(
            {"fence": 1, "succeeded": True, "summary": "Added it.", "bundle_digest": "0" * 64, "isolation": "user"}
        ),
    ),
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
