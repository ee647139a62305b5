"""The folder an attempt works in, made fresh for it.

Promise: a new repository without remotes, hooks, credential helpers or user configuration; the branch that the bot
named, standing on the pinned commit (or on what an earlier attempt published); files that belong to the agent's user.
The worker never runs git inside it with its own rights after the agent had it, because a repository's configuration
can start programs: what is needed from it is asked through the launcher, as the agent's user.

Layout under one root that others may enter but not list: `work` (the repository), `home`, `box` (context, result and
steering files), `private` (the worker's own).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bot.domain.bundle import ContextBundle
from bot.errors import TgsError, UserError
from bot.worker.git import Git, GitError
from bot.worker.isolation import Launcher

# What an agent's process may know of the worker's environment.
ALLOWED_ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL", "TZ")
MAX_RESULT: Final = 1_000_000  # bytes of a result file
MAX_READABLE: Final = 40  # characters of a name that people recognise; paths stay short
_UNSAFE: Final = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folders of one attempt."""

    root: Path

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def box(self) -> Path:
        return self.root / "box"

    @property
    def private(self) -> Path:
        return self.root / "private"

    @property
    def context_file(self) -> Path:
        return self.box / "context.json"

    @property
    def result_file(self) -> Path:
        return self.box / "result.json"

    @property
    def transcript_file(self) -> Path:
        """The conversation to go on with, where the agent can read it."""
        return self.box / "transcript.jsonl"

    @property
    def steer_file(self) -> Path:
        return self.box / "steer.jsonl"

    def steer(self, text: str) -> None:
        """Appends a hint for the agent; dropped when the agent put something else in the file's place."""
        with contextlib.suppress(OSError):
            descriptor = os.open(self.steer_file, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    file.write(json.dumps(text) + "\n")


def safe_name(text: str) -> str:
    """A file name that says what it is for and that no other text has, also where case or length do not count."""
    readable = _UNSAFE.sub("-", text.lower()).strip("-.")[:MAX_READABLE].rstrip("-.")
    return f"{readable or 'x'}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def create(parent: Path | None = None, name: str | None = None) -> Workspace:
    """Makes the empty folders. `parent` must be reachable for every user (default: the system's temporary folder).

    `name`: whose workspace it is; without one the folder's name is drawn. Raises FileExistsError for a second one of
    the same name.
    """
    if name is None:
        root = Path(tempfile.mkdtemp(prefix="tgs-", dir=parent))
    else:
        root = (parent or Path(tempfile.gettempdir())) / safe_name(name)
        root.mkdir(mode=0o700)
    root.chmod(0o711)
    workspace = Workspace(root)
    for folder in (workspace.work, workspace.home, workspace.box, workspace.private):
        folder.mkdir(mode=0o700)
    workspace.steer_file.touch()
    workspace.steer_file.chmod(0o660)  # the worker writes it through its group when the file is the agent's
    (workspace.private / "probe").write_text("only the worker may read this\n", encoding="utf-8")
    (workspace.private / "probe").chmod(0o600)
    return workspace


@dataclass(frozen=True, slots=True)
class Begun:
    """Work that an earlier attempt left, judged: the bare repository that holds it, and its head commit."""

    repository: Path
    ref: str
    head: str


async def fill(
    workspace: Workspace, context: ContextBundle, source: Path, launcher: Launcher, begun: Begun | None = None
) -> None:
    """Puts branch and files into `work`, from the checkout at `source`, and gives it to the agent.

    `source` is absolute. Work that was `begun` stands on the branch. Raises UserError when the pinned commit is not in
    the checkout (fetched too shallow, or rewritten since).
    """
    git = Git(workspace.work)
    await git.run("init", "--quiet", "--template=")
    await git.run(
        "fetch", "--quiet", "--no-tags", str(source),
        "+HEAD:refs/source/head", "+refs/heads/*:refs/source/heads/*", "+refs/remotes/origin/*:refs/source/remotes/*",
    )  # fmt: skip
    if not await git.has_commit(context.start_sha):
        raise UserError(
            f"The commit {context.start_sha[:12]} is not in the checkout.",
            "A workflow must check out the whole history (fetch-depth: 0); run `tgs init` again.",
        )
    try:
        await git.run("checkout", "--quiet", "-b", context.branch, context.start_sha)
    except GitError as error:
        raise TgsError(f"the branch {context.branch} could not be checked out: {error.stderr}") from None
    if begun is not None:
        await git.run("fetch", "--quiet", "--no-tags", str(begun.repository), f"+{begun.ref}:refs/source/begun")
        await git.run("reset", "--quiet", "--hard", begun.head)
    for name, value in (("user.name", context.identity.name), ("user.email", context.identity.email)):
        await git.run("config", name, value)
    workspace.context_file.write_text(context.model_dump_json(indent=2), encoding="utf-8")
    for folder in (workspace.work, workspace.home, workspace.box):
        await launcher.give(folder)


def without_plan(workspace: Workspace, context: ContextBundle) -> str | None:
    """What is wrong with the plan at the commit that the work stands on, before the agent runs; None: it is there.

    The bot judged it when the attempt was opened; it may have been taken off the branch since.
    """
    thought = context.thought
    if thought is None:
        return None
    for name in (thought.plan_path, thought.research_path):
        try:
            raw = read_agent_file(workspace.work / name)
        except UserError as error:
            return str(error)
        if raw is None:
            return f"{name} is not there at {context.start_sha[:12]}."
    return None


def agent_environment(workspace: Workspace, context: ContextBundle) -> dict[str, str]:
    """The whole environment of the agent's processes: a few harmless names of ours, and where its files are."""
    env = {name: os.environ[name] for name in ALLOWED_ENVIRONMENT if name in os.environ}
    env.setdefault("PATH", os.defpath)
    settings = (
        ("core.hooksPath", "/dev/null"),
        ("credential.helper", ""),
        ("commit.gpgSign", "false"),
        ("safe.directory", "*"),
    )
    env |= {
        "HOME": str(workspace.home),
        "TMPDIR": str(workspace.home),
        "CI": "true",
        "TGS_CONTEXT": str(workspace.context_file),
        "TGS_RESULT": str(workspace.result_file),
        "TGS_STEER": str(workspace.steer_file),
        "TGS_TRANSCRIPT": str(workspace.transcript_file),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_AUTHOR_NAME": context.identity.name,
        "GIT_AUTHOR_EMAIL": context.identity.email,
        "GIT_COMMITTER_NAME": context.identity.name,
        "GIT_COMMITTER_EMAIL": context.identity.email,
        "GIT_CONFIG_COUNT": str(len(settings)),
    }
    for index, (key, value) in enumerate(settings):
        env[f"GIT_CONFIG_KEY_{index}"] = key
        env[f"GIT_CONFIG_VALUE_{index}"] = value
    return env


def read_agent_file(path: Path, limit: int = MAX_RESULT) -> bytes | None:
    """A file that the agent wrote: never through a link, never a device, never more than `limit` bytes.

    None when there is no such file. Raises UserError for anything but a plain file within the limit.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"The agent's file {path.name} cannot be read: {error.strerror}.") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UserError(f"The agent's file {path.name} is not a plain file.")
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise UserError(f"The agent's file {path.name} is larger than {limit} bytes.")
    return data
