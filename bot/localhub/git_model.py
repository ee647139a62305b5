"""What git objects look like to the rest of the local hub, and how git's output becomes them.

Pure: no process is started here. The parsers take the machine formats of git (`-z`, raw commit
objects), never text meant for people, so names with spaces, tabs or newlines survive.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

ZERO_OID: Final = "0" * 40
EMPTY_TREE: Final = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


class GitError(Exception):
    """A git command failed; carries what git said on standard error."""

    def __init__(self, command: Sequence[str], stderr: str) -> None:
        super().__init__(f"git {' '.join(command[:3])}: {stderr.strip()}")
        self.stderr = stderr.strip()


class RefConflictError(Exception):
    """A reference was not where the caller expected it; nothing was changed."""


class MergeConflictError(Exception):
    """The two sides touch the same lines; `paths` names the files in conflict."""

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__(f"merge conflict in {', '.join(paths) or 'the tree'}")
        self.paths = list(paths)


@dataclass(frozen=True, slots=True)
class Ident:
    """Who wrote or committed, and when (aware datetime, whole seconds are kept)."""

    name: str
    email: str
    at: datetime

    def raw(self) -> str:
        return f"{self.name} <{self.email}> {int(self.at.timestamp())} +0000"


@dataclass(frozen=True, slots=True)
class Commit:
    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Ident
    committer: Ident
    message: str


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One row of a tree; `size` is None for everything but blobs."""

    mode: str
    type: str
    sha: str
    size: int | None
    path: str


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file between two commits; `status` is GitHub's word (added, modified, removed …)."""

    path: str
    previous: str | None
    status: str
    sha: str
    additions: int
    deletions: int
    patch: str | None


@dataclass(frozen=True, slots=True)
class RefUpdate:
    """One change of a transaction.

    `before` None: wherever it is now; zeros: must not exist. `after` zeros: delete.
    """

    name: str
    before: str | None
    after: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """`head` seen from `base`: commits are oldest first, files are against the merge base."""

    base: str
    head: str
    merge_base: str
    ahead_by: int
    behind_by: int
    commits: tuple[Commit, ...]
    files: tuple[FileChange, ...]

    @property
    def status(self) -> str:
        if self.ahead_by and self.behind_by:
            return "diverged"
        if self.ahead_by:
            return "ahead"
        return "behind" if self.behind_by else "identical"


def parse_ident(text: str) -> Ident:
    match = re.match(r"(.*?) ?<(.*)> (-?\d+) [+-]\d{4}\Z", text)
    if match is None:
        return Ident(text, "", datetime.fromtimestamp(0, UTC))
    return Ident(match[1], match[2], datetime.fromtimestamp(int(match[3]), UTC))


def parse_commit(sha: str, text: str) -> Commit:
    head, _, message = text.partition("\n\n")
    fields = [line.split(" ", 1) for line in head.splitlines() if " " in line and line[0] != " "]
    values = {key: value for key, value in fields if key != "parent"}
    parents = tuple(value for key, value in fields if key == "parent")
    author, committer = parse_ident(values["author"]), parse_ident(values["committer"])
    return Commit(sha, values["tree"], parents, author, committer, message)


_STATUS: Final = {
    "A": "added",
    "M": "modified",
    "D": "removed",
    "R": "renamed",
    "T": "changed",
    "C": "copied",
}


def parse_diff(out: bytes) -> list[FileChange]:
    """What `git diff-tree --raw --numstat -p -z` wrote: rows, counts and, after an empty field, patches."""
    fields, _, patch_text = out.partition(b"\0\0")
    rows = fields.decode("utf-8", "surrogateescape").split("\0")
    text = patch_text.decode("utf-8", "replace")
    patches = re.split(r"^(?=diff --git )", text, flags=re.MULTILINE)
    bodies = [part for part in patches if part.startswith("diff --git ")]
    found: list[tuple[str, str, str | None, str]] = []
    at = 0
    while rows[at].startswith(":"):
        _, _, old_sha, new_sha, letter = rows[at].split(" ")
        renamed = letter[0] in "RC"
        previous, path = (rows[at + 1], rows[at + 2]) if renamed else (None, rows[at + 1])
        found.append((letter[0], old_sha if letter[0] == "D" else new_sha, previous, path))
        at += 3 if renamed else 2
    counts: dict[str, tuple[int, int]] = {}
    while at < len(rows) and rows[at]:
        added, removed, name = rows[at].split("\t", 2)
        if not name:  # a rename: the two names follow as fields of their own
            name, at = rows[at + 2], at + 2
        counts[name] = (0 if added == "-" else int(added), 0 if removed == "-" else int(removed))
        at += 1
    changes: list[FileChange] = []
    for number, (letter, sha, previous, path) in enumerate(found):
        body = bodies[number] if number < len(bodies) else ""
        start = body.find("\n@@ ")
        patch = body[start + 1 :].rstrip("\n") if start >= 0 else None
        changes.append(
            FileChange(path, previous, _STATUS.get(letter, "changed"), sha, *counts.get(path, (0, 0)), patch)
        )
    return changes
