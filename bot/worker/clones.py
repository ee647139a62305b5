"""One clone of each repository on a machine, from which every attempt gets a repository of its own.

Promise: a repository is fetched once, later only what is new; slots and worker processes that share the folder wait
for each other. What an agent works in is never part of the clone (no shared objects, configuration or hooks), so
nothing it does reaches the clone or another attempt. Fetching uses the git credentials that the machine has of its own,
prompts for none, runs no hook and follows no other protocol than those of ordinary remotes.

Race: while one attempt takes its commit out of the clone, no other may fetch; the lock is held that long. A process
that dies in the middle leaves the clone usable: git writes refs after objects, and making a clone anew changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from bot.domain.bundle import RepositoryPart
from bot.worker.git import Git, GitError
from bot.worker.workspace import safe_name

FETCH_SECONDS: Final = 3600.0  # the first clone of a very large repository over a slow line

_LOCK_LOOK: Final = 0.1  # seconds between two looks at a lock that another process holds

# What would point git at another repository than the one it is started for.
_MISLEADING: Final = frozenset(
    {
        "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_TEMPLATE_DIR", "GIT_TRACE", "GIT_TRACE_CURL",
        "GIT_CURL_VERBOSE", "GIT_TRACE_PACKET",
    }
)  # fmt: skip
_SETTINGS: Final = (
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("protocol.ext.allow", "never"),
    ("fetch.recurseSubmodules", "no"),
    ("safe.directory", "*"),
)


def machine_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for fetching: the machine's own, so that its git credentials work, without anything of ours."""
    kept = {name: value for name, value in environ.items() if name not in _MISLEADING and not name.startswith("TGS_")}
    count = int(kept.get("GIT_CONFIG_COUNT", "0") or "0") if kept.get("GIT_CONFIG_COUNT", "0").isdecimal() else 0
    for index, (key, value) in enumerate(_SETTINGS, start=count):
        kept[f"GIT_CONFIG_KEY_{index}"] = key
        kept[f"GIT_CONFIG_VALUE_{index}"] = value
    return kept | {
        "GIT_CONFIG_COUNT": str(count + len(_SETTINGS)),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "SSH_ASKPASS_REQUIRE": "never",
        "LC_ALL": "C.UTF-8",
    }


class Clones:
    """The clones under one folder."""

    def __init__(self, root: Path, environ: Mapping[str, str]) -> None:
        self._root = root
        self._env = machine_environment(environ)
        self._locks: dict[Path, asyncio.Lock] = {}

    def folder(self, full_name: str) -> Path:
        """Where a repository's clone is. Letter case does not matter, as on GitHub."""
        return self._root / f"{safe_name(full_name.lower())}.git"

    @asynccontextmanager
    async def at(self, repository: RepositoryPart, sha: str) -> AsyncIterator[Path]:
        """The clone, fetched now, with its HEAD at this commit while the block runs. Raises GitError."""
        self._root.mkdir(parents=True, exist_ok=True)
        folder = self.folder(repository.full_name)
        async with self._locks.setdefault(folder, asyncio.Lock()), _file_lock(folder.with_suffix(".lock")):
            folder.mkdir(parents=True, exist_ok=True)
            git = Git(folder)
            await git.run("init", "--quiet", "--bare", "--template=")
            await self._fetch(git, repository.clone_url, sha)
            await git.run("update-ref", "--no-deref", "HEAD", sha)
            yield folder

    async def _fetch(self, git: Git, url: str, sha: str) -> None:
        """All branches, and the commit also when no branch has it any more."""
        fetch = ("fetch", "--quiet", "--no-tags", "--force")
        try:
            await git.run(
                *fetch, "--prune", "--", url, "+refs/heads/*:refs/heads/*", env=self._env, seconds=FETCH_SECONDS
            )
            if not await git.has_commit(sha):
                await git.run(*fetch, "--", url, sha, env=self._env, seconds=FETCH_SECONDS)
        except GitError:
            # What is here already can be worked on although the server does not answer now.
            if not await git.has_commit(sha):
                raise


@asynccontextmanager
async def _file_lock(path: Path) -> AsyncIterator[None]:
    """One process at a time; ends with the process that holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            await asyncio.sleep(_LOCK_LOOK)
        yield
    finally:
        os.close(descriptor)
