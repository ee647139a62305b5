"""The git side of the backlog file: reads one commit of a branch, and puts the next one on top of it.

Promise: the person's working tree, index and branches are not needed for a write and not changed by it: the new commit
is built from objects alone, and the branch takes it only when it still is where it was read (a push that is no
fast-forward is refused by the other side; without a remote, `git update-ref` compares). Afterwards a checkout of that
branch follows when nothing is in the way. Nothing of the person's that was not pushed is pushed along. Git runs with
the person's own configuration and credentials, without prompts.

Races: another clone's push lies between read and write: `publish` says False and nothing has changed. The answer to a
push may be lost: the branch is read again, and the push counts when our commit is in it. Two processes in one clone
take turns by an advisory lock, which the kernel frees when a process dies.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from bot.errors import Refused, Unavailable, UserError
from bot.worker.git import Git, GitError, GitOutput

NETWORK_SECONDS: Final = 120.0
"""A fetch of a busy branch over a slow line; longer means that the line hangs."""
LOCK_SECONDS: Final = 60.0
"""How long another process of the same clone may take: its three tries and their pauses."""
LOCK_PAUSE: Final = 0.1
"""Between two looks at the lock; a person does not notice it."""

_SEEN: Final = "refs/tgs/backlog"
"""Where the fetched branch is kept: a ref of our own, whatever the clone's configuration fetches."""
_NEXT: Final = "refs/tgs/backlog-next"
"""Names the newest commit that was made, so that git keeps it until it is pushed."""
_NOBODY: Final = "tgs <tgs@localhost>"
_INHERITED: Final = re.compile(r"GIT_(DIR|WORK_TREE|INDEX_FILE|OBJECT_DIRECTORY|COMMON_DIR|NAMESPACE|PREFIX)")
_LOST_RACE: Final = re.compile(r"\[rejected\]|cannot lock ref|failed to update ref|incorrect old value|stale info")


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One entry of a tree, as `recognise` reads them."""

    path: str
    mode: str
    type: str
    sha: str
    size: int | None


class Clone:
    """One branch of a repository, seen from a clone of it. `remote` None: the clone's own branch is the shared one."""

    def __init__(self, root: Path, common: Path, branch: str, remote: str | None) -> None:
        self.root = root
        self.branch = branch
        self.remote = remote
        self._git = Git(root)
        self._lock_file = common / "tgs-backlog.lock"
        self._names: dict[str, str] = {}
        self._ref = _SEEN if remote else f"refs/heads/{branch}"

    # --- reading

    async def fetch(self) -> str:
        """The branch's newest commit. Raises UserError when there is none, Unavailable without a connection."""
        if self.remote is not None:
            source = f"+refs/heads/{self.branch}:{_SEEN}"
            # An empty refmap leaves the person's remote-tracking branches alone, which they may be fetching just now.
            quietly = ("--quiet", "--no-tags", "--no-write-fetch-head", "--refmap=")
            try:
                await self._run("fetch", *quietly, self.remote, source)
            except GitError as error:
                if "find remote ref" in error.stderr:
                    raise self._no_branch() from None
                if "cannot lock ref" in error.stderr:
                    raise UserError(
                        f"git cannot write in {self.root}: {error.stderr.splitlines()[0]}",
                        "If no other git process runs there, a killed one left the lock file that is named: remove it.",
                    ) from None
                raise Unavailable(f"{self.remote} cannot be reached: {error.stderr}") from None
        found = await self._run("rev-parse", "--verify", "--quiet", f"{self._ref}^{{commit}}", ok=(0, 1, 128))
        if found.code != 0:
            raise self._no_branch()
        return _text(found)

    def _no_branch(self) -> UserError:
        where = f" on {self.remote}" if self.remote else " in this repository"
        return UserError(f"There is no branch `{self.branch}`{where}.", "Push a first commit, or name another branch.")

    async def tree(self, commit: str, *paths: str) -> list[TreeEntry]:
        """All entries under these paths, with paths from the root."""
        listed = await self._run("ls-tree", "-r", "-l", "-z", "--full-tree", commit, "--", *paths)
        found: list[TreeEntry] = []
        for line in listed.stdout.decode("utf-8", "replace").split("\0"):
            if line:
                about, _, path = line.partition("\t")
                mode, kind, sha, size = about.split()
                found.append(TreeEntry(path, mode, kind, sha, None if size == "-" else int(size)))
        return found

    async def blobs(self, shas: Iterable[str]) -> dict[str, bytes]:
        """The contents of these blobs, in one call."""
        wanted = list(dict.fromkeys(shas))
        if not wanted:
            return {}
        out = (await self._run("cat-file", "--batch", stdin="\n".join(wanted).encode())).stdout
        found: dict[str, bytes] = {}
        at = 0
        for sha in wanted:
            end = out.index(b"\n", at)
            words = out[at:end].split()
            if len(words) != 3:
                raise UserError(f"The object {sha} is missing in {self.root}.", "`git fsck` says what is damaged.")
            size = int(words[2])
            found[sha] = out[end + 1 : end + 1 + size]
            at = end + size + 2
        return found

    async def commit_of(self, name: str) -> str | None:
        """The full id of a commit that is here, None when there is none of that name."""
        if name.startswith("-"):
            return None
        found = await self._run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", ok=(0, 1, 128))
        return _text(found) if found.code == 0 else None

    async def history(self, commit: str, path: str, limit: int) -> list[str]:
        """The commits that changed this path, newest first."""
        listed = await self._run("log", f"--max-count={limit}", "--format=%H", commit, "--", path)
        return _text(listed).split()

    async def shown_here(self, path: str) -> str | None:
        """The checked-out commit, when it has this file and others can see it: it was pushed, if there is a remote."""
        found = await self._run("cat-file", "-t", f"HEAD:{path}", ok=(0, 1, 128))
        if found.code != 0 or _text(found) != "blob":
            return None
        if self.remote is not None:
            where = f"refs/remotes/{self.remote}/"
            seen = await self._run("for-each-ref", "--count=1", "--format=%(refname)", "--contains=HEAD", where)
            if not seen.stdout:
                return None
        return await self.commit_of("HEAD")

    async def uncommitted(self, path: str) -> bool:
        """Whether a checkout of the branch has changes of this file that are in no commit."""
        if not await self._checked_out():
            return False
        return bool((await self._run("status", "--porcelain", "--no-renames", "--", path)).stdout)

    # --- writing

    async def commit(self, parent: str, path: str, content: bytes, message: str, when: datetime) -> str:
        """A commit on top of `parent` that changes only this file. No branch names it yet."""
        at = f"{int(when.timestamp())} +0000"
        said = message.encode()
        stream = (
            f"commit {_NEXT}\nmark :1\nauthor {await self._name('AUTHOR')} {at}\n".encode()
            + f"committer {await self._name('COMMITTER')} {at}\ndata {len(said)}\n".encode()
            + said
            + f"\nfrom {parent}\nM 100644 inline {path}\ndata {len(content)}\n".encode()
            + content
            + b"\nget-mark :1\ndone\n"
        )
        return _text(await self._run("fast-import", "--quiet", "--force", "--done", stdin=stream))

    async def _name(self, who: str) -> str:
        """Name and address for commits as git knows them; ours where it has none, as in a fresh container."""
        if who not in self._names:
            known = await self._run("var", f"GIT_{who}_IDENT", ok=(0, 1, 128))
            name = _text(known).rpartition("> ")[0]
            self._names[who] = f"{name}>" if known.code == 0 and name else _NOBODY
        return self._names[who]

    async def publish(self, old: str, new: str) -> bool:
        """Puts `new` on the branch if that still is at `old`; False when somebody else was faster.

        Raises Refused when the other side does not allow it, Unavailable when it cannot be reached.
        """
        if self.remote is None:
            done = await self._run("update-ref", "-m", "tgs backlog", self._ref, new, old, ok=(0, 1, 128))
            if done.code != 0 and "lock ref" not in done.stderr:
                raise UserError(f"The branch `{self.branch}` cannot be written: {done.stderr}")
            if done.code == 0:
                await self._follow(old, new)
            return done.code == 0
        # The person's hooks test what they push; this commit changes one file of data and nothing of theirs.
        push = ("push", "--porcelain", "--no-verify", self.remote, f"{new}:refs/heads/{self.branch}")
        try:
            done = await self._run(*push, ok=(0, 1, 128))
        except GitError as error:  # no end in time
            return await self._arrived(new, error.stderr)
        verdict = next((line for line in done.stdout.decode("utf-8", "replace").splitlines() if line[:2] == "!\t"), "")
        if done.code == 0:
            await self._follow(old, new)
            return True
        if _LOST_RACE.search(verdict):
            return False
        if verdict:
            why = verdict.rpartition("\t")[2]
            raise Refused(
                f"{self.remote} does not take changes of `{self.branch}`: {why}. {done.stderr}".strip(),
                "Allow whoever runs this to push there, or keep the backlog on a branch that they may push to.",
            )
        return await self._arrived(new, done.stderr)

    async def _arrived(self, new: str, why: str) -> bool:
        """After a push without an answer: whether it happened."""
        try:
            tip = await self.fetch()
        except (Unavailable, UserError):
            raise Unavailable(f"{self.remote} did not answer the push: {why}", uncertain=True) from None
        here = await self._run("merge-base", "--is-ancestor", new, tip, ok=(0, 1, 128))
        if here.code != 0:
            raise Unavailable(f"{self.remote} did not take the push: {why}")
        return True

    async def _follow(self, old: str, new: str) -> None:
        """Brings a checkout of the branch to the new commit, unless changes of the person are in the way."""
        if not await self._checked_out():
            return
        if self.remote is None:
            await self._run("read-tree", "-m", "-u", old, new, ok=(0, 1, 128))
        else:
            await self._run("-c", "core.hooksPath=/dev/null", "merge", "--quiet", "--ff-only", new, ok=(0, 1, 128))

    async def _checked_out(self) -> bool:
        here = await self._run("rev-parse", "--is-inside-work-tree", "--symbolic-full-name", "HEAD", ok=(0, 128))
        return _text(here).split() == ["true", f"refs/heads/{self.branch}"]

    # --- a merge that people began

    async def stages(self, path: str) -> dict[int, bytes]:
        """The versions of a conflicted file: 1 the common one, 2 ours, 3 theirs. Empty when there is no conflict."""
        listed = await self._run("ls-files", "--unmerged", "-z", "--", path)
        found: dict[int, str] = {}
        for line in listed.stdout.decode("utf-8", "replace").split("\0"):
            if line:
                _, sha, stage = line.partition("\t")[0].split()
                found[int(stage)] = sha
        contents = await self.blobs(found.values())
        return {stage: contents[sha] for stage, sha in found.items()}

    async def settle(self, path: str, content: bytes) -> None:
        """Writes the file into the working tree, whole or not at all, and marks its conflict as resolved."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(prefix=".backlog-", dir=target.parent)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, target)
        except BaseException:
            os.unlink(name)
            raise
        await self._run("add", "--", path)

    # --- taking turns

    @asynccontextmanager
    async def turn(self, sleep: Callable[[float], Awaitable[None]]) -> AsyncIterator[None]:
        """Alone among the processes of this clone. Raises UserError when another one does not come to an end."""
        fd = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            for _ in range(int(LOCK_SECONDS / LOCK_PAUSE)):
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await sleep(LOCK_PAUSE)
            else:
                raise UserError(
                    f"Another tgs process works on the backlog of {self.root}.", "Wait for it, or end it; try again."
                )
            yield
        finally:
            os.close(fd)

    async def _run(
        self,
        *args: str,
        stdin: bytes | None = None,
        ok: tuple[int, ...] = (0,),
        env: dict[str, str] | None = None,
    ) -> GitOutput:
        whole = person_environment() | (env or {})
        return await self._git.run(*args, stdin=stdin, env=whole, ok_codes=ok, seconds=NETWORK_SECONDS)


def person_environment() -> dict[str, str]:
    """The person's environment, without what a surrounding git command left in it, without prompts, in English."""
    env = {name: value for name, value in os.environ.items() if not _INHERITED.fullmatch(name)}
    return env | {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_EDITOR": "false",
        "LC_ALL": "C",
    }


