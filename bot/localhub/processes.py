"""Processes of one job: started in groups of their own, read line by line, ended for certain.

Promise: nothing a job started outlives `close`. A polite end is SIGINT, then SIGTERM, then SIGKILL,
with the grace periods of GitHub's runner; a forced end is SIGKILL at once. A process left in the
background may keep the output open: its lines are read until the job ends, but nobody waits for it.

The output goes through a pipe of our own and the exit is awaited in a thread, because asyncio's own
`wait` also waits for the pipes, and so for every process in the background.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
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


@dataclass(eq=False)
class _Process:
    pid: int
    ended: asyncio.Future[int]
    reader: asyncio.Task[None]
    pipe: asyncio.ReadTransport


@dataclass
class ProcessGroup:
    """All processes of one job."""

    grace: Grace
    _all: list[_Process] = field(default_factory=list)
    _current: _Process | None = None
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
            process = await _start(argv, cwd, env, on_line)
        except OSError as error:
            on_line(f"##[error]{argv[0]}: {error.strerror}")
            return 127
        self._all.append(process)
        self._current = process
        try:
            code = await asyncio.shield(process.ended)
            await asyncio.wait([process.reader], timeout=DRAIN_S)
        finally:
            self._current = None
        return code if code >= 0 else 128 - code

    def interrupt(self) -> None:
        """Begin a polite end of what runs now."""
        process = self._current
        if process is not None and (self._stopping is None or self._stopping.done()):
            self._stopping = asyncio.create_task(self._escalate(process))

    async def _escalate(self, process: _Process) -> None:
        steps = ((signal.SIGINT, self.grace.interrupt), (signal.SIGTERM, self.grace.terminate))
        for number, seconds in steps:
            _signal(process.pid, number)
            await asyncio.wait([process.ended], timeout=seconds)
            if process.ended.done():
                return
        _signal(process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """End everything of this job at once."""
        for process in self._all:
            _signal(process.pid, signal.SIGKILL)

    async def close(self) -> None:
        """Kill what is left, wait until it has ended and all output has been read."""
        if self._stopping is not None:
            self._stopping.cancel()
            await asyncio.gather(self._stopping, return_exceptions=True)
        self.kill()
        for process in self._all:
            await process.ended
            # A grandchild that left the group could hold the pipe for ever: read what is there.
            await asyncio.wait([process.reader], timeout=DRAIN_S)
            process.reader.cancel()
            process.pipe.close()
        await asyncio.gather(*(p.reader for p in self._all), return_exceptions=True)
        self._all.clear()


async def _start(argv: Sequence[str], cwd: Path, env: Mapping[str, str], on_line: Callable[[str], None]) -> _Process:
    loop = asyncio.get_running_loop()
    read_end, write_end = os.pipe()
    try:
        # Starting takes a millisecond or two; a thread for it would cost as much.
        child = subprocess.Popen(  # noqa: ASYNC220 - see above; waiting for it is done elsewhere
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=write_end,
            stderr=write_end,
            start_new_session=True,
        )
    except OSError:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    ended: asyncio.Future[int] = loop.create_future()
    threading.Thread(target=_wait, args=(child, loop, ended), name=f"wait {child.pid}", daemon=True).start()
    stream = asyncio.StreamReader()
    file = os.fdopen(read_end, "rb", 0)
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), file)
    return _Process(child.pid, ended, asyncio.create_task(_read(stream, on_line)), pipe)


def _wait(child: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop, ended: asyncio.Future[int]) -> None:
    code = child.wait()

    def report() -> None:
        if not ended.done():
            ended.set_result(code)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(report)


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
