"""The folder of a machine's worker: `clones`, `work/<worker>` and `logs`, and who may use it.

Promise: one process under one name at a time. What others may not see lies in folders that may be entered but not
listed. What a killed process of the same name left is removed before the next one works; logs go after 30 days.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bot.errors import UserError
from bot.worker.isolation import SudoUser
from bot.worker.workspace import safe_name

LOG_DAYS: Final = 30  # logs are for looking into a complaint


@dataclass(frozen=True, slots=True)
class MachineFolder:
    """`root` is absolute; `logs` (default: under it) is where the logs of attempts go."""

    root: Path
    name: str
    logs: Path | None = None

    @property
    def clones(self) -> Path:
        return self.root / "clones"

    @property
    def work(self) -> Path:
        """Where the workspaces of this worker are made."""
        return self.root / "work" / safe_name(self.name)

    def logs_of(self, full_name: str) -> Path:
        """Where the logs of a repository's attempts go."""
        return self.logs or self.root / "logs" / safe_name(full_name)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the name while the block runs. Raises UserError when the folder cannot be used or the name is taken."""
        try:
            for folder in (self.root, self.work.parent, self.work):
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o711)
            descriptor = os.open(self.work.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UserError(
                f"The folder {self.root} cannot be used: {error.strerror}.", "Name another with --dir."
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UserError(
                f"A worker with the name {self.name!r} runs in {self.root} already.", "Give each its own --name."
            ) from None
        try:
            yield
        finally:
            os.close(descriptor)

    async def clean(self) -> None:
        """Removes what a killed process of this name left, and old logs."""
        for left in await asyncio.to_thread(lambda: list(self.work.iterdir())):
            await asyncio.to_thread(shutil.rmtree, left, ignore_errors=True)
            if await asyncio.to_thread(left.exists):
                await SudoUser().remove(left)
        await asyncio.to_thread(_forget_logs, self.logs or self.root / "logs")


def _forget_logs(folder: Path) -> None:
    before = time.time() - LOG_DAYS * 86_400
    for path in folder.rglob("*.log"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < before:
                path.unlink()
