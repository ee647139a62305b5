"""The door to the model: the key stays with the worker, the agent gets an address on loopback and a token of one run.

Promise: only `POST /v1/messages` and `/v1/messages/count_tokens` pass, only with the token (compared in constant time),
only to the one configured address, without following redirects. The real credential is added here and is taken out of
whatever comes back with an error. Bodies, requests at once, requests in all and what they may cost are bounded. What
passes is counted, so that a failure can be told from a spent quota, with the time at which the quota is filled again.

The bound of cost is a fence behind the agent's own count, which knows prices better: tokens at a family's list price,
and `COST_FACTOR` times the budget. A hostile agent that calls the door by itself meets it.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from pydantic import SecretStr

from bot.domain.usage import Usage
from bot.errors import UserError

DEFAULT_URL: Final = "https://api.anthropic.com"
PATHS: Final = ("/v1/messages", "/v1/messages/count_tokens")
MAX_BODY: Final = 40 << 20  # bytes; the API itself takes 32 MB
MAX_ERROR: Final = 64 << 10  # bytes of an error that are passed on
MAX_EVENT: Final = 1 << 20  # bytes of one line of a stream that are looked at for usage
AT_ONCE: Final = 16  # requests; the main loop and a handful of subagents
COST_FACTOR: Final = 4.0  # list prices here are rough: the fence must never stop honest work within its budget
SILENCE_SECONDS: Final = 600.0  # the longest a model thinks without a byte
CONNECT_SECONDS: Final = 30.0
# US dollars per million tokens (read, written); what is not named counts as the dearest.
PRICES: Final = (("haiku", 1.0, 5.0), ("sonnet", 3.0, 15.0), ("", 15.0, 75.0))
CACHE_WRITE: Final = 1.25  # of the price of reading
CACHE_READ: Final = 0.1
_PASSED_IN: Final = ("content-type", "accept", "user-agent")
_PASSED_OUT: Final = ("content-type", "request-id", "retry-after", "x-should-retry")
_LIMITED: Final = "anthropic-ratelimit-"


@dataclass(frozen=True, slots=True)
class ModelAccess:
    """Where the model is and what opens it. `bearer`: the credential is a token, not an API key."""

    url: str
    key: SecretStr
    bearer: bool = False


def access_from(environment: MutableMapping[str, str]) -> ModelAccess | None:
    """Takes the model's credential out of the environment; None when there is none. Raises UserError for a bad address.

    `ANTHROPIC_API_KEY` goes before `ANTHROPIC_AUTH_TOKEN`; `ANTHROPIC_BASE_URL` is for a gateway of one's own.
    """
    key, token = environment.pop("ANTHROPIC_API_KEY", ""), environment.pop("ANTHROPIC_AUTH_TOKEN", "")
    url = environment.pop("ANTHROPIC_BASE_URL", "").rstrip("/") or DEFAULT_URL
    if not key and not token:
        return None
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"}):
        raise UserError("The model's address must begin with https.", "Check ANTHROPIC_BASE_URL.")
    return ModelAccess(url, SecretStr(key or token), bearer=not key)


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """What one run may take: requests in all, and US dollars by `PRICES` (None: no bound)."""

    requests: int = 2_000
    cost_usd: float | None = None


@dataclass(slots=True)
class Passed:
    """What went through the door. `cost_usd` is a guess by list price; `until`: when a spent quota is back.

    `input_tokens` are those that came from no cache and went into none. `model` answered last.
    """

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float = 0.0
    model: str = ""
    last_error: int | None = None
    until: datetime | None = None
    exhausted: str = ""


class ModelDoor:
    """An open door: `url` and `token` are what the agent gets."""

    def __init__(self, access: ModelAccess, limits: ModelLimits, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self.token = f"tgs-{secrets.token_urlsafe(32)}"
        self.passed = Passed()
        self._access = access
        self._limits = limits
        self._session = session
        self._slots = asyncio.Semaphore(AT_ONCE)

    @property
    def environment(self) -> dict[str, str]:
        """What an agent's process needs to use the door; nothing of it is worth anything elsewhere or later."""
        return {"ANTHROPIC_BASE_URL": self.url, "ANTHROPIC_API_KEY": self.token}

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """One request of the agent."""
        given = request.headers.get("x-api-key") or request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not _same(given, self.token):
            return _error(401, "authentication_error", "This door is for one run of one agent.")
        if self._over():
            return _error(400, "invalid_request_error", self.passed.exhausted)
        body = await request.read()
        self.passed.requests += 1
        async with self._slots:
            return await self._forward(request, body)

    def _over(self) -> bool:
        if self.passed.requests >= self._limits.requests:
            self.passed.exhausted = f"The run has used all its {self._limits.requests} requests to the model."
        bound = self._limits.cost_usd
        if bound is not None and self.passed.cost_usd >= bound * COST_FACTOR:
            self.passed.exhausted = f"The run has used its budget of {bound:g} US dollars."
        return bool(self.passed.exhausted)

    async def _forward(self, request: web.Request, body: bytes) -> web.StreamResponse:
        headers = {n: v for n, v in request.headers.items() if n.lower() in _PASSED_IN or _is_api_header(n)}
        key = self._access.key.get_secret_value()
        headers |= {"Authorization": f"Bearer {key}"} if self._access.bearer else {"x-api-key": key}
        query = {"beta": "true"} if request.query.get("beta") == "true" else {}
        limits = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS)
        try:
            async with self._session.post(
                self._access.url + request.path, data=body, headers=headers, params=query, allow_redirects=False,
                timeout=limits,
            ) as answer:  # fmt: skip
                if answer.status != 200:
                    return await self._failed(answer)
                return await self._stream(request, answer)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.passed.last_error = 502
            return _error(502, "api_error", f"The model's address does not answer ({type(error).__name__}).")

    async def _failed(self, answer: aiohttp.ClientResponse) -> web.Response:
        self.passed.last_error = answer.status
        if answer.status == 429:
            self.passed.until = filled_again(answer.headers, datetime.now(UTC))
        if 300 <= answer.status < 400:
            return _error(502, "api_error", "The model's address answers with a redirect, which is not followed.")
        raw = await answer.content.read(MAX_ERROR)
        clean = without(raw, self._access.key)
        return web.Response(body=clean, status=answer.status, headers=_passed_out(answer.headers))

    async def _stream(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        response = web.StreamResponse(headers=_passed_out(answer.headers))
        await response.prepare(request)
        meter = _Meter(streamed=answer.content_type == "text/event-stream")
        try:
            async for chunk in answer.content.iter_any():
                meter.feed(chunk)
                await response.write(chunk)
        finally:
            self._count(meter)
        self.passed.last_error = None
        await response.write_eof()
        return response

    def _count(self, meter: _Meter) -> None:
        usage = meter.usage()
        read, write = next((r, w) for family, r, w in PRICES if family in meter.model)
        fresh, out = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
        made, kept = usage.get("cache_creation_input_tokens", 0), usage.get("cache_read_input_tokens", 0)
        self.passed.input_tokens += fresh
        self.passed.cache_write_tokens += made
        self.passed.cache_read_tokens += kept
        self.passed.model = meter.model or self.passed.model
        self.passed.output_tokens += out
        self.passed.cost_usd += ((fresh + made * CACHE_WRITE + kept * CACHE_READ) * read + out * write) / 1_000_000


def usage_of_door(door: ModelDoor | None, before: Passed | None = None, turns: int = 0) -> Usage | None:
    """What went through since `before`: the tokens are right, the money is a guess. None: nothing did."""
    was, now = before or Passed(), door.passed if door is not None else None
    if now is None or now.requests == was.requests:
        return None
    return Usage(
        turns=turns,
        input_tokens=now.input_tokens - was.input_tokens,
        output_tokens=now.output_tokens - was.output_tokens,
        cache_read_tokens=now.cache_read_tokens - was.cache_read_tokens,
        cache_write_tokens=now.cache_write_tokens - was.cache_write_tokens,
        cost_microusd=round((now.cost_usd - was.cost_usd) * 1_000_000),
        model=now.model,
    )


class _Meter:
    """Finds the usage in what a model answers, streamed or whole."""

    def __init__(self, *, streamed: bool) -> None:
        self.model = ""
        self._streamed = streamed
        self._rest = b""
        self._usage: dict[str, int] = {}

    def feed(self, chunk: bytes) -> None:
        self._rest += chunk
        if self._streamed:
            *lines, self._rest = self._rest.split(b"\n")
            for line in lines:
                if line.startswith(b"data:") and b'"usage"' in line:
                    self._read(line[5:])
            limit = MAX_EVENT
        else:
            limit = MAX_BODY
        if len(self._rest) > limit:
            self._rest = b""

    def usage(self) -> Mapping[str, int]:
        if not self._streamed:
            self._read(self._rest)
        return self._usage

    def _read(self, raw: bytes) -> None:
        try:
            event = json.loads(raw)
        except (ValueError, RecursionError):
            return
        message = event.get("message", event) if isinstance(event, dict) else {}
        usage = message.get("usage") if isinstance(message, dict) else None
        if isinstance(usage, dict):
            self.model = str(message.get("model") or self.model)
            # Later events count the whole answer so far, not what was added.
            self._usage |= {name: n for name, n in usage.items() if isinstance(n, int) and n >= 0}


def filled_again(headers: Mapping[str, str], now: datetime) -> datetime | None:
    """When a spent quota is back, by the headers of a 429: the latest time that any of them names."""
    found = [_when(name.lower(), value, now) for name, value in headers.items()]
    return max((at for at in found if at is not None), default=None)


def _when(name: str, value: str, now: datetime) -> datetime | None:
    if name == "retry-after":
        if value.isdigit():
            return now + timedelta(seconds=min(int(value), 7 * 86_400))
        try:
            return parsedate_to_datetime(value).astimezone(UTC)
        except ValueError:
            return None
    if name == f"{_LIMITED}unified-reset" and value.isdigit():
        return datetime.fromtimestamp(min(int(value), int(time.time()) + 8 * 86_400), UTC)
    return None


@asynccontextmanager
async def open_door(access: ModelAccess, limits: ModelLimits) -> AsyncIterator[ModelDoor]:
    """A door on a free port of loopback, for as long as the block runs."""
    async with aiohttp.ClientSession(auto_decompress=True) as session:
        door = ModelDoor(access, limits, session)
        app = web.Application(client_max_size=MAX_BODY)
        for path in PATHS:
            app.router.add_post(path, door.pass_on)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            door.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield door
        finally:
            await runner.cleanup()


def without(raw: bytes, key: SecretStr) -> bytes:
    """What came back, without the key."""
    return raw.replace(key.get_secret_value().encode(), b"[redacted]")


def _is_api_header(name: str) -> bool:
    return name.lower().startswith("anthropic-")


def _passed_out(headers: Mapping[str, str]) -> dict[str, str]:
    return {n: v for n, v in headers.items() if n.lower() in _PASSED_OUT or n.lower().startswith(_LIMITED)}


def _error(status: int, kind: str, message: str) -> web.Response:
    return web.json_response({"type": "error", "error": {"type": kind, "message": message}}, status=status)


def _same(given: str, expected: str) -> bool:
    """Of hashes, so that neither the content nor the length can be measured."""
    digests = [hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (given, expected)]
    return hmac.compare_digest(*digests)
