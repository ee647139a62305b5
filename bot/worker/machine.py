"""A pull worker as a program: asks the bot for items, works on several at once, uploads what was made.

Promise: the life of an attempt is that of a job in Actions (`bot/worker/life.py`); a machine only brings the work in
and the result out. The worker token and the attempts' tokens stay in this process: not in argv, not in a log, not in an
agent's environment. Told to end, it takes nothing new, finishes what it can within its time and hands the rest back.

Known races: an answer to a claim may be lost, so the question is repeated with the same secret until it is answered,
once more at the end. A process that is killed leaves its folders, which the next one of the same name removes; its
attempts fall silent, and the bot gives the items to others after two leases.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import SecretStr
from yarl import URL

from bot.domain.identity import RunSecret
from bot.domain.model import FailureReason
from bot.errors import LostClaim, Refused, TgsError, UserError
from bot.worker.clones import Clones
from bot.worker.git import GitError
from bot.worker.life import POLITE, Interrupted, Task, live
from bot.worker.log import RunLog, log_name
from bot.worker.machine_api import WAIT_SECONDS, MachineApi, Offer
from bot.worker.machine_folder import MachineFolder
from bot.worker.model_proxy import ModelAccess
from bot.worker.outcome import AttemptFailed, RunOutcome
from bot.worker.process import Graces
from bot.worker.redaction import redact
from bot.worker.wire import ApiDown, ApiError

BEAT_SECONDS: Final = 60.0  # the bot calls a worker offline after three missed signs of life
PATIENCE: Final = 600.0  # seconds that finished work waits for a bot that is down: as long as its lease
LEAVE_SECONDS: Final = 15.0  # a bot that does not answer must not hold up the end; it sees the silence as well
INLINE_WAIT: Final = 60.0  # seconds for an answer; people who sit at the issue need less, others need hours
AGAIN_SECONDS: Final = 5.0  # between two questions when the bot answers "nothing" at once, or not at all
QUICK: Final = 1.0  # seconds; an answer that came sooner was not waited for by the bot

HANDED_BACK: Final = Interrupted(FailureReason.INFRA_RUNNER_LOST, "The worker was stopped and handed the item back.")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """How this machine works. `root` is absolute; `hide` are values that must not appear in a log.

    `model` is the way to the model; its key stays in this process. `logs` is where the logs of attempts go (default:
    under `root`). `beat_seconds` and `wait_seconds` are for tests.
    """

    name: str
    repos: tuple[str, ...]
    root: Path
    slots: int = 1
    capabilities: tuple[str, ...] = ()
    once: bool = False
    allow_unisolated: bool = False
    logs: Path | None = None
    hide: tuple[str, ...] = ()
    graces: Graces = POLITE
    model: ModelAccess | None = None
    beat_seconds: float = BEAT_SECONDS
    wait_seconds: float = WAIT_SECONDS


@dataclass(slots=True)
class Stop:
    """How the machine is told to end: `drain`: take nothing new; `now`: hand back what is being worked on."""

    drain: asyncio.Event = field(default_factory=asyncio.Event)
    now: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Tally:
    """What became of the items that were taken. `lost` claims were somebody else's by the end."""

    taken: int = 0
    failed: list[FailureReason] = field(default_factory=list)
    lost: int = 0


