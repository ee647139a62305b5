"""One HTTP client per credential: every request to GitHub, REST or GraphQL, goes through `GitHubClient.request`.

Promises: credentials go to the configured API origin only; a redirect or a `next` link that leaves it is an error
and is never fetched. Reads are repeated after a 502/503/504 or a lost answer; writes never are, they raise with
`uncertain=True` instead. A limit answer pauses the whole installation. Logs hold method, path template, status and
duration, never a header, query, body or token.

Races: a token that expires on the way is renewed once per request; concurrent requests share the renewal (the token
source locks). Cached bodies are kept as bytes and decoded anew for each caller, so no two callers share an object.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin

import aiohttp
import gidgethub.abc
import structlog
import yarl
from cachetools import TTLCache
from gidgethub import sansio
from pydantic import SecretStr

from bot.errors import Invalid, NotFound, RateLimited, TooBig, Unavailable
from bot.github.answers import (
    Answer,
    GraphqlAnswer,
    Refusal,
    classify,
    classify_graphql,
    clip,
    error_of,
    graphql_errors,
    message_of,
)
from bot.github.calls import Cached, Call, Exchange, Origin, TokenSource
from bot.github.limits import Ask, Bucket, Lane, Limits, Sleep

API_VERSION = "2026-03-10"
"""The REST version this code was written against; without the header GitHub may change answers under us."""
REQUESTER = "tgs-bot"
"""User-Agent: GitHub asks for the name of the application."""
TOTAL_TIMEOUT = 20.0
"""Seconds for one exchange: twice GitHub's own 10 s limit on a request."""
CONNECT_TIMEOUT = 5.0
"""Seconds to connect: a host that does not answer by then is down."""
CONNECTIONS = 100
"""Sockets of the whole process: GitHub allows 100 concurrent requests."""
MAX_BODY = 16 * 1024 * 1024
"""Bytes of an answer we read: ten times the largest page or file the product asks for."""
CACHE_BYTES = 4 * 1024 * 1024
"""Bytes of cached bodies per installation: a few hundred issues and trees, so that many tenants fit in memory."""
CACHE_ENTRY_BYTES = 512 * 1024
"""Larger bodies are not cached; one of them would push out everything else."""
CACHE_TTL = 3600.0
"""Seconds: what nobody asked for in an hour is not polled."""
READ_TRIES = 3
"""Attempts of a read: GitHub's hiccups last a second or two; longer trouble is the queue's business."""
BACKOFF = 0.5
"""Seconds before the second attempt, doubled for each further one, times a jitter of 0.5 to 1.5."""
FRESH_WAIT = 1.0
"""Seconds between looks for an object that GitHub just announced but does not show yet."""
MAX_REDIRECTS = 3
"""A renamed repository answers with one redirect; more than a few is a loop."""
RETRY_STATUS = frozenset({502, 503, 504})

log = structlog.get_logger()


class TooLarge(Exception):
    """An answer went over MAX_BODY and was not read to its end."""


def open_session(around: Sequence[aiohttp.ClientMiddlewareType] = ()) -> aiohttp.ClientSession:
    """The session all clients share: capped connections, time-outs, no cookies, no proxy credentials from disk.

    `around` is wrapped around each request; tests cut connections there.
    """
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS),
        timeout=aiohttp.ClientTimeout(total=TOTAL_TIMEOUT, connect=CONNECT_TIMEOUT),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        middlewares=around,
    )
    # aiohttp silently sends PUT and DELETE again when the connection closes without an answer. The second DELETE of a
    # label answers 404, which would read as "somebody else removed it". There is no public switch; aiohttp's own
    # test client turns it off the same way.
    session._retry_connection = False
    return session


