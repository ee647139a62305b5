"""The life of one attempt, from the context to the report: the same in a job of Actions and on a machine.

Promise: the bot hears how it ended, once, unless the claim was lost: then nothing is said and nothing is handed on. The
agent never sees the attempt's token. Heartbeats are a task of their own from the first step, the fetching of the
repository included, so that long work never looks like silence. A bundle is handed on only after the gate accepted it
here.

Known race: the process may be killed between handing on and report. Then nobody vouches for the bundle and it is never
published; the attempt is not lost, for the bot sees the silence or the end of the run.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, assert_never

from pydantic import SecretStr

from bot.domain.bundle import ContextBundle
from bot.domain.failures import CONTINUES
from bot.domain.model import FailureReason
from bot.domain.opinion import doubts_from, note_of
from bot.domain.questions import (
    MAX_QUESTIONS,
)
from bot.errors import LostClaim, Refused, TgsError, Unproved, UserError
from bot.worker import workspace as workspaces
from bot.worker.acceptance import green_before
from bot.worker.adapters import adapter_named
from bot.worker.adapters.base import AgentResult, Resume, Session
from bot.worker.api import Api
from bot.worker.bundle import BUNDLE_FILE, NothingToTake
from bot.worker.conversation import leave, take_up
from bot.worker.git import Git, GitError
from bot.worker.heartbeat import Heart, StopCause
from bot.worker.isolation import AGENT_USER, Isolation, Launcher, choose
from bot.worker.log import RunLog
from bot.worker.model_proxy import ModelAccess, ModelDoor, ModelLimits, open_door
from bot.worker.outcome import AttemptFailed, RunOutcome, counted_form, question_form, report_form
from bot.worker.process import Graces
from bot.worker.second_opinion import Asking, second_opinion, without_model
from bot.worker.taking import base_for_the_gate, gate_folder, take_result
from bot.worker.wire import ApiDown, ApiError
from bot.worker.workspace import Workspace

RESERVE_SECONDS: Final = 1_800.0  # kept of the job's time: its setting up, then packing, gate, upload and report
RESERVE_SHARE: Final = 0.1  # and never more than this part, so that short limits leave time to work
INTERRUPTED_GRACES: Final = Graces(interrupt=3.0, terminate=1.0)  # the runner kills us about 10 s after its SIGINT
POLITE: Final = Graces()
AGAIN_SECONDS: Final = 15.0  # between two attempts to reach a bot that is down, beyond the retries of one call
LOG_BYTES: Final = 90_000  # of a failed attempt's log that the bot gets: its end, where the trouble is
DEFAULT_TURNS: Final = 100  # for a context that names none; what the policy says when nobody changes it
REQUESTS_PER_TURN: Final = 20  # to the model: subagents, summaries and repetitions come on top of the main loop
_TEXT: Final = 4_000  # characters of summary and detail in a report


@dataclass(frozen=True, slots=True)
class Interrupted:
    """What it means when this process is told to end before the work is done."""

    reason: FailureReason
    detail: str


async def nobody(_: Path) -> None:
    """Hands on nothing: a later step of the job takes the bundle from where it lies."""


@dataclass(frozen=True, slots=True)
class Task:
    """An attempt that is ours, and how this place works on it.

    `source` gives a repository that holds the pinned commit, for as long as its block runs; it raises AttemptFailed
    when there is none. `hand_on` takes the accepted bundle further. `hands_in_log`: the bot keeps the log of a failure,
    for nobody here keeps it as an artifact. `out` is the folder for the bundle. `patience` is for how many seconds a
    bot that is down is waited for before the result is given up, `inline_wait` for how many people may take to answer
    before the agent's machine is used for something else. `parent` is where the workspace is made. `model`
    is the way to the model with its key, which stays in this process; None: this place has none.
    """

    context: ContextBundle
    token: SecretStr
    heartbeat_seconds: float
    source: Callable[[], AbstractAsyncContextManager[Path]]
    out: Path
    interrupted: Interrupted
    hand_on: Callable[[Path], Awaitable[None]] = nobody
    hands_in_log: bool = False
    patience: float = 0.0
    inline_wait: float = 0.0
    allow_unisolated: bool = False
    graces: Graces = POLITE
    agent_user: str = AGENT_USER
    parent: Path | None = None
    model: ModelAccess | None = None

    async def bearer(self) -> SecretStr:
        """The credential of every call about the attempt."""
        return self.token


async def live(task: Task, api: Api, log: RunLog, interrupt: asyncio.Event) -> RunOutcome:
    """Works on the attempt and reports. `interrupt` is set when this process shall end.

    Raises LostClaim when the attempt is no longer ours, and the API's errors when the report is not taken.
    """
    context = task.context
    place = workspaces.create(task.parent, context.attempt if task.parent is not None else None)
    heart = Heart(api, task.bearer, context, task.heartbeat_seconds, log, place.steer)
    log.info("attempt", attempt=context.attempt, number=context.number, issue=context.issue, branch=context.branch)
    async with _background(heart, interrupt):
        launcher, isolation = await choose(context.attempt, place.private / "probe", place.root, task.agent_user)
        log.info("isolation", isolation=isolation.value)
        told: list[AgentResult] = []
        try:
            outcome = await _work(task, place, launcher, isolation, heart, log, api, told)
            if outcome.succeeded and heart.cause is None:
                await _patiently(task, heart.stop, lambda: task.hand_on(task.out / BUNDLE_FILE))
        except AttemptFailed as failed:
            outcome = RunOutcome(
                False,
                failed.reason,
                log.clean(failed.detail)[:_TEXT],
                log.clean(failed.summary)[:_TEXT],
                None,
                isolation,
                session_id=failed.session_id,
            )
        finally:
            await launcher.remove(place.root)
        if heart.cause is not None:
            outcome = _stopped(heart.cause, task.interrupted, isolation)
    for result in told:
        # Whatever became of the attempt: what its agent used is used.
        used = result.usage if outcome.usage is None or result.usage is None else outcome.usage + result.usage
        outcome = replace(
            outcome,
            usage=used or outcome.usage,
            not_before=result.not_before,
            prompt_version=result.prompt_version,
        )
    if outcome.succeeded:
        log.info("accepted by the gate", digest=outcome.bundle_digest)
    elif outcome.asked:
        log.info("asks people", questions=len(outcome.asked), session=outcome.session_id)
    else:
        log.warning("failed", reason=outcome.reason, detail=outcome.detail)
    try:
        await _patiently(task, asyncio.Event(), lambda: _tell(api, task, outcome, log))
    except Unproved:
        # The bot has lost its memory, not we our work: the publishing job proves which run this is.
        log.warning("the bot cannot check this attempt any more", succeeded=outcome.succeeded)
    return outcome


async def _patiently(task: Task, stop: asyncio.Event, call: Callable[[], Awaitable[None]]) -> None:
    """Makes a call that may wait for a bot that is down, up to the task's patience or until `stop`."""
    end = asyncio.get_running_loop().time() + task.patience
    while True:
        try:
            return await call()
        except ApiDown:
            if asyncio.get_running_loop().time() >= end:
                raise
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_SECONDS):
                await stop.wait()
                return None


