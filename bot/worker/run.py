"""The agent's job: from the once-only code to a bundle and a report.

Promise: whatever happens after the hand-over, the bot hears how it ended, once, unless the claim was lost: then nothing
is said and nothing is handed on. The agent never sees the attempt's token. A bundle is handed on only after the gate
accepted it here and the bot took the report with its digest.

Known race: the job may be killed between bundle and report. Then the publishing job finds no digest and reports the
failure instead; the bundle is lost, the attempt is not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, assert_never

from pydantic import SecretStr

from bot.domain.bundle import ContextBundle
from bot.domain.model import FailureReason
from bot.errors import LostClaim, TgsError, UserError
from bot.worker import workspace as workspaces
from bot.worker.adapters import adapter_named
from bot.worker.adapters.base import AgentResult, Session
from bot.worker.api import Api, Bearer, Handover
from bot.worker.bundle import BUNDLE_FILE, NothingToTake, commit_leftovers, take_bundle
from bot.worker.gate import Accepted, RefusedBundle, inspect
from bot.worker.git import Git, GitError
from bot.worker.heartbeat import Heart, StopCause
from bot.worker.isolation import Isolation, Launcher, choose
from bot.worker.log import RunLog, log_name
from bot.worker.outputs import Outputs
from bot.worker.process import Ending, Graces
from bot.worker.workspace import Workspace

RESERVE_SECONDS: Final = 600.0  # kept of the job's time for packing, gate, upload and report
RESERVE_SHARE: Final = 0.1  # and never more than this part, so that short limits leave time to work
INTERRUPTED_GRACES: Final = Graces(interrupt=3.0, terminate=1.0)  # the runner kills us about 10 s after its SIGINT
POLITE: Final = Graces()
ACCEPTANCE_LINES: Final = 15  # last lines of a failed check that the report quotes
_TEXT: Final = 4_000  # characters of summary and detail in a report


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What the job was given. `hide` are values that must not appear in the log."""

    attempt: str
    fence: int
    handoff: SecretStr
    source: Path
    out: Path
    allow_unisolated: bool = False
    hide: tuple[str, ...] = ()
    graces: Graces = POLITE


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How the job ended. `bundle_digest` is there exactly when it succeeded."""

    succeeded: bool
    reason: FailureReason | None = None
    detail: str = ""
    summary: str = ""
    bundle_digest: str | None = None
    isolation: Isolation | None = None


class _Failed(Exception):
    def __init__(self, reason: FailureReason, detail: str, summary: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.summary = summary


async def run_attempt(
    settings: RunSettings, api: Api, clock: Callable[[], datetime], outputs: Outputs, interrupt: asyncio.Event
) -> RunOutcome:
    """Does the whole job. `interrupt` is set when the runner wants us to end.

    Raises LostClaim when the attempt is no longer ours, and the API's errors when the hand-over fails.
    """
    handover = await api.handoff(settings.attempt, settings.fence, settings.handoff)
    context = handover.context
    if context.attempt != settings.attempt or context.fence != settings.fence:
        raise LostClaim("the bot handed over another attempt")
    log = RunLog(settings.out / "log" / log_name(context.label, clock()), clock)
    outputs.write("log_name", log.path.name)
    log.hide(handover.attempt_token.get_secret_value(), settings.handoff.get_secret_value(), *settings.hide)
    try:
        return await _run(settings, api, handover, log, outputs, interrupt)
    finally:
        log.close()


async def _run(
    settings: RunSettings,
    api: Api,
    handover: Handover,
    log: RunLog,
    outputs: Outputs,
    interrupt: asyncio.Event,
) -> RunOutcome:
    context = handover.context

    async def bearer() -> SecretStr:
        return handover.attempt_token

    place = workspaces.create()
    heart = Heart(api, bearer, context, handover.heartbeat_seconds, log, place.steer)
    log.info("attempt", attempt=context.attempt, number=context.number, issue=context.issue, branch=context.branch)
    async with _background(heart, interrupt):
        launcher, isolation = await choose(context.attempt, place.private / "probe", place.root)
        log.info("isolation", isolation=isolation.value)
        try:
            outcome = await _work(settings, context, place, launcher, isolation, heart, log)
        except _Failed as failed:
            outcome = RunOutcome(
                False,
                failed.reason,
                log.clean(failed.detail)[:_TEXT],
                log.clean(failed.summary)[:_TEXT],
                None,
                isolation,
            )
        finally:
            await launcher.remove(place.root)
        if heart.cause is not None:
            outcome = _stopped(heart.cause, isolation)
    if outcome.succeeded:
        log.info("accepted by the gate", digest=outcome.bundle_digest)
    else:
        log.warning("failed", reason=outcome.reason, detail=outcome.detail)
    await _report(api, bearer, context, outcome)
    if outcome.bundle_digest is not None:
        outputs.write("bundle_digest", outcome.bundle_digest)
    return outcome


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


def _stopped(cause: StopCause, isolation: Isolation) -> RunOutcome:
    match cause:
        case StopCause.LOST:
            raise LostClaim("another attempt has taken over, or this one was ended")
        case StopCause.CANCELLED:
            return RunOutcome(False, FailureReason.CANCELLED_BY_PERSON, "Stopped on request.", isolation=isolation)
        case StopCause.INTERRUPTED:
            return RunOutcome(
                False, FailureReason.CANCELLED_IN_ACTIONS, "The run was cancelled in Actions.", isolation=isolation
            )
        case _ as never:
            assert_never(never)


async def _report(api: Api, bearer: Bearer, context: ContextBundle, outcome: RunOutcome) -> None:
    report = {
        "fence": context.fence,
        "succeeded": outcome.succeeded,
        "reason": outcome.reason.value if outcome.reason is not None else None,
        "detail": outcome.detail,
        "summary": outcome.summary,
        "bundle_digest": outcome.bundle_digest,
        "isolation": outcome.isolation.value if outcome.isolation is not None else None,
    }
    await api.report(context.attempt, bearer, report)


async def _work(
    settings: RunSettings,
    context: ContextBundle,
    place: Workspace,
    launcher: Launcher,
    isolation: Isolation,
    heart: Heart,
    log: RunLog,
) -> RunOutcome:
    if isolation is Isolation.NONE and not (context.allow_unisolated or settings.allow_unisolated):
        raise _Failed(
            FailureReason.POLICY_DENIED,
            "The agent cannot be kept from the worker's credentials on this machine (no other user to run it as). "
            "Use a hosted runner, or set `allow_unisolated: true` in .tgs/policy.yml if you accept that.",
        )
    try:
        await workspaces.fill(place, context, settings.source, launcher)
        session = _session(settings, context, place, launcher, heart, log)
        result = await adapter_named(context.agent.adapter).run(session)
        if heart.stop.is_set():
            return RunOutcome(False)
        if result.reason is not None:
            raise _Failed(result.reason, result.detail, result.summary)
        digest = await _take(settings, session, log, result)
    except NothingToTake as nothing:
        raise _Failed(nothing.reason, nothing.detail) from None
    except UserError as error:
        raise _Failed(FailureReason.AGENT_CRASH, str(error)) from None
    except (GitError, OSError, TgsError) as error:
        raise _Failed(FailureReason.AGENT_CRASH, f"The workspace could not be used: {error}") from None
    return RunOutcome(True, None, "", log.clean(result.summary)[:_TEXT], digest, isolation)


def _session(
    settings: RunSettings, context: ContextBundle, place: Workspace, launcher: Launcher, heart: Heart, log: RunLog
) -> Session:
    limit = context.agent.timeout_minutes * 60
    budget = limit - min(RESERVE_SECONDS, limit * RESERVE_SHARE)

    def graces() -> Graces:
        return INTERRUPTED_GRACES if heart.cause is StopCause.INTERRUPTED else settings.graces

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
    )


async def _take(settings: RunSettings, session: Session, log: RunLog, result: AgentResult) -> str:
    """Packs, runs the acceptance checks on what was packed, and asks the gate."""
    if await commit_leftovers(session):
        log.info("committed what the agent had left uncommitted")
    bundle = settings.out / "bundle" / BUNDLE_FILE
    digest = await take_bundle(session, bundle)
    verdict = await _gate(settings, session, bundle)
    match verdict:
        case RefusedBundle():
            bundle.unlink()
            raise _Failed(verdict.reason, verdict.detail, result.summary)
        case Accepted():
            log.info("gate", files=verdict.files, insertions=verdict.insertions, deletions=verdict.deletions)
        case _ as never:
            assert_never(never)
    try:
        await _acceptance(session, log)
    except _Failed:
        bundle.unlink()
        raise
    return digest


async def _gate(settings: RunSettings, session: Session, bundle: Path) -> Accepted | RefusedBundle:
    folder = session.workspace.private / "gate.git"
    folder.mkdir()
    git = Git(folder)
    await git.run("init", "--quiet", "--bare", "--template=")
    # From the checkout that the agent never touched; by its refs, because a commit id alone may not be asked for.
    await git.run("fetch", "--quiet", "--no-tags", str(settings.source), "+HEAD:refs/base/head", "+refs/*:refs/base/*")
    return await inspect(bundle, folder, session.context)


async def _acceptance(session: Session, log: RunLog) -> None:
    """Runs the checks people asked for, as the agent's user. Raises _Failed for the first that fails."""
    for command in dict.fromkeys((*session.context.acceptance, *session.context.spec.acceptance)):
        lines: list[str] = []
        finished = await session.run(["sh", "-c", command], on_line=lines.append)
        for line in lines:
            log.info("acceptance", text=line)
        if finished.ending is Ending.STOPPED:
            return
        if finished.code != 0 or finished.ending is Ending.TIMED_OUT:
            said = "\n".join(lines[-ACCEPTANCE_LINES:])
            how = "did not end in time" if finished.ending is Ending.TIMED_OUT else f"ended with {finished.code}"
            raise _Failed(FailureReason.QUALITY_ACCEPTANCE, f"The check `{command}` {how}.\n{said}".strip())