class GitHubClient(gidgethub.abc.GitHubAPI):
    """gidgethub's client with one path for everything; its own verbs (`getitem`, `post`, …) take that path too."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        origin: Origin,
        tokens: TokenSource,
        limits: Limits,
        *,
        sleep: Sleep,
        jitter: Callable[[], float],
        before_write: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`sleep` takes seconds, `jitter` returns a number in [0, 1). `before_write` is awaited when a write's turn has
        come; what it raises is raised, and nothing is sent."""
        super().__init__(REQUESTER, base_url=origin.api_url)
        self._session = session
        self._origin = origin
        self._tokens = tokens
        self._sleep = sleep
        self._jitter = jitter
        self._before_write = before_write
        self._etags: MutableMapping[str, Cached] = TTLCache(
            maxsize=CACHE_BYTES, ttl=CACHE_TTL, timer=limits.seconds, getsizeof=lambda entry: len(entry.body)
        )
        self.limits = limits

    async def sleep(self, seconds: float) -> None:
        await self._sleep(seconds)

    # --- gidgethub's own verbs take the same path, so that none of them can go around the limits

    async def _make_request(
        self,
        method: str,
        url: str,
        url_vars: Mapping[str, Any] | None,
        data: Any,
        accept: str,
        jwt: str | None = None,
        oauth_token: str | None = None,
        content_type: str = gidgethub.abc.JSON_CONTENT_TYPE,
        extra_headers: dict[str, str] | None = None,
    ) -> tuple[Any, str | None, int]:
        if jwt is not None or oauth_token is not None or extra_headers or content_type != "application/json":
            raise Invalid("credentials and headers belong to the client", request=f"{method} {url}")
        lane = None if method == "GET" else Lane.WORDS
        body = None if data == b"" else data
        wanted = Call(method, url, dict(url_vars or {}), {}, body, lane, accept=accept)
        answer = await (self.follow_next(wanted, url) if "://" in url else self.request(wanted))
        return answer.data, answer.next, answer.status

    async def graphql(self, query: str, *, endpoint: str = "", **variables: Any) -> Any:
        """gidgethub's form of `graphql_call` for queries; the endpoint is the configured one."""
        if endpoint:
            raise Invalid("the GraphQL endpoint belongs to the client", request="POST graphql")
        return dict((await self.graphql_call(query, variables, label="query")).data)

    # --- the path

    async def request(self, wanted: Call) -> Answer:
        """Sends a REST call. Raises the kinds of `bot.errors` only."""
        return await self._to(wanted, wanted.url(self._origin.api_url))

    async def follow_next(self, wanted: Call, link: str) -> Answer:
        """The next page, at the link as GitHub wrote it. Raises Invalid when it leaves the API."""
        return await self._to(wanted, link)

    async def graphql_call(
        self, document: str, variables: Mapping[str, object], *, label: str, lane: Lane | None = None
    ) -> GraphqlAnswer:
        """Sends a GraphQL document; `lane` marks a mutation. Errors of single fields come back in the answer;
        it raises when a limit was hit or nothing at all succeeded for a reason that concerns the whole document."""
        body = {"query": document, "variables": dict(variables)}
        wanted = Call("POST", f"graphql:{label}", {}, {}, body, lane, Bucket.GRAPHQL)
        answer = await self._to(wanted, self._origin.graphql_url)
        if not isinstance(answer.data, dict):
            raise Unavailable("the GraphQL answer is not an object", status=answer.status, request=wanted.label)
        errors = graphql_errors(answer.data.get("errors"))
        data = answer.data.get("data")
        if data is None and not errors:
            raise Unavailable("the GraphQL answer is empty", status=answer.status, request=wanted.label)
        # Errors that name a field belong to that field; the caller of a batch decides about each.
        whole = not any(error.unknown_field or (lane is not None and error.field) for error in errors)
        if data is None and whole:
            first = errors[0]
            raise error_of(
                classify_graphql(first), first.message, status=200, request=wanted.label, write=lane is not None
            )
        return GraphqlAnswer(data if isinstance(data, dict) else {}, errors)

    async def _to(self, wanted: Call, url: str) -> Answer:
        """Sends to a URL, follows redirects inside the API, waits for fresh objects."""
        looks = wanted.fresh
        while True:
            try:
                return await self._redirected(wanted, url)
            except NotFound as error:
                if looks <= 0 or error.status != HTTPStatus.NOT_FOUND:
                    raise
                looks -= 1
                await self._sleep(FRESH_WAIT)

    async def _redirected(self, wanted: Call, url: str) -> Answer:
        for _ in range(MAX_REDIRECTS + 1):
            got = await self._authorized(wanted, url)
            if not 300 <= got.status < 400 or got.status == HTTPStatus.NOT_MODIFIED:
                return self._answer(wanted, url, got)
            location = urljoin(url, got.headers.get("location", ""))
            if not wanted.follow:
                return Answer(got.status, None, url, location=location)
            if wanted.method != "GET":
                raise NotFound("it has moved; the write was not made", status=got.status, request=wanted.label)
            if not self._origin.covers(location):
                raise Invalid("the answer redirects outside the API", status=got.status, request=wanted.label)
            url = location
        raise Unavailable("too many redirects", request=wanted.label)

    async def _authorized(self, wanted: Call, url: str) -> Exchange:
        """One logical exchange; a 401 is answered once with a fresh credential (a refused write was not made)."""
        token = await self._tokens.token()
        got = await self._persistent(wanted, url, token)
        if got.status == HTTPStatus.UNAUTHORIZED:
            self._tokens.refused(token)
            fresh = await self._tokens.token()
            if fresh.get_secret_value() != token.get_secret_value():
                got = await self._persistent(wanted, url, fresh)
        self._raise_for(wanted, got)
        return got

    async def _persistent(self, wanted: Call, url: str, token: SecretStr) -> Exchange:
        """Repeats a read after a passing failure. A write is sent once."""
        tries = READ_TRIES if wanted.lane is None else 1
        for number in range(1, tries + 1):
            last = number == tries
            try:
                got = await self._once(wanted, url, token)
            except Unavailable as error:
                if last:
                    raise
                reason: object = error.message
            else:
                if last or got.status not in RETRY_STATUS:
                    return got
                reason = got.status
            log.info("github_read_repeated", request=wanted.label, number=number, reason=reason)
            await self._sleep(BACKOFF * 2 ** (number - 1) * (0.5 + self._jitter()))
        raise AssertionError("the last try returns or raises")

    async def _once(self, wanted: Call, url: str, token: SecretStr) -> Exchange:
        if not self._origin.covers(url):
            raise Invalid("refusing to send a credential outside the API", request=wanted.label)
        headers = sansio.create_headers(self.requester, accept=wanted.accept)
        headers |= {"authorization": f"Bearer {token.get_secret_value()}", "x-github-api-version": API_VERSION}
        correlation = structlog.contextvars.get_contextvars().get("key")
        if isinstance(correlation, str):
            # GitHub ignores it; a proxy's or a local GitHub's log then says which item a request was for.
            headers["x-correlation-id"] = correlation
        body = b"" if wanted.body is None else json.dumps(wanted.body).encode()
        if body:
            headers["content-type"] = "application/json"
        cached = self._etags.get(url) if wanted.method == "GET" else None
        if cached is not None:
            headers["if-none-match"] = cached.etag
        async with self.limits.slot(Ask(wanted.label, wanted.bucket, wanted.lane, wanted.content)):
            if wanted.lane is not None and self._before_write is not None:
                await self._before_write()
            started = asyncio.get_running_loop().time()
            try:
                status, got, raw = await self._request(wanted.method, url, headers, body)
            except aiohttp.ClientConnectorError as error:
                self.limits.failed()
                # The connection was never made, so nothing was sent: certain, even for a write.
                raise Unavailable(f"no connection ({type(error).__name__})", request=wanted.label) from None
            except TooLarge:
                raise TooBig(f"the answer is larger than {MAX_BODY} bytes", request=wanted.label) from None
            except (aiohttp.ClientError, TimeoutError) as error:
                self.limits.failed()
                raise Unavailable(
                    f"no answer ({type(error).__name__})", request=wanted.label, uncertain=wanted.lane is not None
                ) from None
            millis = round((asyncio.get_running_loop().time() - started) * 1000)
        log.debug("github_request", request=wanted.label, status=status, millis=millis)
        self.limits.heard(wanted.bucket, got)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self.limits.failed()
        if status == HTTPStatus.NOT_MODIFIED and cached is not None:
            self.limits.not_modified()
            return Exchange(status, {}, cached.body, cached.next)
        link = sansio._next_link(got.get("link"))  # gidgethub has no public parser of Link
        etag = got.get("etag")
        if wanted.method == "GET" and etag and status == HTTPStatus.OK and len(raw) <= CACHE_ENTRY_BYTES:
            self._etags[url] = Cached(etag, raw, link)
        return Exchange(status, got, raw, link)

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> tuple[int, Mapping[str, str], bytes]:
        """The wire. Reads at most MAX_BODY bytes and never follows a redirect by itself."""
        async with self._session.request(
            method, yarl.URL(url, encoded=True), headers=headers, data=body or None, allow_redirects=False
        ) as response:
            if (response.content_length or 0) > MAX_BODY:
                raise TooLarge
            chunks, size = [], 0
            async for chunk in response.content.iter_chunked(65536):
                size += len(chunk)
                if size > MAX_BODY:
                    raise TooLarge
                chunks.append(chunk)
            return response.status, {name.lower(): value for name, value in response.headers.items()}, b"".join(chunks)

    # --- reading the answer

    def _raise_for(self, wanted: Call, got: Exchange) -> None:
        if got.status < 400:
            if wanted.bucket is Bucket.GRAPHQL and (text := _graphql_limit(got.body)) is not None:
                raise self._limit(got.headers, text, wanted, got.status)
            self.limits.succeeded()
            return
        message, details = message_of(got.body)
        refusal = classify(got.status, got.headers, message, details)
        text = clip(f"{message} ({details})" if details else message or f"HTTP {got.status}")
        if refusal is Refusal.LIMIT:
            raise self._limit(got.headers, text, wanted, got.status)
        raise error_of(
            refusal,
            text,
            status=got.status,
            request=wanted.label,
            needs=clip(got.headers.get("x-accepted-github-permissions", "")),
            write=wanted.lane is not None,
        )

    def _limit(self, headers: Mapping[str, str], text: str, wanted: Call, status: int) -> RateLimited:
        until = self.limits.limited(headers, text)
        log.warning("github_limit_reached", request=wanted.label, status=status, until=until.isoformat())
        return RateLimited(text, until=until, status=status, request=wanted.label)

    def _answer(self, wanted: Call, url: str, got: Exchange) -> Answer:
        unchanged = got.status == HTTPStatus.NOT_MODIFIED
        data = self._decode(wanted, got)
        return Answer(HTTPStatus.OK if unchanged else got.status, data, url, next=got.next, not_modified=unchanged)

    def _decode(self, wanted: Call, got: Exchange) -> Any:
        if not got.body:
            return None
        try:
            return json.loads(got.body)
        except ValueError:
            raise Unavailable("the answer is not JSON", status=got.status, request=wanted.label) from None


def _graphql_limit(body: bytes) -> str | None:
    """The message of a limit error in a GraphQL answer: GitHub sends those with status 200."""
    if b'"errors"' not in body:
        return None
    try:
        data = json.loads(body)
    except ValueError:
        return None
    errors = graphql_errors(data.get("errors")) if isinstance(data, dict) else ()
    return next((error.message for error in errors if classify_graphql(error) is Refusal.LIMIT), None)
