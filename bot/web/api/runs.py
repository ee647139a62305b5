"""`/api/v1` for runs: activate, hand over, heartbeat, ask, report.

Who may call: `activate` and `scan` need the OIDC token of a run of our workflow on the default branch, each used once;
`handoff` needs the single-use code of the attempt; the rest needs the attempt's own token, and for `context` and
`report` the token of the publishing job will do. Nobody else may call anything here. Every call may be repeated by its
caller when the answer was lost.
"""

from __future__ import annotations

import structlog
from aiohttp import web

from bot.domain.attempt import Attempt, WorkerReport
from bot.domain.attempting import HEARTBEAT, handed_in
from bot.domain.bundle import ContextBundle
from bot.domain.failures import bounded_reset
from bot.domain.questions import QuestionStatus
from bot.inline_asking import InlineAsking
from bot.protocols.clock import Clock
from bot.run_service import RunService
from bot.web.api.bodies import answer, body_of, query_of
from bot.web.api.described import ATTEMPT, SHOWN_ATTEMPT, Caller, Example, Row
from bot.web.api.publishing import PublishingJob, is_oidc, run_token
from bot.web.api.run_forms import (
    EXAMPLE_CODE,
    EXAMPLE_TOKEN,
    ActivateBody,
    Activated,
    Answers,
    AskBody,
    AskedView,
    ContextQuery,
    HandedOver,
    HandoffBody,
    Heard,
    HeartbeatBody,
    Noted,
    ReportBody,
    ScanStarted,
)
from bot.web.api.run_words import MAX_REPORT, doubts_told, opinion_told, questions_of, reason_of, told, usage_of
from bot.web.oidc import OidcVerifier


class Runs:
    """The routes that runs use."""

    def __init__(
        self,
        service: RunService,
        asking: InlineAsking,
        job: PublishingJob,
        oidc: OidcVerifier,
        clock: Clock,
        public_url: str,
    ) -> None:
        self._service = service
        self._asking = asking
        self._job = job
        self._oidc = oidc
        self._clock = clock
        self._start_audience = f"{public_url}/start"
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
        ]

    async def activate(self, request: web.Request) -> web.Response:
        who = await self._oidc.verify(run_token(request), self._start_audience, self._clock.now())
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
        who = await self._oidc.verify(run_token(request), self._scan_audience, self._clock.now())
        repo = await self._service.scan(who)
        return answer({"repository": repo.full_name})

    async def handoff(self, request: web.Request) -> web.Response:
        body = await body_of(request, HandoffBody)
        attempt = await self._service.hand_over(request.match_info["attempt"], body.fence, body.code, body.token)
        context = await self._service.context(attempt)
        return answer({"context": context.model_dump(mode="json"), "heartbeat_seconds": HEARTBEAT.total_seconds()})

    async def context(self, request: web.Request) -> web.Response:
        if is_oidc(run_token(request)):
            attempt = await self._job.attempt(request, query_of(request, ContextQuery).fence)
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
            progress = (max(p.step, 0), max(p.total, 0), told(p.text)[:200])
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

        found = await self._asking.ask(attempt.id, body.fence, asked, body.wait, gone)
        answered = len(found) == len(asked) and all(q.status is QuestionStatus.ANSWERED for q in found)
        shown = [AskedView(q.asked.id, q.number, q.status.value, list(q.answer)) for q in found]
        return answer(Answers(answered, shown))

    async def report(self, request: web.Request) -> web.Response:
        token = run_token(request)
        body = await body_of(request, ReportBody, MAX_REPORT)
        asked = questions_of(body.asked)
        if is_oidc(token):
            attempt, final = await self._job.attempt(request, body.fence), True
        else:
            attempt, final = await self._own(request), False
        await self._service.report(
            attempt.id,
            body.fence,
            WorkerReport(
                succeeded=body.succeeded and not final and not asked,
                at=self._clock.now(),
                reason=reason_of(body.reason),
                detail=told(body.detail),
                summary=told(body.summary),
                bundle_digest=body.bundle_digest,
                isolation=body.isolation,
                asked=() if final else asked,
                session_id=body.session_id,
                usage=usage_of(body.usage),
                retry_at=bounded_reset(body.retry_at, self._clock.now()),
                prompt=body.prompt,
                doubts=doubts_told(body.doubts),
                opinion=opinion_told(body.opinion),
            ),
            final=final,
        )
        return answer({})

    async def _own(self, request: web.Request) -> Attempt:
        attempt = await self._service.authenticate(request.match_info["attempt"], run_token(request))
        structlog.contextvars.bind_contextvars(key=str(attempt.key))
        return attempt


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
)
