"""Taking the agent's commits out of its workspace, as a file of data.

Promise: git runs in the workspace with the agent's rights only, because the repository's configuration is the agent's;
what comes out of it is one bundle of at most the allowed size, in a folder of the worker's. The digest is the SHA-256
of the file's bytes, in hex.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from bot.domain.bundle import bundle_cap
from bot.domain.model import FailureReason
from bot.errors import TgsError
from bot.worker.adapters.base import Session
from bot.worker.process import Ending, OutputLimit, run

BUNDLE_FILE: Final = "tgs.bundle"
LEFTOVER_MESSAGE: Final = "Keep what the agent left uncommitted"
GIT_SECONDS: Final = 300.0  # packing some megabytes takes seconds; the agent's repository may be slow on purpose


class NothingToTake(TgsError):
    """The workspace yields no bundle. `reason` says what that means for the attempt."""

    def __init__(self, reason: FailureReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


async def commit_leftovers(session: Session) -> bool:
    """Commits what the agent changed but did not commit; whether there was anything. Raises NothingToTake."""
    status = await _git(session, "status", "--porcelain=v1", "--ignore-submodules=all")
    if not status.strip():
        return False
    await _git(session, "add", "--all")
    await _git(session, "commit", "--quiet", "--no-verify", "--message", LEFTOVER_MESSAGE)
    return True


async def take_bundle(session: Session, target: Path) -> str:
    """Writes the bundle of everything since the start commit; returns its digest.

    Raises NothingToTake when there is no new commit, git fails in the workspace, or the bundle is too large.
    """
    start = session.context.start_sha
    head = (await _git(session, "rev-parse", "--verify", "HEAD^{commit}")).strip().decode("ascii", "replace")
    if head == start:
        raise NothingToTake(FailureReason.AGENT_EMPTY_OUTPUT, "The agent made no commit.")
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    cap = bundle_cap(session.context.limits.max_bytes)
    with target.open("wb") as file:
        try:
            sink = _Sink(file, digest.update, cap)
            code = await _run(session, sink, "bundle", "create", "--quiet", "--version=2", "-", f"{start}..HEAD")
        except OutputLimit:
            raise NothingToTake(
                FailureReason.QUALITY_GATE, f"The commits are larger than the limit of {cap} bytes (max_bytes)."
            ) from None
        file.flush()
        os.fsync(file.fileno())
    if code != 0:
        raise NothingToTake(FailureReason.SECURITY_BUNDLE, "The agent's commits could not be packed by git.")
    return digest.hexdigest()


class _Sink:
    """Writes chunks to the file and the digest, up to a limit."""

    def __init__(self, file: BinaryIO, update: Callable[[bytes], None], cap: int) -> None:
        self._file = file
        self._update = update
        self._left = cap

    def __call__(self, chunk: bytes) -> None:
        self._left -= len(chunk)
        if self._left < 0:
            raise OutputLimit
        self._file.write(chunk)
        self._update(chunk)


async def _git(session: Session, *args: str) -> bytes:
    """The output of a git call in the workspace that must succeed."""
    parts: list[bytes] = []
    code = await _run(session, parts.append, *args)
    if code != 0:
        raise NothingToTake(FailureReason.AGENT_CRASH, f"git {args[0]} failed in the workspace the agent left.")
    return b"".join(parts)


async def _run(session: Session, on_output: Callable[[bytes], None], *args: str) -> int:
    finished = await run(
        session.launcher,
        ("git", *args),
        cwd=session.work,
        env=session.environment,
        stop=session.stop,
        on_output=on_output,
        seconds=GIT_SECONDS,
        graces=session.graces,
        merge_stderr=False,
    )
    return finished.code if finished.ending is Ending.BY_ITSELF else -1
