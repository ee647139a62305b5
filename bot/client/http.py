"""Calls of a person's command line to the bot.

Promise: the token goes to the one configured server and nowhere else (redirects are errors), never over an unencrypted
line to another machine, and stands in no error. Every call carries an `X-Request-Id` of its own, which is named when
the server fails, so that its operator finds the call. What the server says is made harmless before it is shown.

Only reading is repeated, and only when no answer of the bot came: a repeated write could act twice. Errors: `UserError`
for what the person can mend, `Refused`, `Taken`, `LostClaim`, `Moved`, and `Unavailable` for everything on the way.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import aiohttp
from pydantic import SecretStr

from bot.client.backlog import Moved, Taken
from bot.client.plain import plain, unaddressed
from bot.domain.timestamps import parse_iso
from bot.domain.workers import WORKER_PREFIX
from bot.errors import LostClaim, Refused, TgsError, Unavailable, UserError
from bot.workflows import check_url

SECONDS: Final = 30.0
"""How long the server may take to answer; it asks GitHub for some of it."""
PAUSES: Final = (0.2, 0.6)
"""Seconds between repetitions of a read: a lost connection is back at once or not while somebody waits."""
MAX_ANSWER: Final = 10_000_000
"""Bytes; a backlog of some thousand items with their reasons."""
CLAIM: Final = "/api/v1/queue/claim"
"""What a worker token opens; from there on the claim's own secret is the credential."""
WORKER_ENDED: Final = (
    "The server does not take the worker token: it has ended, was revoked, or is of another server.",
    "An administrator makes a new one with `tgs worker token create NAME`.",
)
WORKER_MAY_NOT: Final = (
    "A worker token only claims items and settles what it claimed.",
    "For everything else set TGS_TOKEN or GH_TOKEN to a GitHub token of yours.",
)
ADVICE: Final = "Stop, and change nothing more. What you did is still in your files."

Query = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer: 200, 201, 202 or 204. `body` is empty for 204."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


class BotHttp:
    """The HTTP side of one server. `sleep` and `new_request` are arguments so that tests need no waiting."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        server_url: str,
        token: SecretStr | None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        new_request: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        """Raises UserError for an address that is neither https nor on this machine."""
        self._session = session
        self.server = check_url(server_url, "address in TGS_SERVER_URL")
        self._token = token
        self._sleep = sleep
        self._new_request = new_request

    async def get(self, path: str, query: Query = ()) -> Answer:
        """A read; repeated when no answer of the bot came."""
        for pause in PAUSES:
            try:
                return await self._once("GET", path, query, None, self._person())
            except _NoAnswer:
                await self._sleep(pause)
        return await self._once("GET", path, query, None, self._person())

    async def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Query = (),
        bearer: SecretStr | None = None,
    ) -> Answer:
        """A write, sent once. `bearer` is a claim's secret; else the person's token is sent."""
        try:
            return await self._once(method, path, query, body, bearer or self._person())
        except _NoAnswer as error:
            if error.nothing_sent:
                raise
            raise _NoAnswer(f"{error} Whether the call had an effect is unknown: look before you repeat it.") from None
        except _UnknownToken:
            if bearer is None:
                raise
            raise LostClaim(f"The server does not know this claim any more. {ADVICE}") from None

    def _person(self) -> SecretStr:
        if self._token is None:
            raise UserError(
                "No token is set.", "Set TGS_TOKEN or GH_TOKEN to a GitHub token that can read the repository."
            )
        return self._token

    async def _once(
        self, method: str, path: str, query: Query, body: Mapping[str, Any] | None, bearer: SecretStr
    ) -> Answer:
        request = self._new_request()
        headers = {"Authorization": f"Bearer {bearer.get_secret_value()}", "X-Request-Id": request}
        try:
            async with self._session.request(
                method,
                self.server + path,
                params=list(query),
                json=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=SECONDS),
            ) as answer:
                raw = await _read(answer)
                try:
                    return _judged(self.server, answer.status, raw, dict(answer.headers), request)
                except _UnknownToken:
                    if not bearer.get_secret_value().startswith(WORKER_PREFIX):
                        raise
                    raise _UnknownToken(*(WORKER_ENDED if path == CLAIM else WORKER_MAY_NOT)) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            away = _NoAnswer(
                f"The server at {self.server} cannot be reached ({type(error).__name__}). "
                "Check TGS_SERVER_URL, and that `tgs serve` runs there."
            )
            away.nothing_sent = isinstance(error, aiohttp.ClientConnectorError)
            raise away from None


class _NoAnswer(Unavailable):
    """Nothing came that the bot could have said, so a read may be repeated. `nothing_sent`: nor did anything arrive."""

    nothing_sent = False


class _UnknownToken(Refused):
    """401."""


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    raw = b""
    while len(raw) <= MAX_ANSWER and (more := await answer.content.read(MAX_ANSWER + 1 - len(raw))):
        raw += more
    return raw if len(raw) <= MAX_ANSWER else b""


def _judged(server: str, status: int, raw: bytes, headers: Mapping[str, str], request: str) -> Answer:
    """What an answer means. Raises as the module says."""
    if status == 204:
        return Answer(status, {}, headers)
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    good = status in {200, 201, 202}
    # Every trouble that the bot itself reports has a code; anything else answers under its address.
    if not isinstance(body, dict) or (not good and "code" not in body):
        kind = _NoAnswer if status in {502, 503, 504} else Unavailable
        raise kind(
            f"The server at {server} did not answer as the bot does (status {status}, request {request}). "
            "Check that TGS_SERVER_URL is the address of the bot.",
            status=status,
        )
    if good:
        return Answer(status, body, headers)
    raise _trouble(server, status, body, request)


def _trouble(server: str, status: int, body: Mapping[str, Any], request: str) -> TgsError:
    code, detail = str(body["code"]), unaddressed(plain(str(body.get("detail", ""))))
    if code == "taken":
        return Taken(
            detail or "Somebody else has it.",
            owner=plain(str(body.get("owner") or "somebody else")),
            lease_until=_when(body.get("lease_until")),
            remedy="Take another one with `--or-next`.",
        )
    if code == "lost_claim":
        said = _sentence(detail or "The claim is not yours any more")
        return LostClaim(f"{said} {ADVICE.partition('. ')[2] if 'stop' in said.lower() else ADVICE}")
    if status == 401:
        return _UnknownToken(
            "The server does not know the token.", "Set TGS_TOKEN or GH_TOKEN to a GitHub token that works."
        )
    if status == 403:
        return Refused(detail)
    if status in {409, 412}:
        return Moved(_sentence(detail or "It changed meanwhile; look again"))
    if 400 <= status < 500:
        if detail in {"Not Found", "Method Not Allowed"}:
            return UserError(
                f"The server at {server} does not know this request.", "It may be of an older version than this `tgs`."
            )
        return UserError(_sentence(detail or f"The server did not accept the request (status {status})"))
    return Unavailable(f"The server at {server} answered {status} (request {request}). {detail}", status=status)


def _when(value: object) -> datetime | None:
    try:
        return parse_iso(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _sentence(text: str) -> str:
    text = text.strip()
    return (text[:1].upper() + text[1:]).rstrip(".") + "."
