"""Running the agent's processes as somebody else, and checking that it really is somebody else.

Promise: `choose` returns what was *observed*: a probe runs through the launcher and must show another user id, no way
to become root, and no way to read a file that only the worker may read. Anything else is `Isolation.NONE`, which the
caller refuses unless it was allowed. As root (a container) the agent gets a user id of its own; on a hosted runner, a
user `tgs-agent` is made with sudo; elsewhere there is no isolation.

Known race: between choosing a free user id and using it another attempt on the same machine may choose it too; ids
derive from the attempt's id, so that two live attempts share one with a chance of one in thousands.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from bot.errors import TgsError

FIRST_UID: Final = 61_200  # inside systemd's range for dynamic users: no distribution assigns these to people
UID_COUNT: Final = 4_000
AGENT_USER: Final = "tgs-agent"
PROBE_SECONDS: Final = 20.0  # making a user and starting a shell; a hung sudo must not hold the job
_WITHOUT_SUDO: Final = tuple(f"--unset=SUDO_{name}" for name in ("COMMAND", "USER", "UID", "GID", "HOME"))
# Prints the user id; anything more is a fault: may be root, may read the worker's file, cannot reach the workspace.
_PROBE: Final = (
    "id -u; if sudo -n true 2>/dev/null; then echo sudo; fi; "
    'if cat -- "$1" 2>/dev/null; then echo read; fi; if ! cd -- "$2" 2>/dev/null; then echo unreachable; fi'
)


class Isolation(StrEnum):
    """How far the agent's processes are kept from the worker's."""

    USER = "user"
    NONE = "none"


class Launcher(Protocol):
    """Starts processes for the agent and has power over them."""

    async def start(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: int, stdout: int, stderr: int
    ) -> asyncio.subprocess.Process:
        """Starts argv in its own session with exactly `env`. Raises OSError when it cannot be started."""
        ...

    async def signal(self, process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        """Signals the process and its group; a process that is gone already is fine."""
        ...

    async def sweep(self, process: asyncio.subprocess.Process) -> None:
        """Kills at once whatever the process left behind."""
        ...

    async def give(self, path: Path) -> None:
        """Makes the tree at `path` the agent's own."""
        ...

    async def remove(self, path: Path) -> None:
        """Removes a tree, the agent's files included; never raises."""
        ...


def _kill_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


class SameUser:
    """No isolation: the agent runs as the worker does (a laptop, a test)."""

    async def start(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: int, stdout: int, stderr: int
    ) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *argv, cwd=cwd, env=dict(env), stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
        )

    async def signal(self, process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        _kill_group(process.pid, number)

    async def sweep(self, process: asyncio.subprocess.Process) -> None:
        _kill_group(process.pid, signal.SIGKILL)

    async def give(self, path: Path) -> None:
        """Nothing to do: it is ours and the agent's alike."""

    async def remove(self, path: Path) -> None:
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)


class OtherUid:
    """For a worker that is root: the agent gets a user id that nobody else has, and can never gain privileges."""

    def __init__(self, attempt: str) -> None:
        digest = hashlib.sha256(attempt.encode()).digest()
        self.uid = FIRST_UID + int.from_bytes(digest[:4], "big") % UID_COUNT

    async def start(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: int, stdout: int, stderr: int
    ) -> asyncio.subprocess.Process:
        who = str(self.uid)
        lock = (
            "setpriv",
            f"--reuid={who}",
            f"--regid={who}",
            "--clear-groups",
            "--no-new-privs",
            "--bounding-set=-all",
        )
        # `env` looks the program up with the agent's rights; setpriv itself still searches folders as root.
        return await asyncio.create_subprocess_exec(
            *lock, "--", "env", "--", *argv, cwd=cwd, env=dict(env), stdin=stdin, stdout=stdout, stderr=stderr,
            start_new_session=True,
        )  # fmt: skip

    async def signal(self, process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        _kill_group(process.pid, number)

    async def sweep(self, process: asyncio.subprocess.Process) -> None:
        """Everything of this user id, whichever session it fled to: nobody else has the id."""
        _kill_group(process.pid, signal.SIGKILL)
        await asyncio.to_thread(self._kill_all)

    def _kill_all(self) -> None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if entry.stat().st_uid == self.uid:
                        os.kill(int(entry.name), signal.SIGKILL)

    async def give(self, path: Path) -> None:
        await asyncio.to_thread(self._give, path)

    def _give(self, path: Path) -> None:
        for folder, _, files in os.walk(path):
            os.chown(folder, self.uid, self.uid, follow_symlinks=False)
            for name in files:
                os.chown(Path(folder) / name, self.uid, self.uid, follow_symlinks=False)
            for name in os.listdir(folder):
                os.chown(Path(folder) / name, self.uid, self.uid, follow_symlinks=False)

    async def remove(self, path: Path) -> None:
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)


