"""Running one process of the agent to its end, whatever it does.

Promise: the process ends in bounded time. On a stop request it gets SIGINT (an agent may save its work), then SIGTERM,
then SIGKILL, and whatever it started is killed after it. Its output is read as it comes, so that it never blocks on a
full pipe, and is handed over in bounded lines; beyond the limit it is counted, not kept. The pipe is read no longer
than a moment after the end, for a grandchild may hold it open.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from bot.worker.isolation import Launcher

MAX_LINE: Final = 8_000  # bytes of one line that are kept; longer ones are cut into several
_CHUNK: Final = 65_536
DRAIN_SECONDS: Final = 2.0  # the kernel hands over what is left at once; more time would only wait for strays


@dataclass(frozen=True, slots=True)
class Graces:
    """How long a process may take to end after each signal, in seconds."""

    interrupt: float = 20.0  # an agent that writes its session to disk needs some seconds
    terminate: float = 5.0  # Actions itself kills 7.5 s after its own SIGINT; this is the last polite word


class Ending(StrEnum):
    """Why the process ended."""

    BY_ITSELF = "by_itself"
    STOPPED = "stopped"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True)
class Finished:
    """How a process ended. `code` is negative for a signal."""

    code: int
    ending: Ending


class OutputLimit(Exception):
    """Raised by a sink that takes no more; the process is stopped."""


async def run(
    launcher: Launcher,
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stop: asyncio.Event,
    on_output: Callable[[bytes], None],
    stdin: bytes = b"",
    seconds: float | None = None,
    graces: Callable[[], Graces] = Graces,
    merge_stderr: bool = True,
) -> Finished:
    """Runs argv until it ends, `stop` is set, or `seconds` passed. Raises OSError when it cannot be started.

    `on_output` gets raw chunks in order; see `LineSplitter` for lines. `graces` is asked when the stop begins,
    because an outer limit may leave less time than usual.
    """
    out_read, out_write = os.pipe()
    with tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        try:
            process = await launcher.start(
                argv, cwd=cwd, env=env, stdin=given.fileno(), stdout=out_write,
                stderr=out_write if merge_stderr else asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except BaseException:
            os.close(out_read)
            raise
        finally:
            os.close(out_write)
    reader = asyncio.create_task(_read(out_read, on_output))
    try:
        ending = await _wait(process, stop, reader, seconds)
        if ending is not Ending.BY_ITSELF:
            await _end(launcher, process, graces())
        await launcher.sweep(process)
        code = await process.wait()
    finally:
        if process.returncode is None:
            await launcher.sweep(process)
            await process.wait()
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await asyncio.shield(asyncio.wait({reader}))
        reader.cancel()
        result = (await asyncio.gather(reader, return_exceptions=True))[0]
    if isinstance(result, OutputLimit):
        raise result
    return Finished(code, ending)


async def _wait(
    process: asyncio.subprocess.Process, stop: asyncio.Event, reader: asyncio.Task[None], seconds: float | None
) -> Ending:
    ended = asyncio.create_task(process.wait())
    stopped = asyncio.create_task(stop.wait())
    try:
        pending: set[asyncio.Task[Any]] = {ended, stopped, reader}
        loop = asyncio.get_running_loop()
        deadline = None if seconds is None else loop.time() + seconds
        while True:
            left = None if deadline is None else max(0.0, deadline - loop.time())
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if process.returncode is not None:
                return Ending.BY_ITSELF
            if stop.is_set():
                return Ending.STOPPED
            if reader in done and reader.exception() is not None:
                return Ending.STOPPED
            if not done:
                return Ending.TIMED_OUT
    finally:
        for task in (ended, stopped):
            task.cancel()
        await asyncio.gather(ended, stopped, return_exceptions=True)


async def _end(launcher: Launcher, process: asyncio.subprocess.Process, graces: Graces) -> None:
    for number, grace in ((signal.SIGINT, graces.interrupt), (signal.SIGTERM, graces.terminate)):
        await launcher.signal(process, number)
        try:
            async with asyncio.timeout(grace):
                await process.wait()
        except TimeoutError:
            continue
        return
    await launcher.signal(process, signal.SIGKILL)


async def _read(descriptor: int, on_output: Callable[[bytes], None]) -> None:
    loop = asyncio.get_running_loop()
    stream = asyncio.StreamReader(limit=_CHUNK)
    pipe = os.fdopen(descriptor, "rb", buffering=0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
    try:
        while chunk := await stream.read(_CHUNK):
            on_output(chunk)
    finally:
        transport.close()


class LineSplitter:
    """Cuts chunks into text lines of bounded length and gives each to `on_line`."""

    def __init__(self, on_line: Callable[[str], None], limit: int = MAX_LINE) -> None:
        self._on_line = on_line
        self._limit = limit
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Takes a chunk; complete lines are handed on at once."""
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            self._rest += part
            line, self._rest = bytes(self._rest), bytearray()
            self._emit(line)
        self._rest += rest
        while len(self._rest) > self._limit:
            self._emit(bytes(self._rest[: self._limit]))
            del self._rest[: self._limit]

    def close(self) -> None:
        """Hands on a last line that had no end."""
        if self._rest:
            self._emit(bytes(self._rest))
            self._rest = bytearray()

    def _emit(self, line: bytes) -> None:
        for start in range(0, max(1, len(line)), self._limit):
            self._on_line(line[start : start + self._limit].decode("utf-8", "replace").rstrip("\r"))
