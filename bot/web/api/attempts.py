"""`/api/v1/attempts/{attempt}/complete` and `…/fail`: the last word of a session or a pull worker.

Who may call: whoever holds the attempt's token; nobody else. Every call names the fence, and may be repeated when the
answer was lost.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec
from aiohttp import web

from bot.backlog import Listed
from bot.domain.sanitise import for_comment, redact
from bot.endings import Endings, Settled
from bot.web.api.bodies import answer, body_of
from bot.web.api.callers import bearer
from bot.web.api.described import ATTEMPT, SHOWN_ATTEMPT, Caller, Example, Row
from bot.web.api.problems import ApiProblem, Code
from bot.web.api.run_forms import RetryAt, SessionId, UsageBody
from bot.web.api.run_words import MAX_WORDS, usage_of

MAX_LOG = 100_000
"""Characters of a log that are kept: its end, where the trouble is."""

MAX_BODY = 1_000_000
"""Bytes of a failure with its log; a longer log is cut where it is made."""

Words = Annotated[str, msgspec.Meta(max_length=MAX_WORDS)]


class CompleteBody(msgspec.Struct, forbid_unknown_fields=True):
    """`evidence`: a person's word, with the reason, that the item is done without a change."""

    fence: int
    evidence: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_WORDS)] | None = None


class FailBody(msgspec.Struct, forbid_unknown_fields=True):
    """`reason` is a code of the failure table. `retryable` overrides what the code means. Of a log the end is kept."""

    fence: int
    reason: str
    message: Words = ""
    retryable: bool | None = None
    log: str | None = None
    usage: UsageBody | None = None
    retry_at: RetryAt | None = None
    session_id: SessionId | None = None


class QueueCompleteBody(CompleteBody, forbid_unknown_fields=True, kw_only=True):
    """The same with the attempt."""

    attempt: str


class QueueFailBody(FailBody, forbid_unknown_fields=True, kw_only=True):
    """The same with the attempt."""

    attempt: str


class Ended(msgspec.Struct):
    """What became of the item; `text` says it for people, a retry starts no earlier than `due_at`."""

    text: str
    item: Listed
    due_at: datetime | None


class AttemptsApi:
    """The routes that end an attempt."""

    def __init__(self, endings: Endings) -> None:
        self._endings = endings

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post(f"{ATTEMPT}/complete", self.complete),
            web.post(f"{ATTEMPT}/fail", self.fail),
            web.post("/api/v1/queue/complete", self.queue_complete),
            web.post("/api/v1/queue/fail", self.queue_fail),
        ]

    async def complete(self, request: web.Request) -> web.Response:
        token = attempt_token(request)
        body = await body_of(request, CompleteBody)
        return await self.completed(request.match_info["attempt"], token, body.fence, body.evidence)

    async def queue_complete(self, request: web.Request) -> web.Response:
        token = attempt_token(request)
        body = await body_of(request, QueueCompleteBody)
        return await self.completed(body.attempt, token, body.fence, body.evidence)

    async def queue_fail(self, request: web.Request) -> web.Response:
        token = attempt_token(request)
        body = await body_of(request, QueueFailBody, MAX_BODY)
        return await self.failed(body.attempt, token, body)

    async def completed(self, attempt: str, token: str, fence: int, evidence: str | None) -> web.Response:
        """The answer to "it is done"."""
        said = None if evidence is None else redact(for_comment(evidence))
        return _ended(await self._endings.complete(attempt, token, fence, said))

    async def fail(self, request: web.Request) -> web.Response:
        token = attempt_token(request)
        body = await body_of(request, FailBody, MAX_BODY)
        return await self.failed(request.match_info["attempt"], token, body)

    async def failed(self, attempt: str, token: str, body: FailBody) -> web.Response:
        """The answer to "it failed"."""
        message = redact(for_comment(body.message))
        return _ended(
            await self._endings.fail(
                attempt,
                token,
                body.fence,
                body.reason,
                message,
                retryable=body.retryable,
                log=_kept(body.log),
                usage=usage_of(body.usage),
                retry_at=body.retry_at,
                session_id=body.session_id,
            )
        )


def attempt_token(request: web.Request) -> str:
    """The attempt's token of the request. Whether it is good is decided where the attempt is read."""
    token = bearer(request)
    if not token:
        raise ApiProblem(Code.UNAUTHENTICATED, "Send `Authorization: Bearer tga_…`, the token of the attempt.")
    return token


def _kept(log: str | None) -> str | None:
    """The end of the log, without anything that looks like a secret."""
    return None if not log else redact(log)[-MAX_LOG:]


def _ended(settled: Settled) -> web.Response:
    return answer(Ended(settled.text, settled.item, settled.due_at))


DESCRIBED = (
    Row(
        "POST",
        f"{ATTEMPT}/complete",
        (Caller.ATTEMPT,),
        "The work is done. A session's branch must be on GitHub with commits, and a plan's `implementation.md` on it; "
        "what is missing is named, and nothing is lost. `evidence`: the word of a person who may merge that no code is "
        "needed.",
        answers={200: Ended},
        body=CompleteBody,
        problems=(Code.REFUSED, Code.UPSTREAM, Code.LIMITED),
        example=Example(body={"fence": 1}),
    ),
    Row(
        "POST",
        f"{ATTEMPT}/fail",
        (Caller.ATTEMPT,),
        "The work failed, for a reason of the failure table. Whether it is tried again follows from the reason, unless "
        "`retryable` says so.",
        answers={200: Ended},
        body=FailBody,
        example=Example(body={"fence": 1, "reason": "agent.crash", "message": "It ran out of memory."}),
    ),
    Row(
        "POST",
        "/api/v1/queue/complete",
        (Caller.ATTEMPT,),
        "The same as `complete` of the attempt.",
        answers={200: Ended},
        body=QueueCompleteBody,
        problems=(Code.REFUSED, Code.UPSTREAM, Code.LIMITED),
        example=Example(body={"attempt": SHOWN_ATTEMPT, "fence": 1}),
    ),
    Row(
        "POST",
        "/api/v1/queue/fail",
        (Caller.ATTEMPT,),
        "The same as `fail` of the attempt.",
        answers={200: Ended},
        body=QueueFailBody,
        example=Example(body={"attempt": SHOWN_ATTEMPT, "fence": 1, "reason": "agent.crash"}),
    ),
)
