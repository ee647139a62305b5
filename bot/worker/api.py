"""The worker's side of the bot's API.

Promise: typed errors only. `LostClaim` when the attempt is no longer ours (stop, change nothing), `Refused` when policy
or evidence forbids it, `ApiDown` when no usable answer came after the retries, `ApiError` for the rest. Credentials go
to the one configured origin, redirects are errors, and no error carries a credential or a whole response body.

Calls are repeated on connection errors and 5xx with short pauses; only a heartbeat is not, since the next one is its
repetition. Three calls use up a once-only right: each carries a secret made here, the same in every repetition, by
which the bot knows the caller whose answer was lost.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from bot.clock import RandomIds
from bot.domain.bundle import ContextBundle
from bot.domain.identity import RunSecret
from bot.errors import LostClaim, Refused, TgsError
from bot.worker.redaction import redact

CALL_SECONDS: Final = 30.0  # the bot answers in milliseconds; behind a cold start it may take some seconds
PAUSES: Final = (1.0, 3.0, 9.0)  # seconds between repetitions: a restart of the bot takes about ten
MAX_ANSWER: Final = 2_000_000  # bytes; the largest answer is a context with plan and issue text
_DETAIL: Final = 500  # characters of a problem's detail that are kept
Model = TypeVar("Model", bound=BaseModel)
Bearer = Callable[[], Awaitable[SecretStr]]


class ApiError(TgsError):
    """The bot answered with an error that has no type of its own. `status` is the HTTP status, `code` the problem's."""

    def __init__(self, call: str, status: int, code: str, detail: str) -> None:
        super().__init__(f"{call}: {status} {code} {detail}".rstrip())
        self.status = status
        self.code = code


class ApiDown(TgsError):
    """The bot gave no usable answer; whether the call had an effect is unknown."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Activation(_Answer):
    """The claim is active: which attempt it is, and the once-only code for the agent's job."""

    attempt: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    number: int
    fence: int
    handoff: SecretStr
    issue: int


class Handover(_Answer):
    """What the agent's job gets for the code."""

    attempt_token: SecretStr
    context: ContextBundle
    heartbeat_seconds: float = Field(default=60.0, gt=0)


class Beat(_Answer):
    """The answer to a heartbeat."""

    cancel: bool = False
    drain: bool = False
    steer: tuple[str, ...] = ()
    lease_until: str | None = None


class PushToken(_Answer):
    """The right to push this one attempt."""

    token: SecretStr
    repo_url: str
    branch: str
    expires_at: str | None = None


class Api:
    """Calls of one job. `sleep` waits between repetitions; `new_id` makes the secrets. Tests bring their own."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        server_url: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        new_id: Callable[[str], str] | None = None,
    ) -> None:
        self._session = session
        self._base = server_url.rstrip("/") + "/api/v1"
        self._sleep = sleep
        self._new_id = new_id or RandomIds().new

    async def activate(self, bearer: Bearer, claim_id: str | None, issue: int | None) -> Activation | None:
        """Activates the claim of this run; None when there is nothing to do."""
        code = self._new_id(RunSecret.HANDOFF)
        body = {"claim_id": claim_id, "issue": issue, "handoff": code}
        answer = await self._call("POST", "/runs/activate", bearer, body)
        return None if answer is None else _parse(Activation, answer, "activate", handoff=code)

    async def scan(self, bearer: Bearer) -> str:
        """Asks the bot to look at this run's repository; its name."""
        answer = await self._call("POST", "/runs/scan", bearer, {})
        return str(answer.get("repository", "")) if isinstance(answer, dict) else ""

    async def handoff(self, attempt: str, fence: int, code: SecretStr) -> Handover:
        """Exchanges the once-only code for the attempt's token and context."""
        token = self._new_id(RunSecret.ATTEMPT)
        body = {"fence": fence, "code": code.get_secret_value(), "token": token}
        answer = await self._call("POST", f"/attempts/{attempt}/handoff", None, body)
        return _parse(Handover, answer, "handoff", attempt_token=token)

    async def heartbeat(self, attempt: str, fence: int, bearer: Bearer, progress: Mapping[str, object] | None) -> Beat:
        """Keeps the lease. Not repeated here: the next beat is the repetition."""
        body = {"fence": fence, "progress": progress}
        return _parse(Beat, await self._call("POST", f"/attempts/{attempt}/heartbeat", bearer, body, tries=1), "beat")

    async def context(self, attempt: str, fence: int, bearer: Bearer) -> ContextBundle:
        """The context of the attempt, as the bot holds it now."""
        answer = await self._call("GET", f"/attempts/{attempt}/context?fence={fence}", bearer, None)
        return _parse(ContextBundle, answer, "context")

    async def report(self, attempt: str, bearer: Bearer, report: Mapping[str, object]) -> None:
        """Says how the job ended. `report` holds the fields of the report, the fence among them."""
        await self._call("POST", f"/attempts/{attempt}/report", bearer, report)

    async def push_token(self, attempt: str, bearer: Bearer, body: Mapping[str, object]) -> PushToken:
        """Asks for the right to push what the gate accepted; it is given to one asker."""
        body = {**body, "asker": self._new_id(RunSecret.PUBLISHER)}
        answer = await self._call("POST", f"/attempts/{attempt}/publish-token", bearer, body)
        return _parse(PushToken, answer, "publish-token")

    async def published(self, attempt: str, fence: int, bearer: Bearer, head_sha: str) -> None:
        """Says what was pushed."""
        await self._call("POST", f"/attempts/{attempt}/published", bearer, {"fence": fence, "head_sha": head_sha})

    async def refused(self, attempt: str, fence: int, bearer: Bearer, reason: str, detail: str) -> None:
        """Says that the gate refused, and why."""
        body = {"fence": fence, "reason": reason, "detail": detail}
        await self._call("POST", f"/attempts/{attempt}/refused", bearer, body)

    async def _call(
        self,
        method: str,
        path: str,
        bearer: Bearer | None,
        body: Mapping[str, object] | None,
        tries: int = len(PAUSES) + 1,
    ) -> Any:
        call = f"{method} {path}"
        for turn in range(tries):
            try:
                return await self._once(method, path, call, bearer, body)
            except ApiDown:
                if turn + 1 == tries:
                    raise
            await self._sleep(PAUSES[turn])
        raise ApiDown(f"{call}: no answer")

    async def _once(
        self, method: str, path: str, call: str, bearer: Bearer | None, body: Mapping[str, object] | None
    ) -> Any:
        headers = {"Accept": "application/json, application/problem+json"}
        if bearer is not None:
            headers["Authorization"] = f"Bearer {(await bearer()).get_secret_value()}"
        try:
            async with self._session.request(
                method,
                self._base + path,
                json=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=CALL_SECONDS),
            ) as response:
                if response.status == 204:
                    return None
                if response.status >= 500:
                    raise ApiDown(f"{call}: the bot answered {response.status}")
                data = await _json(response)
                if response.status == 200:
                    return data
                raise _problem(call, response.status, data)
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
    if status == 403:
        return Refused(detail or "the bot refused the call")
    return ApiError(call, status, code, detail)


def _parse(model: type[Model], data: Any, call: str, **ours: str) -> Model:
    """The answer as a model, together with what was chosen here. Raises ApiError that names the fields."""
    try:
        return model.model_validate({**data, **ours} if isinstance(data, dict) else data)
    except ValidationError as error:
        # The input is left out: it may hold a credential.
        places = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise ApiError(call, 200, "invalid_answer", places[:_DETAIL]) from None
