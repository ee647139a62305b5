"""A demo as a real process: on a pipe or on a terminal, read line by line, with time limits and no sleeps."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

COMMAND = [sys.executable, "-c", "from bot.cli.main import main; main()", "demo"]
"""The console script's own line, so that the test needs no installed script."""

ON_TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
"""Makes standard input the terminal of the new session, so that Ctrl-C reaches everything in it."""

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def environment(tmp: Path) -> dict[str, str]:
    """A person's environment whose temporary files are all below `tmp`."""
    (tmp / "home").mkdir(exist_ok=True)
    (tmp / "tmp").mkdir(exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp / "home"),
        "TMPDIR": str(tmp / "tmp"),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "COLUMNS": "100",
        "GIT_CONFIG_NOSYSTEM": "1",
    }


@dataclass
class Terminal:
    """The demo on a pseudo-terminal."""

    process: subprocess.Popen[bytes]
    master: int
    text: str = ""
    _from: int = field(default=0)

    def expect(self, pattern: str, *, within: float) -> re.Match[str]:
        """Reads on until the pattern appears after what was expected before. Fails after `within` seconds."""
        end = time.monotonic() + within
        while True:
            found = re.compile(pattern).search(self.text, self._from)
            if found is not None:
                self._from = found.end()
                return found
            left = end - time.monotonic()
            assert left > 0, f"no {pattern!r} within {within} s:\n{self.text}"
            if select.select([self.master], [], [], left)[0] and not self._read():
                raise AssertionError(f"the demo ended without {pattern!r}:\n{self.text}")

    def _read(self) -> bool:
        try:
            data = os.read(self.master, 65536)
        except OSError:  # Linux says EIO when the other side of a terminal is closed
            return False
        self.text += _ESCAPES.sub("", data.decode("utf-8", "replace"))
        return bool(data)

    def press_ctrl_c(self) -> None:
        """As a person does: the terminal sends SIGINT to everything in the foreground."""
        os.write(self.master, b"\x03")

    def wait(self, within: float) -> int:
        """The exit code; what is still written is read meanwhile."""
        end = time.monotonic() + within
        while time.monotonic() < end and select.select([self.master], [], [], end - time.monotonic())[0]:
            if not self._read():
                break
        return self.process.wait(max(end - time.monotonic(), 1.0))


@contextlib.contextmanager
def on_a_terminal(tmp: Path, *args: str) -> Iterator[Terminal]:
    """The demo in its own session with a terminal of its own."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND[:2], ON_TERMINAL + COMMAND[2], *COMMAND[3:], *args],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(tmp),
        cwd=tmp,
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(master)


def processes_of(tmp: Path) -> list[str]:
    """Command lines of the processes that still live below the folder or were started with it."""
    needle = str(tmp).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            environ = (entry / "environ").read_bytes()
            line = (entry / "cmdline").read_bytes()
            if needle in environ or needle in line or os.fsencode(os.readlink(entry / "cwd")).startswith(needle):
                found.append(line.replace(b"\0", b" ").decode("utf-8", "replace"))
    return found
