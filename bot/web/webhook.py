"""`POST /webhook`: verify, read, store, then answer. Nothing else happens in the request.

Promises: a 202 is sent only after the inbox committed (or because there was nothing to commit); a request without
a valid SHA-256 signature over its raw bytes has no effect; a body is never read beyond `MAX_BODY`; no answer
repeats anything of the payload. When the store cannot commit the answer is 503, so GitHub lists the delivery as
failed and it can be asked for again.

Races it knows: the same delivery may arrive twice at once, and the inbox lets one of them in; a commit whose
answer was lost is met again as a repeated delivery. Deliveries come in any order; nothing here depends on it.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus

import msgspec
import structlog
from aiohttp import web

from bot.domain.intake import Intake
from bot.metrics import OTHER, DeliveryOutcome, Metrics
from bot.protocols.github import Secret
from bot.protocols.ledger import Inbox
from handlers import REGISTRY, Reader

MAX_BODY = 25 * 1024 * 1024
"""Bytes. GitHub does not send larger payloads; the cap holds before anything is hashed."""
READ_SECONDS = 10.0
"""A body must arrive within this time: GitHub itself gives up after ten seconds."""
RETRY_SECONDS = 30
"""`Retry-After` of a 503: time for a restart or a fail-over of the database."""
KEPT_BODIES = frozenset({"issues", "issue_comment"})
"""Events whose text matters later; all other bodies are dropped after reading."""

JSON = "application/json"

_DELIVERY = re.compile(r"[0-9A-Za-z_.:-]{1,100}")
_EVENT = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}")

_JSON = {"Content-Type": JSON}
_ANSWERS = {outcome: msgspec.json.encode({"outcome": outcome.value}) for outcome in DeliveryOutcome}

log = structlog.get_logger(__name__)
_LEVELS = logging.getLogger(__name__)


class _Refusal(Exception):
    """The request ends here, with this status and one sentence for the person who looks at the delivery."""

    def __init__(self, outcome: DeliveryOutcome, status: HTTPStatus, detail: str) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.status = status
        self.detail = detail


class Webhook:
    """The endpoint. `serves` says whether an account (by id) is one of ours; `self_id` our bot user's id, or None
    while it is not known; `now` is Unix time in seconds; `on_stored` wakes the router after a commit.

    Raises ValueError when there is no secret: an unsigned webhook would let anybody start work.
    """

    def __init__(
        self,
        *,
        inbox: Inbox,
        secrets: Sequence[Secret],
        serves: Callable[[int], bool],
        self_id: Callable[[], int | None],
        metrics: Metrics,
        now: Callable[[], float] = time.time,
        on_stored: Callable[[], None] = lambda: None,
        registry: Mapping[str, Reader] = REGISTRY,
    ) -> None:
        self._keys = tuple(secret.get_secret_value().encode() for secret in secrets)
        if not self._keys or not all(self._keys):
            raise ValueError("a webhook needs at least one secret, and none may be empty")
        self._inbox = inbox
        self._serves = serves
        self._self_id = self_id
        self._metrics = metrics
        self._now = now
        self._on_stored = on_stored
        self._registry = registry

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/webhook", self.receive)]

    async def receive(self, request: web.Request) -> web.Response:
        """Answers 200/202, or 400, 401, 408, 413, 503 with a problem document that says what was wrong."""
        started = time.perf_counter()
        event = request.headers.get("X-GitHub-Event", "")
        delivery = request.headers.get("X-GitHub-Delivery", "")
        try:
            outcome = await self._take(request, event, delivery)
        except _Refusal as refusal:
            outcome = refusal.outcome
            log.warning(
                "delivery refused",
                outcome=outcome.value,
                detail=refusal.detail,
                delivery=delivery[:100],
                webhook=event[:64],
            )
            response = _problem(refusal)
        else:
            if _LEVELS.isEnabledFor(logging.DEBUG):  # binding fields costs more than most of what else is done here
                log.debug("delivery taken", outcome=outcome.value, delivery=delivery, webhook=event)
            status = HTTPStatus.OK if outcome is DeliveryOutcome.PING else HTTPStatus.ACCEPTED
            response = web.Response(body=_ANSWERS[outcome], status=status, headers=_JSON)
        self._metrics.delivery_answered(
            event if event in self._registry else OTHER, outcome, time.perf_counter() - started
        )
        return response

    async def _take(self, request: web.Request, event: str, delivery: str) -> DeliveryOutcome:
        for name, value, form in (("X-GitHub-Event", event, _EVENT), ("X-GitHub-Delivery", delivery, _DELIVERY)):
            if form.fullmatch(value) is None:
                raise _malformed(f"The header {name} is missing or has a wrong form.")
        body = await _read(request)
        self._verify(request.headers.get("X-Hub-Signature-256", ""), body)
        if request.headers.get("Content-Type") != JSON and request.content_type != JSON:
            raise _malformed("Set the content type of the webhook to application/json in the App's settings.")
        reader = self._registry.get(event)
        if reader is None:
            return DeliveryOutcome.IGNORED
        try:
            action, intake = reader.read(body, self._self_id())
        except msgspec.DecodeError as error:
            raise _malformed(f"The payload is not what {event} events look like: {error}") from error
        except UnicodeDecodeError as error:
            raise _malformed("The payload is not UTF-8 text.") from error
        except RecursionError as error:
            raise _malformed("The payload is nested too deeply.") from error
        if event == "ping":
            return DeliveryOutcome.PING
        if not self._served(intake):
            return DeliveryOutcome.NOT_SERVED
        return await self._store(delivery, event, action, intake, body)

    def _verify(self, signature: str, body: bytes) -> None:
        """Every secret is tried, so that the time taken does not tell which one signed."""
        given = signature.strip().lower()
        if _SIGNATURE.fullmatch(given) is None:
            raise _Refusal(
                DeliveryOutcome.UNSIGNED,
                HTTPStatus.UNAUTHORIZED,
                "The header X-Hub-Signature-256 is missing or has a wrong form. Set a webhook secret in the App's "
                "settings; the older SHA-1 header is not accepted.",
            )
        claimed, valid = bytes.fromhex(given.removeprefix("sha256=")), False
        for key in self._keys:
            valid |= hmac.compare_digest(hmac.digest(key, body, "sha256"), claimed)
        if not valid:
            raise _Refusal(
                DeliveryOutcome.UNSIGNED,
                HTTPStatus.UNAUTHORIZED,
                "The signature does not match. The webhook secret of the App and of this server must be the same.",
            )

    def _served(self, intake: Intake) -> bool:
        """Events about installations are taken from everybody, so that the ledger knows who is there."""
        if intake.installation is not None:
            return True
        return all(self._serves(repo.owner_id) for repo in intake.repos)

    async def _store(
        self, delivery: str, event: str, action: str | None, intake: Intake, body: bytes
    ) -> DeliveryOutcome:
        kept = body if event in KEPT_BODIES and intake.touches else None
        try:
            new = await self._inbox.accept(delivery, event, action, intake, kept)
        except Exception as error:
            # Whatever the store raised: it is not on disk for sure, and only a 5xx says that.
            log.exception("delivery not stored", delivery=delivery, webhook=event)
            raise _Refusal(
                DeliveryOutcome.UNAVAILABLE,
                HTTPStatus.SERVICE_UNAVAILABLE,
                "The delivery could not be stored. It can be sent again.",
            ) from error
        if not new:
            return DeliveryOutcome.REPEATED
        self._metrics.last_delivery.set(self._now())
        self._on_stored()
        return DeliveryOutcome.ACCEPTED


def _malformed(detail: str) -> _Refusal:
    return _Refusal(DeliveryOutcome.MALFORMED, HTTPStatus.BAD_REQUEST, detail)


def _too_large() -> _Refusal:
    return _Refusal(
        DeliveryOutcome.TOO_LARGE,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"A payload may have {MAX_BODY} bytes at most.",
    )


async def _read(request: web.Request) -> bytes:
    """The raw body. The declared length is checked first, then what really arrives."""
    if request.content_length is not None and request.content_length > MAX_BODY:
        raise _too_large()
    if request.content.is_eof():
        # All of it is here already, as with most payloads: there is nothing to wait for.
        whole = request.content.read_nowait()
        if len(whole) > MAX_BODY:
            raise _too_large()
        return whole
    body = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY:
                    raise _too_large()
    except TimeoutError as error:
        raise _Refusal(
            DeliveryOutcome.TOO_SLOW, HTTPStatus.REQUEST_TIMEOUT, "The payload did not arrive in time."
        ) from error
    return bytes(body)


def _problem(refusal: _Refusal) -> web.Response:
    """An RFC 9457 problem document."""
    headers = {"Retry-After": str(RETRY_SECONDS)} if refusal.status is HTTPStatus.SERVICE_UNAVAILABLE else None
    return web.json_response(
        {
            "type": "about:blank",
            "title": refusal.status.phrase,
            "status": refusal.status.value,
            "detail": refusal.detail,
            "code": refusal.outcome.value,
        },
        status=refusal.status.value,
        headers=headers,
        content_type="application/problem+json",
    )