async def open_clone(path: Path, *, branch: str | None = None, remote: str | None = None) -> Clone:
    """The clone that `path` lies in.

    Without `remote`: `origin`, else the only one, else none. Without `branch`: the remote's default branch, else the
    one that is checked out. Raises UserError when there is no clone, or when the choice is not clear.
    """
    if not os.path.isdir(path):  # noqa: ASYNC240 - one look at the local disk
        raise UserError(f"{path} is no folder.", "Name a folder inside a clone of the repository.")
    git = Git(path)
    env = person_environment()

    async def ask(*args: str) -> GitOutput:
        return await git.run(*args, env=env, ok_codes=(0, 1, 2, 128), seconds=NETWORK_SECONDS)

    if shutil.which("git") is None:
        raise UserError("There is no git here.", "Install git.")
    places = await ask("rev-parse", "--path-format=absolute", "--git-common-dir", "--show-toplevel")
    lines = _text(places).splitlines()
    if not lines:
        raise UserError(
            f"{path} is in no git repository: {places.stderr}", "Run this inside a clone of the repository."
        )
    common = Path(lines[0])
    root = Path(lines[1]) if len(lines) > 1 else path
    remotes = _text(await ask("remote")).split()
    if remote is not None and remote not in remotes:
        raise UserError(f"The clone {root} has no remote `{remote}`.", "`git remote` lists them.")
    if remote is None and "origin" in remotes:
        remote = "origin"
    elif remote is None and len(remotes) == 1:
        remote = remotes[0]
    elif remote is None and remotes:
        raise UserError(f"The clone {root} has several remotes: {', '.join(remotes)}.", "Name the one that is shared.")
    if branch is None and remote is not None:
        named = await ask("symbolic-ref", "--quiet", f"refs/remotes/{remote}/HEAD")
        branch = _text(named).removeprefix(f"refs/remotes/{remote}/") or None
        if branch is None:
            listed = await ask("ls-remote", "--symref", remote, "HEAD")
            if listed.code != 0:
                raise Unavailable(f"{remote} cannot be reached: {listed.stderr}")
            match = re.search(r"^ref: refs/heads/(\S+)\tHEAD$", _text(listed), re.MULTILINE)
            branch = match[1] if match else None
    if branch is None:
        branch = _text(await ask("symbolic-ref", "--quiet", "--short", "HEAD")) or None
    if branch is None or (await ask("check-ref-format", "--branch", branch)).code != 0:
        raise UserError(f"It is not clear which branch of {root} holds the backlog.", "Name the branch.")
    return Clone(root, common, branch, remote)


def _text(output: GitOutput) -> str:
    return output.stdout.decode("utf-8", "replace").strip()
