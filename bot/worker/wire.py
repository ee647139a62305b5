"""How the worker talks to the bot: HTTP with retries, one origin, bounded answers.

Promise: typed errors only. `LostClaim` when the attempt is no longer ours (stop, change nothing), `Refused` when policy
or evidence forbids it, `ApiDown` when no usable answer came after the retries, `ApiError` for the rest. Credentials go
to the one configured origin, redirects are errors, and no error carries a credential or a whole response body. Calls
are repeated on connection errors and 5xx with short pauses.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
from pydantic import BaseModel, SecretStr, ValidationError

from bot.errors import LookFirst, LostClaim, Refused, TgsError, Unproved
from bot.worker.redaction import redact

CALL_SECONDS: Final = 30.0  # the bot answers in milliseconds; behind a cold start it may take some seconds
FILE_SECONDS: Final = 600.0  # the largest bundle over a slow line
PAUSES: Final = (1.0, 3.0, 9.0)  # seconds between repetitions: a restart of the bot takes about ten
MAX_ANSWER: Final = 2_000_000  # bytes; the largest answer is a context with plan and issue text
_CHUNK: Final = 65_536
_DETAIL: Final = 500  # characters of a problem's detail that are kept
Model = TypeVar("Model", bound=BaseModel)
T = TypeVar("T")
Bearer = Callable[[], Awaitable[SecretStr]]


class ApiError(TgsError):
    """The bot answered with an error that has no type of its own. `status` is the HTTP status, `code` the problem's."""

    def __init__(self, call: str, status: int, code: str, detail: str) -> None:
        super().__init__(f"{call}: {status} {code} {detail}".rstrip())
        self.status = status
        self.code = code


class ApiDown(TgsError):
    """The bot gave no usable answer; whether the call had an effect is unknown."""


class Wire:
    """Calls to one bot. `sleep` waits between repetitions; tests bring their own."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        server_url: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session = session
        self._base = server_url.rstrip("/") + "/api/v1"
        self._sleep = sleep

    async def call(
        self,
        method: str,
        path: str,
        bearer: Bearer | None,
        body: Mapping[str, object] | None,
        tries: int = len(PAUSES) + 1,
        seconds: float = CALL_SECONDS,
    ) -> Any:
        """The decoded answer; None for 204. `seconds` bounds each try."""
        call = f"{method} {path}"

        async def once() -> Any:
            async with self._asked(call, method, path, bearer, seconds, json=body) as response:
                return None if response.status == 204 else await _json(response)

        return await self._repeated(call, once, tries)

    async def send_file(self, path: str, bearer: Bearer, file: Path) -> Any:
        """Sends the file's bytes as they are; the decoded answer."""
        call = f"PUT {path}"

        async def once() -> Any:
            with file.open("rb") as body:
                async with self._asked(call, "PUT", path, bearer, FILE_SECONDS, data=body) as response:
                    return await _json(response)

        return await self._repeated(call, once)

    async def receive_file(self, path: str, bearer: Bearer, target: Path, cap: int) -> None:
        """Writes the answer's bytes to `target`. Raises ApiError when they are more than `cap`."""
        call = f"GET {path}"

        async def once() -> None:
            size = 0
            with target.open("wb") as file:
                async with self._asked(call, "GET", path, bearer, FILE_SECONDS) as response:
                    async for chunk in response.content.iter_chunked(_CHUNK):
                        size += len(chunk)
                        if size > cap:
                            raise ApiError(call, response.status, "too_large", f"more than {cap} bytes")
                        file.write(chunk)

        await self._repeated(call, once)

    async def _repeated(self, call: str, once: Callable[[], Awaitable[T]], tries: int = len(PAUSES) + 1) -> T:
        for turn in range(tries):
            try:
                return await once()
            except ApiDown:
                if turn + 1 == tries:
                    raise
            await self._sleep(PAUSES[turn])
        raise ApiDown(f"{call}: no answer")

    @asynccontextmanager
    async def _asked(
        self, call: str, method: str, path: str, bearer: Bearer | None, seconds: float, **body: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A good answer, to be read inside the block."""
        headers = {"Accept": "application/json, application/problem+json"}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {(await bearer()).get_secret_value()}"
        try:
            async with self._session.request(
                method,
                self._base + path,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds),
                **body,
            ) as response:
                if response.status >= 500:
                    raise ApiDown(f"{call}: the bot answered {response.status}")
                if response.status not in {200, 201, 204}:
                    raise _problem(call, response.status, await _json(response))
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiDown(f"{call}: {type(error).__name__}") from None


async def _json(response: aiohttp.ClientResponse) -> Any:
    raw = b""
    while len(raw) <= MAX_ANSWER and (more := await response.content.read(MAX_ANSWER + 1 - len(raw))):
        raw += more
    if len(raw) > MAX_ANSWER:
        return None
    try:
        return json.loads(raw) if raw else None
    except (ValueError, RecursionError):
        return None


def _problem(call: str, status: int, data: Any) -> TgsError:
    fields = data if isinstance(data, dict) else {}
    code = str(fields.get("code") or fields.get("type") or "")
    detail = redact(str(fields.get("detail") or fields.get("title") or ""))[:_DETAIL]
    if status in {409, 412} and "lost_claim" in code:
        return LostClaim(detail or "another attempt has taken over")
    if status == 403 and code == "unproved":
        return Unproved(detail or "the bot cannot check this attempt any more")
    if status == 403 and code == "look_first":
        return LookFirst(detail or "somebody must look at the result first")
    if status == 403:
        return Refused(detail or "the bot refused the call")
    return ApiError(call, status, code, detail)


def parse(model: type[Model], data: Any, call: str, **ours: str) -> Model:
    """The answer as a model, together with what was chosen here. Raises ApiError that names the fields."""
    try:
        return model.model_validate({**data, **ours} if isinstance(data, dict) else data)
    except ValidationError as error:
        # The input is left out: it may hold a credential.
        places = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise ApiError(call, 200, "invalid_answer", places[:_DETAIL]) from None
