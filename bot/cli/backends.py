"""Which backlog a command means, chosen in one place: the bot's, or GitHub alone.

Promise: credentials come from the settings only, never from an argument. The parts of a backend are imported when it is
used, so that `tgs --help` stays quick. Nothing is asked of the network here.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never

from bot.client.plain import plain
from bot.domain.workers import WORKER_PREFIX
from bot.errors import UserError

if TYPE_CHECKING:
    from pydantic import SecretStr

    from bot.client.backlog import Backlog
    from bot.client.remembered import Remembered
    from bot.client.server_backlog import ServerBacklog
    from bot.settings import ClientSettings

GIT_SECONDS: Final = 10.0
"""Questions to a local clone; only a hanging disk takes longer."""
_FULL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")
_REMOTE = re.compile(r"(?:^|[/:])([A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}?)(?:\.git)?/?$")


class Backend(StrEnum):
    """Where a backlog can be."""

    SERVER = "server"
    GITHUB = "github"


@dataclass(frozen=True, slots=True)
class Where:
    """A chosen backlog. `options` is what a command line needs to mean the same one; `place` tells it from others."""

    backend: Backend
    settings: ClientSettings
    repo: str
    clone: Path | None
    options: str

    @property
    def token(self) -> SecretStr | None:
        """The person's or worker's credential. A token of a server is never sent to GitHub."""
        mine, github = self.settings.token, self.settings.gh_token
        if self.backend is Backend.SERVER:
            return mine or github
        return github or (None if mine is None or mine.get_secret_value().startswith(WORKER_PREFIX) else mine)

    @property
    def place(self) -> str:
        match self.backend:
            case Backend.SERVER:
                return f"{self.settings.server_url} {self.repo.lower()}"
            case Backend.GITHUB:
                return f"{self.settings.github_api_url} {self.repo.lower()}"
            case _ as never:
                assert_never(never)

    def remembered(self) -> Remembered:
        """The claims made from here."""
        from bot.client.remembered import Remembered, state_dir

        return Remembered(state_dir(os.environ), self.place)


def choose(backend: Backend | None, repo: str, path: Path | None) -> Where:
    """The backlog that the options and settings mean. Raises UserError when they do not name one."""
    from bot.cli.config import client_settings

    settings = client_settings()
    if backend is None:
        alone = settings.server_url is None and (settings.gh_token or settings.token) is not None
        backend = Backend.GITHUB if alone else Backend.SERVER
        given = []
    else:
        given = [f"--backend {backend}"]
    if repo:
        given.append(f"--repo {repo}")
    if path is not None:
        given.append(f"--path {path}")
    options = " ".join(given)
    if backend is Backend.SERVER and not settings.server_url:
        raise UserError(
            "TGS_SERVER_URL is not set.",
            "Set it to the address of the running bot. Or set GH_TOKEN to use GitHub alone.",
        )
    return Where(backend, settings, repository_name(repo, path), clone_root(path), options)


@asynccontextmanager
async def opened(where: Where) -> AsyncIterator[Backlog]:
    """The backlog, closed at the end. Raises UserError when a credential is missing."""
    match where.backend:
        case Backend.SERVER:
            async with opened_server(where) as backlog:
                yield backlog
        case Backend.GITHUB:
            from bot.client.github_backlog import open_github_backlog

            async with open_github_backlog(
                where.repo, where.settings.gh_token, where.settings.github_api_url
            ) as backlog:
                yield backlog
        case _ as never:
            assert_never(never)


@asynccontextmanager
async def opened_server(where: Where) -> AsyncIterator[ServerBacklog]:
    """The backlog of the server."""
    import aiohttp

    from bot.client.http import BotHttp
    from bot.client.server_backlog import ServerBacklog
    from bot.clock import RandomIds

    async with aiohttp.ClientSession() as session:
        http = BotHttp(session, where.settings.server_url or "", where.token)
        yield ServerBacklog(http, where.repo, RandomIds())


def repository_name(given: str, path: Path | None) -> str:
    """The repository's name: as given, from the clone's `origin`, or of the Actions job. Raises UserError."""
    if given:
        if _FULL_NAME.fullmatch(given) is None:
            raise UserError(f"`{plain(given)}` is no repository name.", "Give it as owner/name.")
        return given
    root = clone_root(path)
    remote = None if root is None else git_says(root, "remote", "get-url", "origin")
    if remote is not None and (found := _REMOTE.search(remote)):
        return found[1]
    job = os.environ.get("GITHUB_REPOSITORY", "")
    if _FULL_NAME.fullmatch(job):
        return job
    raise UserError("No repository is named, and there is none here.", "Use --repo owner/name, or run it in a clone.")


def clone_root(path: Path | None) -> Path | None:
    """The top folder of the clone around this path (or around the current folder); None when there is none."""
    start = path if path is not None else Path.cwd()
    found = git_says(start, "rev-parse", "--show-toplevel") if start.is_dir() else None
    return Path(found) if found else None


def git_says(folder: Path, *args: str) -> str | None:
    """What git answers about a clone; None when it fails. Nothing is asked of the person or the network."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(
            ["git", "-C", str(folder), *args],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            check=False,
        )
        if done.returncode == 0:
            return done.stdout.strip()
    return None
