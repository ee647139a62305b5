"""The objects and references of a bare repository: read, and objects written, as files where that is git's own way.

Promise: the same calls give the same object ids, and the answers are git's, whether objects are loose or packed.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Self, TypeVar, cast

from cachetools import LRUCache

from bot.localhub import git_trees
from bot.localhub.git_files import FULL, UNKNOWN, GitFiles, Unknown
from bot.localhub.git_model import Commit, GitError, Ident, TreeEntry, parse_commit

FACTS: Final = 4096  # remembered answers about unchanging objects, per repository
GIT_TIMEOUT_S: Final = 60.0  # a plumbing command takes milliseconds; a minute means it hangs

T = TypeVar("T")
Found = tuple[str, str] | tuple[None, None]

_PLAIN_PERSON = re.compile(r"[^\s.,:;<>\"\\'\x00-\x1f](?:[^<>\x00-\x1f]*[^\s.,:;<>\"\\'\x00-\x1f])?\Z")
"""Names and addresses that git writes down as they are; from others it takes characters away."""


def git_environment(home: Path) -> dict[str, str]:
    """The whole environment of a git process: nothing of the caller's but PATH."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_EDITOR": "true",
        "GIT_ADVICE": "0",
    }


def _ident_environment(prefix: str, ident: Ident) -> dict[str, str]:
    return {
        f"GIT_{prefix}_NAME": ident.name,
        f"GIT_{prefix}_EMAIL": ident.email,
        f"GIT_{prefix}_DATE": f"{int(ident.at.timestamp())} +0000",
    }