class SudoUser:
    """For a hosted runner: the worker may use sudo without a password, the agent's user may not.

    The environment travels by `--preserve-env`, so that no value stands in argv. What `user` runs is swept away with
    the attempt, so attempts at the same time need users of their own.
    """

    def __init__(self, sudo: str = "sudo", user: str = AGENT_USER) -> None:
        self._sudo = sudo
        self._user = user

    async def prepare(self) -> None:
        """Makes the user if it is not there. Raises TgsError when sudo does not work here."""
        if await self._as_root("true") != 0:
            raise TgsError("sudo without a password is not possible here")
        if await self._as_root("id", "-u", self._user) != 0:
            await self._as_root("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", self._user)

    async def start(
        self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: int, stdout: int, stderr: int
    ) -> asyncio.subprocess.Process:
        keep = f"--preserve-env={','.join(sorted(env))}"
        # What sudo itself replaces (PATH), its setuid loader drops (TMPDIR) or it adds (SUDO_…) is put right after it;
        # none of these is secret. The folder is entered by the agent's user, for the worker may not.
        fixed = [f"{name}={env[name]}" for name in ("PATH", "HOME", "TMPDIR") if name in env]
        return await asyncio.create_subprocess_exec(
            self._sudo, "-n", keep, "-u", self._user, "--",
            "env", *_WITHOUT_SUDO, f"--chdir={cwd}", *fixed, "setpriv", "--no-new-privs", "--", *argv,
            cwd="/", env=dict(env), stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True,
        )  # fmt: skip

    async def signal(self, process: asyncio.subprocess.Process, number: signal.Signals) -> None:
        await self._as_root("pkill", f"-{number.value}", "-u", self._user)

    async def sweep(self, process: asyncio.subprocess.Process) -> None:
        await self._as_root("pkill", "-9", "-u", self._user)
        _kill_group(process.pid, signal.SIGKILL)

    async def give(self, path: Path) -> None:
        # The worker stays in the group, also of what the agent makes later, so that it can read the result.
        owned = await self._as_root("chown", "-hR", f"{self._user}:{os.getgid()}", str(path)) == 0
        if not owned or await self._as_root("chmod", "u=rwx,g=rxs,o=", str(path)) != 0:
            raise TgsError(f"the folder {path.name} could not be given to the user {self._user}")

    async def remove(self, path: Path) -> None:
        await self._as_root("rm", "-rf", "--", str(path))

    async def _as_root(self, *argv: str) -> int:
        try:
            process = await asyncio.create_subprocess_exec(
                self._sudo, "-n", "--", *argv,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        except OSError:
            return 127
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await process.wait()
        except TimeoutError:
            process.kill()
            return 124


async def probe(launcher: Launcher, private: Path, cwd: Path) -> Isolation:
    """What a process started by `launcher` can really do. `private` is a file that only the worker may read."""
    out_read, out_write = os.pipe()
    try:
        process = await launcher.start(
            ("sh", "-c", _PROBE, "sh", str(private), str(cwd)),
            cwd=cwd, env={"PATH": os.environ.get("PATH", os.defpath)},
            stdin=asyncio.subprocess.DEVNULL, stdout=out_write, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(PROBE_SECONDS):
            code = await process.wait()
    except (OSError, TimeoutError):
        os.close(out_read)
        return Isolation.NONE
    finally:
        os.close(out_write)
    with os.fdopen(out_read, "rb") as answer:
        lines = answer.read(10_000).decode("utf-8", "replace").split()
    # The last `if` of the probe is false when all is well, and the shell then ends with 0.
    if code != 0 or len(lines) != 1 or not lines[0].isdigit():
        return Isolation.NONE
    return Isolation.USER if int(lines[0]) not in {0, os.geteuid()} else Isolation.NONE


async def choose(attempt: str, private: Path, cwd: Path, user: str = AGENT_USER) -> tuple[Launcher, Isolation]:
    """The best launcher of this machine and the isolation that the probe saw with it. `user`: made where sudo can."""
    candidate: Launcher
    if os.geteuid() == 0:
        candidate = OtherUid(attempt)
    else:
        sudo = SudoUser(user=user)
        try:
            await sudo.prepare()
        except TgsError:
            return SameUser(), Isolation.NONE
        candidate = sudo
    if await probe(candidate, private, cwd) is Isolation.USER:
        return candidate, Isolation.USER
    return SameUser(), Isolation.NONE