@contextlib.asynccontextmanager
async def _background(heart: Heart, interrupt: asyncio.Event) -> AsyncIterator[None]:
    """Heartbeats and the runner's interruption, for as long as the block runs."""

    async def watch() -> None:
        await interrupt.wait()
        heart.end(StopCause.INTERRUPTED)

    tasks = [asyncio.create_task(heart.run()), asyncio.create_task(watch())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _stopped(cause: StopCause, interrupted: Interrupted, isolation: Isolation) -> RunOutcome:
    match cause:
        case StopCause.LOST:
            raise LostClaim("another attempt has taken over, or this one was ended")
        case StopCause.CANCELLED:
            return RunOutcome(False, FailureReason.CANCELLED_BY_PERSON, "Stopped on request.", isolation=isolation)
        case StopCause.INTERRUPTED:
            return RunOutcome(False, interrupted.reason, interrupted.detail, isolation=isolation)
        case _ as never:
            assert_never(never)


async def _tell(api: Api, task: Task, outcome: RunOutcome, log: RunLog) -> None:
    reason = outcome.reason
    if task.hands_in_log and reason is not None and not reason.value.startswith("cancelled."):
        failure = {
            "fence": task.context.fence,
            "reason": reason.value,
            "message": outcome.detail,
            "log": await asyncio.to_thread(log.tail, LOG_BYTES),
            **counted_form(outcome),
        }
        await api.fail(task.context.attempt, task.bearer, failure)
        return
    await api.report(task.context.attempt, task.bearer, report_form(task.context.fence, outcome))


async def _work(
    task: Task,
    place: Workspace,
    launcher: Launcher,
    isolation: Isolation,
    heart: Heart,
    log: RunLog,
    api: Api,
    told: list[AgentResult],
) -> RunOutcome:
    if isolation is Isolation.NONE and not (task.context.allow_unisolated or task.allow_unisolated):
        raise AttemptFailed(
            FailureReason.POLICY_DENIED,
            "The agent cannot be kept from the worker's credentials on this machine (no other user to run it as). "
            "Use a machine where it can, or set `allow_unisolated: true` in .tgs/policy.yml if you accept that.",
        )
    try:
        async with task.source() as source:
            await base_for_the_gate(place, source)
            taken = await take_up(task.context, place, gate_folder(place), api, task.bearer, log)
            await workspaces.fill(place, task.context, source, launcher, taken.begun)
        problem = await asyncio.to_thread(workspaces.without_plan, place, task.context)
        if problem is not None:
            raise AttemptFailed(FailureReason.CONFIG_AGENT, f"The plan cannot be worked on: {problem}")
        if task.context.resume is not None and taken.resume is None:
            heart.progress(0, 0, "The earlier conversation is gone; it begins afresh.")
        session = _session(task, place, launcher, heart, log, taken.resume)
        before = await green_before(session, log)
        adapter = adapter_named(task.context.agent.adapter, place.work)
        async with _door(task, log) as door:
            with_model = {} if door is None else door.environment
            session_now = replace(session, model=door, environment={**session.environment, **with_model})
            result = await adapter.run(session_now)
            told.append(result)
            while (resume := await _answered_now(task, result, heart, api, log)) is not None:
                result = await adapter.run(replace(session_now, resume=resume))
                told.append(result)
        if heart.stop.is_set():
            return RunOutcome(False)
        if result.asked:
            session_id = await leave(session, result, place.private / "leave", api, task.bearer, log)
            asked = result.asked[:MAX_QUESTIONS]
            return RunOutcome(False, isolation=isolation, asked=asked, session_id=session_id)
        if result.reason is not None:
            left = result.reason in CONTINUES
            left_id = await leave(session, result, place.private / "leave", api, task.bearer, log) if left else None
            raise AttemptFailed(result.reason, result.detail, result.summary, left_id)
        made = await take_result(task.out, session, log, result, before)
        looked = await second_opinion(
            Asking(
                session,
                Git(gate_folder(place)),
                made.accepted,
                made.checks,
                tuple(told),
                lambda bounds: _door(replace(task, context=bounds), log),
                task.parent,
                log,
            )
        )
    except NothingToTake as nothing:
        raise AttemptFailed(nothing.reason, nothing.detail) from None
    except LostClaim:
        heart.end(StopCause.LOST)
        return RunOutcome(False)
    except UserError as error:
        raise AttemptFailed(FailureReason.AGENT_CRASH, str(error)) from None
    except (GitError, OSError, TgsError) as error:
        raise AttemptFailed(FailureReason.AGENT_CRASH, f"The workspace could not be used: {error}") from None
    summary, doubts, opinion = log.clean(result.summary)[:_TEXT], made.doubts, None
    if looked is not None:
        told.append(without_model(looked, result))
        doubts += tuple(replace(doubt, says=log.clean(doubt.says)) for doubt in doubts_from(looked.opinion))
        opinion = note_of(looked.opinion)
    return RunOutcome(True, None, "", summary, made.digest, isolation, doubts=doubts, opinion=opinion)


async def _answered_now(task: Task, result: AgentResult, heart: Heart, api: Api, log: RunLog) -> Resume | None:
    """The conversation with people's answers, when they come while this machine waits for them."""
    asks = result.asked[:MAX_QUESTIONS]
    if not asks or task.inline_wait <= 0 or result.session_id is None or result.transcript is None:
        return None
    if heart.stop.is_set() or heart.draining:
        return None
    log.info("asks people and waits", questions=len(asks), seconds=task.inline_wait)
    forms = [question_form(question) for question in asks]
    context = task.context
    try:
        answers = await api.ask(context.attempt, context.fence, task.bearer, forms, task.inline_wait)
    except (ApiDown, ApiError, Refused) as error:
        # What cannot be asked now is asked by the report.
        log.warning("nobody could be asked", error=str(error))
        return None
    return None if answers is None else Resume(result.session_id, result.transcript, answers)


@contextlib.asynccontextmanager
async def _door(task: Task, log: RunLog) -> AsyncIterator[ModelDoor | None]:
    """The agent's way to the model while it works: bounded by its turns and its budget."""
    if task.model is None:
        yield None
        return
    log.hide(task.model.key.get_secret_value())
    agent = task.context.agent
    limits = ModelLimits(REQUESTS_PER_TURN * (agent.max_turns or DEFAULT_TURNS), task.context.spec.budget_usd)
    async with open_door(task.model, limits) as door:
        log.hide(door.token)
        yield door
        passed = door.passed
        log.info("model", requests=passed.requests, read=passed.input_tokens, written=passed.output_tokens)


def time_to_work(minutes: float) -> float:
    """Seconds until an agent whose job may last `minutes` is interrupted, with its conversation and work kept."""
    limit = minutes * 60
    return limit - min(RESERVE_SECONDS, limit * RESERVE_SHARE)


def _session(
    task: Task, place: Workspace, launcher: Launcher, heart: Heart, log: RunLog, resume: Resume | None
) -> Session:
    context = task.context
    budget = time_to_work(context.agent.timeout_minutes)

    def graces() -> Graces:
        return INTERRUPTED_GRACES if heart.cause is StopCause.INTERRUPTED else task.graces

    return Session(
        context=context,
        workspace=place,
        work=place.work,
        launcher=launcher,
        environment=workspaces.agent_environment(place, context),
        stop=heart.stop,
        deadline=asyncio.get_running_loop().time() + budget,
        progress=heart.progress,
        on_line=lambda line: log.info("agent", text=line),
        graces=graces,
        resume=resume,
        steer=heart.words,
    )
