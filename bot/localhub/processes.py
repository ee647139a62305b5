"""Processes of one job: started in groups of their own, read line by line, ended for certain.

Promise: nothing a job started outlives `close`. A polite end is SIGINT, then SIGTERM, then SIGKILL,
with the grace periods of GitHub's runner; a forced end is SIGKILL at once. A process left in the
background may keep the output open: its lines are read until the job ends, but nobody waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

DRAIN_S: Final = 0.5  # how long output is read on after the process itself has ended
CHUNK: Final = 65_536  # bytes per read; a pipe holds no more


@dataclass
class Grace:
    """Seconds between the signals of a polite end."""

    interrupt: float = 7.5
    terminate: float = 2.5


@dataclass
class ProcessGroup:
    """All processes of one job."""

    grace: Grace
    _leaders: list[int] = field(default_factory=list)
    _current: asyncio.subprocess.Process | None = None
    _readers: set[asyncio.Task[None]] = field(default_factory=set)
    _stopping: asyncio.Task[None] | None = None

    async def execute(
        self,
        argv: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        on_line: Callable[[str], None],
    ) -> int:
        """Run to the end and return the exit status (128 + signal for a killed process)."""
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                cwd=cwd,
                env=dict(env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            on_line(f"##[error]{argv[0]}: {error.strerror}")
            return 127
        self._leaders.append(process.pid)
        self._current = process
        assert process.stdout is not None
        reader = asyncio.create_task(_read(process.stdout, on_line))
        self._readers.add(reader)
        try:
            code = await process.wait()
            await asyncio.wait([reader], timeout=DRAIN_S)
        finally:
            self._current = None
        return code if code >= 0 else 128 - code

    def interrupt(self) -> None:
        """Begin a polite end of what runs now."""
        process = self._current
        if process is not None and (self._stopping is None or self._stopping.done()):
            self._stopping = asyncio.create_task(self._escalate(process))

    async def _escalate(self, process: asyncio.subprocess.Process) -> None:
        steps = ((signal.SIGINT, self.grace.interrupt), (signal.SIGTERM, self.grace.terminate))
        for number, seconds in steps:
            _signal(process.pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await process.wait()
                    return
        _signal(process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """End everything of this job at once."""
        for pid in self._leaders:
            _signal(pid, signal.SIGKILL)

    async def close(self) -> None:
        """Kill what is left and wait until all output has been read."""
        if self._stopping is not None:
            self._stopping.cancel()
            await asyncio.gather(self._stopping, return_exceptions=True)
        self.kill()
        if self._current is not None:
            await self._current.wait()
        await asyncio.gather(*self._readers, return_exceptions=True)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


async def _read(stream: asyncio.StreamReader, on_line: Callable[[str], None]) -> None:
    rest = b""
    while chunk := await stream.read(CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            on_line(line.decode("utf-8", "replace").rstrip("\r"))
    if rest:
        on_line(rest.decode("utf-8", "replace").rstrip("\r"))
