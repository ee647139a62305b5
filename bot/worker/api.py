"""The worker's side of the bot's API: what a job of a run asks, and what every attempt says.

Promise: typed errors only, as `bot/worker/wire.py` describes them. Three calls use up a once-only right: each carries a
secret made here, the same in every repetition, by which the bot knows the caller whose answer was lost. A heartbeat is
not repeated, since the next one is its repetition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from bot.clock import RandomIds
from bot.domain.bundle import ContextBundle, bundle_cap
from bot.domain.carried import Carried, cap_of
from bot.domain.doubts import Doubt
from bot.domain.identity import RunSecret
from bot.worker.outcome import doubts_form
from bot.worker.wire import CALL_SECONDS, ApiDown, ApiError, Bearer, Wire, parse

__all__ = ["Activation", "Api", "ApiDown", "ApiError", "Bearer", "Beat", "Handover", "PushToken"]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Activation(_Answer):
    """The claim is active: which attempt it is, and the once-only code for the agent's job."""

    attempt: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    number: int
    fence: int
    handoff: SecretStr
    issue: int
    publish_only: bool = False
    bundle_digest: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")


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
    steer_seq: int = 0
    lease_until: str | None = None


class AnsweredQuestion(_Answer):
    """One question and, when there is one, its answer."""

    id: str
    answer: tuple[str, ...] = ()


class Answers(_Answer):
    """What people answered so far."""

    answered: bool
    questions: tuple[AnsweredQuestion, ...] = ()


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
        self.wire = Wire(session, server_url, sleep)
        self._new_id = new_id or RandomIds().new

    async def activate(self, bearer: Bearer, claim_id: str | None, issue: int | None) -> Activation | None:
        """Activates the claim of this run; None when there is nothing to do."""
        code = self._new_id(RunSecret.HANDOFF)
        body = {"claim_id": claim_id, "issue": issue, "handoff": code}
        answer = await self.wire.call("POST", "/runs/activate", bearer, body)
        return None if answer is None else parse(Activation, answer, "activate", handoff=code)

    async def scan(self, bearer: Bearer) -> str:
        """Asks the bot to look at this run's repository; its name."""
        answer = await self.wire.call("POST", "/runs/scan", bearer, {})
        return str(answer.get("repository", "")) if isinstance(answer, dict) else ""

    async def handoff(self, attempt: str, fence: int, code: SecretStr) -> Handover:
        """Exchanges the once-only code for the attempt's token and context."""
        token = self._new_id(RunSecret.ATTEMPT)
        body = {"fence": fence, "code": code.get_secret_value(), "token": token}
        answer = await self.wire.call("POST", f"/attempts/{attempt}/handoff", None, body)
        return parse(Handover, answer, "handoff", attempt_token=token)

    async def heartbeat(
        self,
        attempt: str,
        fence: int,
        bearer: Bearer,
        progress: Mapping[str, object] | None,
        heard: int | None = None,
    ) -> Beat:
        """Keeps the lease. Not repeated here: the next beat is the repetition. `heard`: up to which words of people."""
        body: dict[str, object] = {"fence": fence, "progress": progress}
        if heard is not None:
            body["heard"] = heard
        return parse(
            Beat, await self.wire.call("POST", f"/attempts/{attempt}/heartbeat", bearer, body, tries=1), "beat"
        )

    async def context(self, attempt: str, fence: int, bearer: Bearer) -> ContextBundle:
        """The context of the attempt, as the bot holds it now."""
        answer = await self.wire.call("GET", f"/attempts/{attempt}/context?fence={fence}", bearer, None)
        return parse(ContextBundle, answer, "context")

    async def ask(
        self, attempt: str, fence: int, bearer: Bearer, questions: Sequence[Mapping[str, object]], wait: float
    ) -> dict[str, tuple[str, ...]] | None:
        """Asks people while the work goes on; the answers by the questions' ids, None when they did not come in time.

        `wait` is in seconds and may be cut short by policy.
        """
        body = {"fence": fence, "questions": list(questions), "wait": wait}
        raw = await self.wire.call("POST", f"/attempts/{attempt}/ask", bearer, body, seconds=wait + CALL_SECONDS)
        found = parse(Answers, raw, "ask")
        return {one.id: one.answer for one in found.questions} if found.answered else None

    async def report(self, attempt: str, bearer: Bearer, report: Mapping[str, object]) -> None:
        """Says how the job ended. `report` holds the fields of the report, the fence among them."""
        await self.wire.call("POST", f"/attempts/{attempt}/report", bearer, report)

    async def fail(self, attempt: str, bearer: Bearer, failure: Mapping[str, object]) -> None:
        """Says that the work failed, with the end of its log. `failure` holds the fields, the fence among them."""
        await self.wire.call("POST", f"/attempts/{attempt}/fail", bearer, failure)

    async def push_token(self, attempt: str, bearer: Bearer, body: Mapping[str, object]) -> PushToken:
        """Asks for the right to push what the gate accepted; it is given to one asker."""
        body = {**body, "asker": self._new_id(RunSecret.PUBLISHER)}
        answer = await self.wire.call("POST", f"/attempts/{attempt}/publish-token", bearer, body)
        return parse(PushToken, answer, "publish-token")

    async def published(
        self, attempt: str, fence: int, bearer: Bearer, head_sha: str, doubts: Sequence[Doubt] = ()
    ) -> None:
        """Says what was pushed, and what about it a reviewer must see."""
        body: dict[str, object] = {"fence": fence, "head_sha": head_sha}
        if doubts:
            body["doubts"] = doubts_form(doubts)
        await self.wire.call("POST", f"/attempts/{attempt}/published", bearer, body)

    async def refused(self, attempt: str, fence: int, bearer: Bearer, reason: str, detail: str) -> None:
        """Says that the gate refused, and why."""
        body = {"fence": fence, "reason": reason, "detail": detail}
        await self.wire.call("POST", f"/attempts/{attempt}/refused", bearer, body)

    async def withheld(self, attempt: str, bearer: Bearer, body: Mapping[str, object]) -> None:
        """Says that a good result lies with the bot and waits until somebody has looked at it."""
        await self.wire.call("POST", f"/attempts/{attempt}/withheld", bearer, body)

    async def upload(self, attempt: str, bearer: Bearer, bundle: Path, fence: int | None = None) -> str:
        """Hands the bundle to the bot; the SHA-256 of what arrived there. The publishing job names the fence."""
        query = "" if fence is None else f"?fence={fence}"
        answer = await self.wire.send_file(f"/attempts/{attempt}/bundle{query}", bearer, bundle)
        return str(answer.get("sha256", "")) if isinstance(answer, dict) else ""

    async def leave(self, attempt: str, bearer: Bearer, kind: Carried, file: Path) -> str:
        """Hands the bot what the next attempt shall get; the SHA-256 of what arrived there."""
        answer = await self.wire.send_file(f"/attempts/{attempt}/{kind.value}", bearer, file)
        return str(answer.get("sha256", "")) if isinstance(answer, dict) else ""

    async def take_up(self, attempt: str, bearer: Bearer, kind: Carried, target: Path) -> None:
        """Gets what an earlier attempt has left for this one."""
        await self.wire.receive_file(f"/attempts/{attempt}/{kind.value}", bearer, target, cap_of(kind))

    async def download(self, attempt: str, fence: int, bearer: Bearer, target: Path, max_bytes: int) -> None:
        """Gets the bundle that a pull worker uploaded. `max_bytes` is the limit of its contents."""
        path = f"/attempts/{attempt}/bundle?fence={fence}"
        await self.wire.receive_file(path, bearer, target, bundle_cap(max_bytes))
