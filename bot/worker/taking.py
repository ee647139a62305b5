"""Taking the agent's result: packed, judged by the gate, checked by the acceptance commands, doubted.

Promise: what is returned was accepted by the gate here; of a result that was not, no bundle is left. `before` are the
checks that passed without the work. What the result is compared with was fetched before the agent ran.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from bot.domain.doubts import Doubt
from bot.worker.acceptance import accept
from bot.worker.adapters.base import AgentResult, Session
from bot.worker.bundle import BUNDLE_FILE, commit_leftovers, take_bundle
from bot.worker.gate import Accepted, RefusedBundle, inspect
from bot.worker.gate_doubts import doubts_about
from bot.worker.git import Git
from bot.worker.log import RunLog
from bot.worker.look import CheckSaid
from bot.worker.outcome import AttemptFailed
from bot.worker.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Taken:
    """A result that the gate accepted and whose checks passed. `digest` is that of its bundle."""

    digest: str
    accepted: Accepted
    checks: tuple[CheckSaid, ...]
    doubts: tuple[Doubt, ...]


async def take_result(out: Path, session: Session, log: RunLog, result: AgentResult, before: frozenset[str]) -> Taken:
    """Packs into the folder `out`, asks the gate, runs the acceptance checks, and collects what reviewers must see.

    Raises AttemptFailed for a result that is refused, NothingToTake when there is none.
    """
    if await commit_leftovers(session):
        log.info("committed what the agent had left uncommitted")
    bundle = out / BUNDLE_FILE
    digest = await take_bundle(session, bundle)
    verdict = await inspect(bundle, gate_folder(session.workspace), session.context)
    match verdict:
        case RefusedBundle():
            bundle.unlink()
            raise AttemptFailed(verdict.reason, verdict.detail, result.summary)
        case Accepted():
            log.info("gate", files=verdict.files, insertions=verdict.insertions, deletions=verdict.deletions)
        case _ as never:
            assert_never(never)
    try:
        checks = await accept(session, log)
    except AttemptFailed:
        bundle.unlink()
        raise
    gate = Git(gate_folder(session.workspace))
    doubts = await doubts_about(gate, session.context, verdict, summary=result.summary, green_before=before)
    log.info("doubts", found=[f"{doubt.kind.value} {doubt.where}".strip() for doubt in doubts])
    return Taken(digest, verdict, checks, doubts)


def gate_folder(place: Workspace) -> Path:
    return place.private / "gate.git"


async def base_for_the_gate(place: Workspace, source: Path) -> None:
    """What the result will be compared with, taken before the agent runs, from where it never was."""
    folder = gate_folder(place)
    folder.mkdir()
    git = Git(folder)
    await git.run("init", "--quiet", "--bare", "--template=")
    # By its refs, because a commit id alone may not be asked for.
    await git.run("fetch", "--quiet", "--no-tags", str(source), "+HEAD:refs/base/head", "+refs/*:refs/base/*")
