"""Takes up the conversation of an earlier attempt, and leaves this attempt's for the next.

Promises: what is taken up has the SHA-256 that the context names, or is not used; the work that comes with it is judged
by the gate like everything an agent made. The agent's own file is read with the agent's rights, so that it cannot point
at a file of the worker's. Whatever is missing makes the next attempt begin afresh with question and answer in its
context; it never fails the attempt.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bot.domain.bundle import ContextBundle, ResumePart
from bot.domain.carried import MAX_TRANSCRIPT, Carried
from bot.errors import LostClaim, TgsError, UserError
from bot.worker.adapters.base import AgentResult, Resume, Session
from bot.worker.api import Api, Bearer
from bot.worker.bundle import NothingToTake, commit_leftovers, take_bundle
from bot.worker.gate import CANDIDATE_REF, RefusedBundle, inspect_work
from bot.worker.git import Git, GitError
from bot.worker.log import RunLog
from bot.worker.process import Ending, OutputLimit, run
from bot.worker.workspace import Begun, Workspace

READ_SECONDS: Final = 60.0  # copying some megabytes; the agent's files may lie on a slow disk


@dataclass(frozen=True, slots=True)
class TakenUp:
    """The conversation that goes on, and the work that it had begun. Both None: begin afresh."""

    resume: Resume | None = None
    begun: Begun | None = None


async def take_up(
    context: ContextBundle, place: Workspace, base: Path, api: Api, bearer: Bearer, log: RunLog
) -> TakenUp:
    """Fetches what the context names. `base` is a bare repository of the worker's that holds the start commit.

    Raises LostClaim when the attempt is no longer ours.
    """
    part = context.resume
    if part is None:
        return TakenUp()
    try:
        await _fetch(context, part.transcript_sha256, Carried.TRANSCRIPT, place.transcript_file, api, bearer)
        begun = await _begun(context, part, place, base, api, bearer)
    except LostClaim:
        raise
    except (TgsError, UserError, GitError, OSError) as error:
        place.transcript_file.unlink(missing_ok=True)
        log.warning("the earlier conversation cannot be used", error=str(error))
        return TakenUp()
    log.info("the earlier conversation goes on", session=part.session_id, work=begun is not None)
    return TakenUp(Resume(part.session_id, place.transcript_file, part.answers), begun)


async def _begun(
    context: ContextBundle, part: ResumePart, place: Workspace, base: Path, api: Api, bearer: Bearer
) -> Begun | None:
    if part.work_sha256 is None:
        return None
    file = place.private / "begun.bundle"
    await _fetch(context, part.work_sha256, Carried.WORK, file, api, bearer)
    repository = place.private / "begun.git"
    await asyncio.to_thread(repository.mkdir)
    await Git(repository).run("init", "--quiet", "--bare", "--template=")
    # Thrown away after a refusal, as the gate wants it; what is there already is looked up, not copied.
    alternates = repository / "objects" / "info" / "alternates"
    await asyncio.to_thread(alternates.parent.mkdir, parents=True, exist_ok=True)
    await asyncio.to_thread(alternates.write_text, f"{base / 'objects'}\n", encoding="utf-8")
    verdict = await inspect_work(file, repository, context)
    await asyncio.to_thread(file.unlink)
    if isinstance(verdict, RefusedBundle):
        raise TgsError(f"the work so far is refused: {verdict.detail}")
    return Begun(repository, CANDIDATE_REF, verdict)


async def _fetch(context: ContextBundle, sha256: str, kind: Carried, target: Path, api: Api, bearer: Bearer) -> None:
    """Raises TgsError when what arrived is not what the context names."""
    await api.take_up(context.attempt, bearer, kind, target)
    with target.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise TgsError(f"the {kind.value} that arrived is another one")


async def leave(
    session: Session, result: AgentResult, folder: Path, api: Api, bearer: Bearer, log: RunLog
) -> str | None:
    """Leaves conversation and work for the next attempt; the agent's id of the conversation, if it can go on.

    Raises LostClaim when the attempt is no longer ours.
    """
    attempt = session.context.attempt
    if result.session_id is None or result.transcript is None:
        return None
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    try:
        transcript = await _own_file(session, result.transcript, folder / "transcript")
        work = await _work(session, folder / "work.bundle", log)
        if work is not None:
            await api.leave(attempt, bearer, Carried.WORK, work)
        await api.leave(attempt, bearer, Carried.TRANSCRIPT, transcript)
    except LostClaim:
        raise
    except (TgsError, UserError, OSError) as error:
        log.warning("the conversation cannot be kept", error=str(error))
        return None
    return result.session_id


async def _own_file(session: Session, path: Path, target: Path) -> Path:
    """The agent's file, read as the agent. Raises TgsError when it cannot be read or is too large."""
    left = MAX_TRANSCRIPT
    with target.open("wb") as file:

        def take(chunk: bytes) -> None:
            nonlocal left
            left -= len(chunk)
            if left < 0:
                raise OutputLimit
            file.write(chunk)

        try:
            finished = await run(
                session.launcher,
                ("cat", "--", str(path)),
                cwd=session.work,
                env=session.environment,
                stop=session.stop,
                on_output=take,
                seconds=READ_SECONDS,
                graces=session.graces,
                merge_stderr=False,
            )
        except OutputLimit:
            raise TgsError(f"the conversation is larger than {MAX_TRANSCRIPT} bytes") from None
    if finished.ending is not Ending.BY_ITSELF or finished.code != 0 or left == MAX_TRANSCRIPT:
        raise TgsError("the agent's record of the conversation cannot be read")
    return target


async def _work(session: Session, target: Path, log: RunLog) -> Path | None:
    """What the agent has changed so far, as a bundle; None when there is nothing."""
    try:
        await commit_leftovers(session)
        await take_bundle(session, target)
    except NothingToTake as nothing:
        log.info("no work to keep", reason=nothing.reason.value)
        return None
    return target
