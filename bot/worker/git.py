"""Running the git binary so that nothing on the machine or in the repository changes what it does.

Promise: an environment built from nothing (no system or user configuration, no hooks, no prompts, no credential
helpers, no pagers), argument lists only, a time limit on every call, output size bounded by the caller's limits. A
credential reaches only the one git process that needs it, through its environment and an askpass line, never through
argv or a file. A call that fails raises `GitError` with the sub-command and the end of stderr, redacted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bot.errors import TgsError
from bot.worker.redaction import redact

GIT_SECONDS: Final = 600.0  # a fetch of a large repository takes minutes; a hung one must not hold the job
MAX_OUTPUT: Final = 256_000_000  # a list of all paths of a very large tree; beyond it something is wrong
_CHUNK: Final = 65_536  # bytes read at once from a process that is being ended
_ERROR_TAIL: Final = 600  # characters of stderr that stand in an error
_TOKEN_VARIABLE: Final = "TGS_GIT_TOKEN"  # noqa: S105 - the variable's name, not its value

# Configuration that holds for every call. `safe.directory`: in a container the checkout may belong to another user.
_ALWAYS: Final = (
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.pager", "cat"),
    ("core.autocrlf", "false"),
    ("core.symlinks", "true"),
    ("commit.gpgSign", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("credential.helper", ""),
    ("protocol.allow", "never"),
    ("protocol.file.allow", "always"),
    ("protocol.http.allow", "always"),
    ("protocol.https.allow", "always"),
    ("http.followRedirects", "false"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "no"),
    ("filter.lfs.smudge", ""),
    ("filter.lfs.process", ""),
    ("filter.lfs.required", "false"),
    ("safe.directory", "*"),
    ("advice.detachedHead", "false"),
    ("init.defaultBranch", "main"),
)


class GitError(TgsError):
    """A git call failed. `stderr` is the redacted end of what git said."""

    def __init__(self, command: str, code: int, stderr: str) -> None:
        super().__init__(f"git {command} failed with exit code {code}: {stderr}")
        self.command = command
        self.code = code
        self.stderr = stderr


@dataclass(frozen=True, slots=True)
class GitOutput:
    """What a finished call left behind."""

    code: int
    stdout: bytes
    stderr: str


def git_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The whole environment of a git process: PATH from ours, everything else fixed."""
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_EDITOR": "/bin/false",
        "GIT_CONFIG_COUNT": str(len(_ALWAYS)),
    }
    for index, (key, value) in enumerate(_ALWAYS):
        env[f"GIT_CONFIG_KEY_{index}"] = key
        env[f"GIT_CONFIG_VALUE_{index}"] = value
    return env | dict(extra or {})


def token_environment(token: str) -> dict[str, str]:
    """The environment with which one git process may authenticate as `x-access-token`.

    An inline credential helper reads the token from the process's own environment: nothing is written to disk, and
    argv shows the helper's text only.
    """
    env = git_environment()
    count = int(env["GIT_CONFIG_COUNT"])
    helper = f'!f() {{ test "$1" = get && echo username=x-access-token && echo "password=${_TOKEN_VARIABLE}"; }}; f'
    env[f"GIT_CONFIG_KEY_{count}"] = "credential.helper"
    env[f"GIT_CONFIG_VALUE_{count}"] = helper
    env["GIT_CONFIG_COUNT"] = str(count + 1)
    env[_TOKEN_VARIABLE] = token
    return env


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kills a process and what it started. Its output is read to the end, for a full pipe would hold up the end."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdout, process.stderr):
        while stream is not None and await stream.read(_CHUNK):
            pass
    await process.wait()


class Git:
    """Git in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def run(
        self,
        *args: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        ok_codes: Sequence[int] = (0,),
        seconds: float = GIT_SECONDS,
    ) -> GitOutput:
        """Runs `git <args>` and returns all output. Raises GitError for other exit codes and time-outs."""
        process = await asyncio.create_subprocess_exec(
            "git",
            *args,
            cwd=self.directory,
            env=dict(env) if env is not None else git_environment(),
            stdin=asyncio.subprocess.PIPE if stdin is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(seconds):
                out, err = await process.communicate(stdin)
        except TimeoutError:
            raise GitError(args[0], -1, f"no end after {seconds:.0f} s") from None
        finally:
            if process.returncode is None:
                await _end(process)
        code = process.returncode if process.returncode is not None else -1
        text = redact(err.decode("utf-8", "replace")).strip()[-_ERROR_TAIL:]
        if code not in ok_codes:
            raise GitError(args[0], code, text)
        if len(out) > MAX_OUTPUT:
            raise GitError(args[0], code, f"more than {MAX_OUTPUT} bytes of output")
        return GitOutput(code, out, text)

    async def text(self, *args: str, env: Mapping[str, str] | None = None) -> str:
        """The stripped output of a call whose output is text."""
        return (await self.run(*args, env=env)).stdout.decode("utf-8", "replace").strip()

    async def has_commit(self, sha: str) -> bool:
        """Whether the commit's object is here."""
        result = await self.run("cat-file", "-e", f"{sha}^{{commit}}", ok_codes=(0, 1, 128))
        return result.code == 0