class GitObjects:
    """One bare repository on disk, as far as its objects and the values of its references go."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = GitFiles(path)
        self._environment = git_environment(path / "home")
        self._facts: LRUCache[tuple[object, ...], object] = LRUCache(FACTS)
        self._filled = False

    @classmethod
    def create(cls, path: Path, default_branch: str, hooks: Mapping[str, str]) -> Self:
        """Make an empty repository with the given hook scripts (name -> text)."""
        path.mkdir(parents=True)
        (path / "home").mkdir()
        repo = cls(path)
        repo._files.make(default_branch)
        for name, text in hooks.items():
            hook = path / "hooks" / name
            hook.write_text(text, encoding="utf-8")
            hook.chmod(0o755)
        return repo

    def run(
        self,
        *args: str,
        stdin: bytes = b"",
        env: Mapping[str, str] | None = None,
        ok: Iterable[int] = (0,),
    ) -> bytes:
        """Run git here, return its standard output; raises GitError unless the status is `ok`."""
        done = subprocess.run(
            ["git", *args],
            cwd=self.path,
            input=stdin,
            capture_output=True,
            env={**self._environment, "GIT_DIR": str(self.path), **(env or {})},
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
        if done.returncode not in ok:
            raise GitError(args, done.stderr.decode("utf-8", "replace"))
        return done.stdout

    # --- references ---

    def refs(self, prefix: str = "refs/") -> dict[str, str]:
        """Name -> object id of every reference under `prefix` (full names), sorted by name."""
        known = self._files.refs()
        if known is UNKNOWN:
            out = self.run("for-each-ref", "--format=%(refname) %(objectname)").decode()
            known = dict(cast("tuple[str, str]", tuple(line.split(" ", 1))) for line in out.splitlines())
        return {name: sha for name, sha in known.items() if name.startswith(prefix)}

    def ref(self, name: str) -> str | None:
        """The object a full reference name points at, or None."""
        if not name.startswith("refs/") or ".." in name:
            return None
        found = self._files.ref(name)
        return self.objects([name])[0][0] if found is UNKNOWN else found

    def empty(self, branch: str) -> bool:
        """Whether the branch never had a commit, as far as anybody asked."""
        self._filled = self._filled or self.ref(f"refs/heads/{branch}") is not None
        return not self._filled

    # --- objects ---

    def objects(self, names: Sequence[str]) -> list[Found]:
        """(object id, type) of each revision expression, (None, None) where there is none."""
        found = [self._found(name) for name in names]
        asked = [name for name, known in zip(names, found, strict=True) if known is UNKNOWN]
        answers = iter(self._asked(asked) if asked else ())
        return [next(answers) if known is UNKNOWN else known for known in found]

    def _asked(self, names: Sequence[str]) -> list[Found]:
        clean = [n if n and not any(c in n for c in "\n\0 ") else "refs/hub/none" for n in names]
        out = self.run("cat-file", "--batch-check", stdin="".join(f"{n}\n" for n in clean).encode())
        found: list[Found] = []
        for line in out.decode("utf-8", "replace").splitlines():
            words = line.split(" ")
            if len(words) == 3 and FULL.match(words[0]):
                found.append((words[0], words[1]))
            else:
                found.append((None, None))
        return found

    def _found(self, name: str) -> Found | Unknown:
        """A full id or full reference name, perhaps peeled once, from the files."""
        base, peeled, wanted = name.partition("^{")
        sha = base if FULL.match(base) else self._files.ref(base)
        if sha is UNKNOWN or sha is None:
            return UNKNOWN if sha is UNKNOWN else (None, None)
        known = self._files.kind(sha)
        if known is UNKNOWN or known is None:
            return UNKNOWN if known is UNKNOWN else (None, None)
        if not peeled or wanted == f"{known[0]}}}":
            return sha, known[0]
        if wanted == "tree}" and known[0] == "commit":
            return self.commit(sha).tree, "tree"
        return UNKNOWN

    def blob(self, sha: str) -> bytes:
        """Content of a blob; raises GitError when there is none."""
        return self._content("blob", sha)

    def _content(self, kind: str, sha: str) -> bytes:
        known = self._files.object(sha) if FULL.match(sha) else UNKNOWN
        if known is UNKNOWN or known is None or known[0] != kind:
            return self.run("cat-file", kind, sha)
        return known[1]

    def entry(self, treeish: str, path: str) -> TreeEntry | None:
        """The tree entry at exactly this path, or None."""
        *folders, name = path.strip("/").split("/")
        for folder in folders:
            row = next((row for row in self.tree(treeish) if row.path == folder and row.type == "tree"), None)
            if row is None:
                return None
            treeish = row.sha
        row = next((row for row in self.tree(treeish) if row.path == name), None)
        return row and replace(row, path=path.strip("/"))

    def tree(self, treeish: str, *, recursive: bool = False) -> list[TreeEntry]:
        """Entries of a tree. Recursive listings include the folders. Raises GitError for what is no tree."""
        sha = self.objects([f"{treeish}^{{tree}}"])[0][0]
        if sha is None:
            raise GitError(("ls-tree", treeish), "not a tree object")
        return list(self._fact(("tree", sha, recursive), lambda: self._tree(sha, recursive)))

    def _tree(self, sha: str, recursive: bool) -> list[TreeEntry]:
        entries: list[TreeEntry] = []
        for mode, inner, name in git_trees.tree_rows(self._content("tree", sha)):
            kind = {git_trees.TREE: "tree", git_trees.LINK: "commit"}.get(mode, "blob")
            entries.append(TreeEntry(mode, kind, inner, self._size(inner) if kind == "blob" else None, name))
            if recursive and kind == "tree":
                entries += [replace(row, path=f"{name}/{row.path}") for row in self.tree(inner, recursive=True)]
        return entries

    def _size(self, sha: str) -> int:
        known = self._files.kind(sha)
        return int(self.run("cat-file", "-s", sha)) if known is UNKNOWN or known is None else known[1]

    def write_blobs(self, contents: Sequence[bytes]) -> list[str]:
        """Store blobs and return their ids in order."""
        return [self._files.write("blob", content) for content in contents]

    def write_tree(self, base: str | None, changes: Sequence[tuple[str, str | None, str | None]]) -> str:
        """A tree from `base` plus (path, mode, sha) rows; sha None removes the path, a folder with all below it.

        Raises GitError for a path or mode that no tree may hold.
        """
        files = git_trees.changed(self._below(base) if base else {}, changes, self._below)
        return git_trees.written(files, self._files.write)

    def _below(self, treeish: str) -> dict[str, git_trees.Entry]:
        return {e.path: (e.mode, e.sha) for e in self.tree(treeish, recursive=True) if e.type != "tree"}

    def write_commit(self, tree: str, parents: Sequence[str], message: str, author: Ident, committer: Ident) -> str:
        """Store a commit; the message is kept byte for byte. Raises GitError when tree or a parent is missing."""
        found = self.objects([f"{tree}^{{tree}}" if FULL.match(tree) else tree, *parents])
        people = (author, committer)
        plain = all(_PLAIN_PERSON.match(text) for who in people for text in (who.name, who.email))
        if not plain or "\0" in message or [kind for _, kind in found] != ["tree", *["commit"] * len(parents)]:
            return self._commit_tree(tree, parents, message, author, committer)
        head = [f"tree {found[0][0]}", *(f"parent {sha}" for sha, _ in found[1:])]
        head += [f"author {author.raw()}", f"committer {committer.raw()}"]
        return self._files.write("commit", "\n".join([*head, "", message]).encode())

    def _commit_tree(self, tree: str, parents: Sequence[str], message: str, author: Ident, committer: Ident) -> str:
        env = {**_ident_environment("AUTHOR", author), **_ident_environment("COMMITTER", committer)}
        args = [part for parent in parents for part in ("-p", parent)]
        out = self.run("commit-tree", tree, *args, stdin=message.encode(), env=env)
        return out.decode().strip()

    def commit(self, sha: str) -> Commit:
        """One commit; raises GitError when the object is not a commit."""
        return self._fact(
            ("commit", sha),
            lambda: parse_commit(sha, self._content("commit", sha).decode("utf-8", "replace")),
        )

    def _fact(self, key: tuple[str | bool | None, ...], ask: Callable[[], T]) -> T:
        """Ask once: what is asked by full object ids can't change. Other names are asked each time."""
        if not all(FULL.match(part.removeprefix("^")) for part in key[1:] if isinstance(part, str)):
            return ask()
        if key not in self._facts:
            self._facts[key] = ask()
        return cast("T", self._facts[key])
