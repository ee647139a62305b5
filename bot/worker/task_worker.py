"""A worker for programs in Python, in few words: take a task, ask people, say that one lives, hand in the result.

    worker = TaskWorker(api, "octo/shop", "box", new_id=ids.new)
    await worker.start()
    task = await worker.claim_work(wait=25)
    name = await worker.request_clarification("Which library?")
    await worker.complete_task(bundle)

Promises: as `bot/worker/machine.py`, whose calls it makes one by one. A question waits for people a minute at most;
then the task is handed back with what was learned so far, and whoever claims it next gets the same question answered at
once. One task at a time; more at once are more workers. Heartbeats are the caller's: one a minute while it works.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from bot.domain.bundle import ContextBundle
from bot.domain.carried import Carried
from bot.domain.identity import RunSecret
from bot.domain.model import FailureReason
from bot.domain.questions import AskedQuestion, Choice
from bot.errors import TgsError, UserError
from bot.worker.api import Beat
from bot.worker.life import Interrupted, Task, live
from bot.worker.log import RunLog
from bot.worker.machine_api import MachineApi, Offer
from bot.worker.outcome import RunOutcome, question_form, report_form

INLINE_WAIT: Final = 60.0
"""Seconds that a question waits before the task is handed back."""

STOPPED: Final = Interrupted(FailureReason.INFRA_RUNNER_LOST, "The worker was stopped and handed the item back.")


class Parked(TgsError):
    """Nobody has answered yet. The task was handed back and goes on with the answer; claim again later."""


class TaskWorker:
    """One worker with at most one task. `new_id` makes the secrets of claims."""

    def __init__(
        self,
        api: MachineApi,
        repo: str,
        name: str,
        *,
        new_id: Callable[[str], str],
        capabilities: Sequence[str] = (),
        inline_wait: float = INLINE_WAIT,
    ) -> None:
        self._api = api
        self._repo = repo
        self._name = name
        self._new_id = new_id
        self._capabilities = tuple(capabilities)
        self._inline_wait = inline_wait
        self._id = ""
        self._offer: Offer | None = None
        self._secret = SecretStr("")
        self._heard = 0

    @property
    def current_task(self) -> ContextBundle | None:
        """What is worked on; None between two tasks."""
        return None if self._offer is None else self._offer.context

    async def start(self) -> None:
        """Makes the worker known to the bot. Raises Refused when its token does not open the repository."""
        self._id = (await self._api.register(self._name, self._capabilities, 1, "")).id

    async def claim_work(self, wait: float = 0.0) -> ContextBundle | None:
        """The next task, after at most `wait` seconds; None when there is none. Raises UserError with one in hand."""
        if self._offer is not None:
            raise UserError("There is a task in hand.", "Complete it or fail it first.")
        secret = self._new_id(RunSecret.ATTEMPT)
        offer = await self._api.claim(self._repo, self._name, self._id, self._capabilities, secret, wait)
        self._offer, self._secret, self._heard = offer, SecretStr(secret), 0
        return self.current_task

    async def send_heartbeat(self, step: int = 0, total: int = 0, text: str = "") -> Beat:
        """A sign of life, with how far the work is. The answer says whether to stop, and what people say."""
        offer = self._held()
        progress = {"step": step, "total": total, "text": text} if total else None
        beat = await self._api.heartbeat(offer.attempt, offer.fence, self._bearer, progress, self._heard)
        self._heard = max(self._heard, beat.steer_seq)
        return beat

    async def request_clarification(
        self, question: str, choices: Sequence[str] = (), *, notes: Path | None = None
    ) -> str:
        """What people answer on the issue. Raises Parked when nobody does in time.

        An earlier answer to the same question is given at once. `notes` is what the next worker gets to go on with: the
        conversation of an agent, or any file of the caller's.
        """
        offer = self._held()
        known = next((one.answer for one in reversed(offer.context.answers) if one.question == question), None)
        if known is not None:
            return known
        id_ = hashlib.sha256(question.encode()).hexdigest()[:16]
        asked = AskedQuestion(id_, question, choices=tuple(Choice(choice) for choice in choices))
        form = question_form(asked)
        answers = await self._api.ask(offer.attempt, offer.fence, self._bearer, [form], self._inline_wait)
        if answers is not None:
            return ", ".join(answers[id_])
        session = None
        if notes is not None:
            await self._api.leave(offer.attempt, self._bearer, Carried.TRANSCRIPT, notes)
            session = f"{self._name}-{offer.attempt}"
        await self._end(RunOutcome(False, asked=(asked,), session_id=session))
        raise Parked(f"nobody has answered {question!r} yet; the task goes on when somebody does")

    async def earlier_notes(self, target: Path) -> bool:
        """Writes what the worker before has left to `target`; False when it left nothing."""
        offer = self._held()
        if offer.context.resume is None:
            return False
        await self._api.take_up(offer.attempt, self._bearer, Carried.TRANSCRIPT, target)
        digest = await asyncio.to_thread(lambda: hashlib.sha256(target.read_bytes()).hexdigest())
        if digest != offer.context.resume.transcript_sha256:
            raise TgsError("what arrived is not what the bot named")
        return True

    async def complete_task(self, bundle: Path, summary: str = "") -> None:
        """Hands in the result: a git bundle of the branch. A run of the bot's judges and publishes it."""
        offer = self._held()
        digest = await self._api.upload(offer.attempt, self._bearer, bundle)
        await self._end(RunOutcome(True, summary=summary, bundle_digest=digest))

    async def fail_task(self, reason: FailureReason, detail: str = "") -> None:
        """Says that the task failed; the bot decides what follows."""
        await self._end(RunOutcome(False, reason, detail))

    async def execute_work_order(
        self,
        source: Callable[[], AbstractAsyncContextManager[Path]],
        out: Path,
        log: RunLog,
        *,
        stop: asyncio.Event | None = None,
        allow_unisolated: bool = False,
    ) -> RunOutcome:
        """Has the agent that the task names do it, with heartbeats, questions and gate, and hands in what it made.

        `source` gives a repository that holds the pinned commit. `stop` ends the work early.
        """
        offer = self._held()

        async def upload(bundle: Path) -> None:
            await self._api.upload(offer.attempt, self._bearer, bundle)

        task = Task(
            context=offer.context,
            token=self._secret,
            heartbeat_seconds=offer.context.lease.heartbeat_seconds,
            source=source,
            out=out,
            interrupted=STOPPED,
            hand_on=upload,
            hands_in_log=True,
            inline_wait=self._inline_wait,
            allow_unisolated=allow_unisolated,
        )
        try:
            return await live(task, self._api, log, stop or asyncio.Event())
        finally:
            self._offer = None

    async def _end(self, outcome: RunOutcome) -> None:
        offer = self._held()
        await self._api.report(offer.attempt, self._bearer, report_form(offer.fence, outcome))
        self._offer = None

    def _held(self) -> Offer:
        if self._offer is None:
            raise UserError("There is no task in hand.", "Claim one first.")
        return self._offer

    async def _bearer(self) -> SecretStr:
        return self._secret