class Machine:
    """One worker. `say` prints a line for whoever runs it."""

    def __init__(
        self,
        settings: MachineSettings,
        api: MachineApi,
        clock: Callable[[], datetime],
        new_id: Callable[[str], str],
        say: Callable[[str], None],
        environ: Mapping[str, str],
    ) -> None:
        self._settings = settings
        self._api = api
        self._clock = clock
        self._new_id = new_id
        self._print = say
        self._folder = MachineFolder(settings.root, settings.name, settings.logs)
        self._clones = Clones(self._folder.clones, environ)
        self._id = ""
        self._tally = Tally()
        self._error: str | None = None
        self._unanswered: dict[int, tuple[str, str]] = {}
        self._stop = Stop()

    async def run(self, stop: Stop) -> Tally:
        """Works until drained; with `once` every slot takes one item at most.

        Raises UserError when the folder or the name is in use, Refused when the bot does not let this worker in, and
        with `once` ApiDown when it cannot be reached.
        """
        self._stop = stop
        with self._folder.alone():
            await self._folder.clean()
            await self._register()
            self._say(f"Worker {self._settings.name} asks for work in {', '.join(self._settings.repos)}.")
            alive = asyncio.create_task(self._alive())
            try:
                await _all(self._slot(slot) for slot in range(self._settings.slots))
            finally:
                alive.cancel()
                await asyncio.gather(alive, return_exceptions=True)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LEAVE_SECONDS):
                        await self._leave()
        return self._tally

    # --- being known -------------------------------------------------------------------------------

    async def _register(self) -> None:
        settings = self._settings
        while True:
            try:
                known = await self._api.register(
                    settings.name, settings.capabilities, settings.slots, str(settings.root.resolve())
                )
            except ApiError as error:
                raise _let_in(error) from None
            except ApiDown as error:
                if settings.once or self._stop.drain.is_set():
                    raise
                self._say(f"The bot cannot be reached yet: {error}")
                await self._pause(AGAIN_SECONDS)
            else:
                self._id = known.id
                return

    async def _alive(self) -> None:
        """Signs of life of the worker itself, whatever its attempts do."""
        while True:
            await asyncio.sleep(self._settings.beat_seconds)
            try:
                beat = await self._api.worker_beat(self._id, self._error)
            except LostClaim:
                self._drain("The bot has let this worker go.")
            except (ApiDown, ApiError, Refused) as error:
                self._say(f"The bot did not take the sign of life: {error}")
            else:
                if beat.drain:
                    self._drain("The bot wants this worker to end.")

    async def _leave(self) -> None:
        """Nothing new from now on; what was won by a question that we gave up is handed back."""
        try:
            await self._api.deregister(self._id)
        except (TgsError, UserError) as error:
            self._say(f"The bot could not be told of the end: {error}")
        for repo, secret in list(self._unanswered.values()):
            with contextlib.suppress(TgsError):
                offer = await self._ask(repo, secret, 0)
                if offer is not None:
                    await self._hand_back(offer, secret)

    def _drain(self, why: str) -> None:
        if not self._stop.drain.is_set():
            self._say(why)
            self._stop.drain.set()

    # --- one slot ----------------------------------------------------------------------------------

    async def _slot(self, slot: int) -> None:
        """Asks and works in turns until there is no reason to go on."""
        turn = slot
        while not self._stop.drain.is_set():
            asked = time.monotonic()
            try:
                found = await self._next(slot, turn)
            except ApiDown as error:
                if self._settings.once:
                    raise
                self._say(f"The bot cannot be asked for work: {error}")
                await self._pause(AGAIN_SECONDS)
                continue
            turn += 1
            if found is not None:
                offer, secret = found
                self._tally.taken += 1
                await self._carry_out(slot, offer, secret)
            elif not self._settings.once and time.monotonic() - asked < QUICK:
                await self._pause(AGAIN_SECONDS)
            if self._settings.once:
                return

    async def _next(self, slot: int, turn: int) -> tuple[Offer, SecretStr] | None:
        """The next item. With `once` every repository is asked without waiting; else they take turns."""
        repos, once = self._settings.repos, self._settings.once
        if slot in self._unanswered:
            asking = [self._unanswered[slot][0]]
        else:
            asking = list(repos) if once else [repos[turn % len(repos)]]
        for repo in asking:
            _, secret = self._unanswered.setdefault(slot, (repo, self._new_id(RunSecret.ATTEMPT)))
            try:
                offer = await self._unless_drained(self._ask(repo, secret, 0 if once else self._settings.wait_seconds))
            except LostClaim as error:
                self._say(f"A claim was withdrawn: {error}.")
                offer = None
            except (ApiError, Refused) as error:
                self._drain("No more work is asked for.")
                raise (_let_in(error) if isinstance(error, ApiError) else error) from None
            except _Drained:
                return None
            del self._unanswered[slot]
            if offer is not None:
                return offer, SecretStr(secret)
        return None

    async def _ask(self, repo: str, secret: str, wait: float) -> Offer | None:
        settings = self._settings
        return await self._api.claim(repo, settings.name, self._id, settings.capabilities, secret, wait)

    async def _carry_out(self, slot: int, offer: Offer, secret: SecretStr) -> None:
        context = offer.context
        what = f"{context.repository.full_name}#{context.issue}"
        if context.attempt != offer.attempt or context.fence != offer.fence:
            self._failed(what, FailureReason.LOST, "the bot's answer contradicts itself")
            return
        self._say(f"{what}: attempt {context.number} begins.")
        try:
            outcome = await self._live(slot, offer, secret)
        except LostClaim as error:
            self._tally.lost += 1
            self._say(f"{what}: the claim is lost: {error}. Nothing was handed on.")
        except Exception as error:  # noqa: BLE001 - whatever went wrong must not end the other slots
            detail = f"{type(error).__name__}: {error}"
            self._failed(what, FailureReason.INFRA_RUNNER_LOST, detail)
            with contextlib.suppress(TgsError):
                await self._hand_back(offer, secret, f"The worker could not go on: {type(error).__name__}.")
        else:
            if outcome.asked:
                self._say(f"{what}: the agent asks people; whoever is free goes on with the answer.")
            elif outcome.reason is None:
                self._error = None
                self._say(f"{what}: done and uploaded; a run publishes it.")
            else:
                self._failed(what, outcome.reason, outcome.detail)

    def _say(self, text: str) -> None:
        self._print(redact(text, self._settings.hide))

    def _failed(self, what: str, reason: FailureReason, detail: str) -> None:
        said = " ".join(detail.split())
        self._tally.failed.append(reason)
        self._error = redact(f"{what}: {reason.value}: {said}", self._settings.hide)[:500]
        self._say(f"{what}: not done ({reason.value}): {said}")

    async def _live(self, slot: int, offer: Offer, secret: SecretStr) -> RunOutcome:
        settings, context = self._settings, offer.context
        log = RunLog(
            self._folder.logs_of(context.repository.full_name) / log_name(context.label, self._clock()), self._clock
        )
        log.hide(secret.get_secret_value(), *settings.hide)

        @asynccontextmanager
        async def source() -> AsyncIterator[Path]:
            # The bot names its own GitHub; anything but a plain remote would be a way onto this machine.
            if URL(context.repository.clone_url).scheme not in {"http", "https"}:
                raise AttemptFailed(FailureReason.CONFIG_PERMISSION, "The repository's address is no web address.")
            async with contextlib.AsyncExitStack() as stack:
                try:
                    clone = await stack.enter_async_context(self._clones.at(context.repository, context.start_sha))
                except GitError as error:
                    raise AttemptFailed(
                        FailureReason.INFRA_NETWORK, f"The worker cannot fetch the repository: {error}"
                    ) from None
                yield clone

        async def upload(bundle: Path) -> None:
            async def bearer() -> SecretStr:
                return secret

            try:
                await self._api.upload(context.attempt, bearer, bundle)
            except (ApiError, Refused) as error:
                raise AttemptFailed(FailureReason.QUALITY_GATE, f"The bot did not take the bundle: {error}") from None

        try:
            with tempfile.TemporaryDirectory(dir=self._folder.work, prefix="out-") as out:
                task = Task(
                    context=context,
                    token=secret,
                    heartbeat_seconds=context.lease.heartbeat_seconds,
                    source=source,
                    out=Path(out),
                    interrupted=HANDED_BACK,
                    hand_on=upload,
                    hands_in_log=True,
                    patience=PATIENCE,
                    inline_wait=INLINE_WAIT,
                    allow_unisolated=settings.allow_unisolated,
                    graces=settings.graces,
                    model=settings.model,
                    agent_user=_agent_user(settings.name, slot),
                    parent=self._folder.work,
                )
                return await live(task, self._api, log, self._stop.now)
        finally:
            log.close()

    async def _hand_back(self, offer: Offer, secret: SecretStr | str, why: str = HANDED_BACK.detail) -> None:
        async def bearer() -> SecretStr:
            return SecretStr(secret) if isinstance(secret, str) else secret

        report = {"fence": offer.fence, "succeeded": False, "reason": HANDED_BACK.reason.value, "detail": why}
        await self._api.report(offer.attempt, bearer, report)

    # --- time --------------------------------------------------------------------------------------

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stop.drain.wait()

    async def _unless_drained(self, asking: Coroutine[Any, Any, T]) -> T:
        """The answer; raises _Drained when the end comes first."""
        question = asyncio.create_task(asking)
        drained = asyncio.create_task(self._stop.drain.wait())
        try:
            await asyncio.wait({question, drained}, return_when=asyncio.FIRST_COMPLETED)
            if question.done():
                return question.result()
            raise _Drained
        finally:
            for task in (question, drained):
                task.cancel()
            await asyncio.gather(question, drained, return_exceptions=True)


class _Drained(Exception):
    """The machine shall end; the question for work is given up."""


def _let_in(error: ApiError) -> TgsError:
    if error.status == 401:
        return Refused("The bot does not accept this worker token.", "Make a new one; it may have ended.")
    return error


def _agent_user(name: str, slot: int) -> str:
    """A user for each slot of each worker, so that the end of one attempt ends no other's processes."""
    return f"tgs-agent-{hashlib.sha256(f'{name}/{slot}'.encode()).hexdigest()[:8]}"


async def _all(slots: Iterator[Coroutine[Any, Any, None]]) -> None:
    """Runs all slots to their ends; the first error is raised when the last has ended."""
    ends = await asyncio.gather(*slots, return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end
