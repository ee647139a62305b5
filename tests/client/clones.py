"""A repository that people share by a bare one, with real git in temporary folders."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bot.client.backlog import Claim
from bot.client.backlog_file import PATH
from bot.client.file_backlog import FileBacklog, open_file_backlog

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def git(where: Path, *args: str) -> str:
    done = subprocess.run(["git", *args], cwd=where, capture_output=True, text=True)
    assert done.returncode == 0, f"git {args}: {done.stderr}"
    return done.stdout.strip()


def write(where: Path, name: str, text: str) -> None:
    path = where / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@dataclass
class Wall:
    """A clock that moves only when a test says so. `at_look` happens whenever somebody looks at it."""

    at: datetime = NOW
    at_look: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        self.at_look()
        return self.at


@dataclass
class Numbers:
    """Ids that tell apart and can be read."""

    count: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def new(self, prefix: str) -> str:
        return f"{prefix}{next(self.count)}"


def template(folder: Path) -> Path:
    """A bare repository with one commit, and a clone of it; copied for each test, which is quicker than cloning."""
    git(folder, "init", "--quiet", "--template=", "--bare", "--initial-branch=main", "origin.git")
    git(folder, "init", "--quiet", "--template=", "--initial-branch=main", "clone")
    clone = folder / "clone"
    # A relative address stays true in the copies.
    git(clone, "remote", "add", "origin", "../origin.git")
    git(clone, "config", "user.name", "Somebody")
    git(clone, "config", "user.email", "somebody@example.org")
    write(clone, "README.md", "A project.\n")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "Begin")
    git(clone, "push", "--quiet", "--set-upstream", "origin", "main")
    git(clone, "remote", "set-head", "origin", "main")
    return folder


class Clones:
    """The stage of the file's backlog: everybody has a clone beside the bare repository."""

    def __init__(self, made: Path, folder: Path) -> None:
        self.folder = folder
        self.wall = Wall()
        self.slept: list[float] = []
        self._ids = Numbers()
        self._made = made
        self._sessions: dict[str, FileBacklog] = {}
        shutil.copytree(made / "origin.git", folder / "origin.git")
        self.origin = folder / "origin.git"

    def clone(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            shutil.copytree(self._made / "clone", path)
        return path

    async def session(self, name: str) -> FileBacklog:
        if name not in self._sessions:
            self._sessions[name] = await self.opened(self.clone(name))
        return self._sessions[name]

    async def opened(self, path: Path, **options: Any) -> FileBacklog:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        given: dict[str, Any] = {"clock": self.wall, "ids": self._ids, "chance": lambda: 0.5, "sleep": sleep}
        return await open_file_backlog(path, **(given | options))

    async def thought(self, title: str, *, front_matter: str = "") -> str:
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        folder = f"tgs/thoughts/abc123-{slug}"
        head = f"---\n{front_matter}\n---\n" if front_matter else ""
        self.push({f"{folder}/research.md": "What is known.\n", f"{folder}/plan.md": f"{head}# Plan\n"})
        return folder

    async def implement(self, claim: Claim) -> None:
        self.push({f"{claim.entry.dir}/implementation.md": "How it was built.\n"})

    def later(self, by: timedelta) -> None:
        self.wall.at += by

    # --- beyond the contract

    def push(self, files: Mapping[str, str | bytes | None], message: str = "Work", branch: str = "main") -> str:
        """Somebody changes files on the shared branch (None removes one); the new commit. One git process: quick."""
        stream = f"commit refs/heads/{branch}\nmark :1\ncommitter Somebody <s@example.org> 1772600000 +0000\n".encode()
        stream += f"data {len(message.encode())}\n{message}\nfrom refs/heads/main^0\n".encode()
        for name, text in files.items():
            if text is None:
                stream += f"D {name}\n".encode()
            else:
                raw = text.encode() if isinstance(text, str) else text
                stream += f"M 100644 inline {name}\ndata {len(raw)}\n".encode() + raw + b"\n"
        done = subprocess.run(
            ["git", "fast-import", "--quiet", "--done"],
            cwd=self.origin,
            input=stream + b"get-mark :1\ndone\n",
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def tip(self) -> str:
        return git(self.origin, "rev-parse", "main")

    def text(self, commit: str = "main") -> str:
        """The file on the shared branch."""
        return git(self.origin, "show", f"{commit}:{PATH}") + "\n"

    def data(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads(self.text())
        return data

    def change(self, edit: Callable[[dict[str, Any]], None]) -> str:
        """Somebody edits the file by hand and pushes it."""
        data = self.data()
        edit(data)
        return self.push({PATH: json.dumps(data, indent=2) + "\n"}, "Edit the backlog by hand")
