"""Bare repositories through the `git` binary: the storage under every branch, tree and merge.

Promises: no shell, argument lists only; a clean environment (no system or user configuration, no
prompt, no editor); author and committer always come from the caller, so the same calls give the
same object ids. Plain objects and references are read and written as files (`git_objects.py`); everything else, and
every change of a reference, is git's. Reference changes are compare-and-set: `update_refs` is one `git update-ref`
transaction, all of it or nothing.

Calls block for a few milliseconds. That is deliberate: on one event loop a read followed by a
compare-and-set cannot be interleaved with another request, while pushes (which run beside us in
`git http-backend`) are held off by git's own reference locks and show up as `RefConflictError`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from bot.localhub.git_files import FULL, UNKNOWN
from bot.localhub.git_model import (
    EMPTY_TREE,
    ZERO_OID,
    Commit,
    Comparison,
    FileChange,
    GitError,
    Ident,
    MergeConflictError,
    RefConflictError,
    RefUpdate,
    parse_diff,
)
from bot.localhub.git_objects import GitObjects

SHORT: Final = 50  # commits that are walked through here; a longer history is left to git

_HEX = re.compile(r"[0-9a-f]{4,40}\Z")


class BareRepo(GitObjects):
    """One bare repository on disk."""

    def update_refs(self, updates: Sequence[RefUpdate]) -> None:
        """Apply all updates in one transaction; raises RefConflictError if a `before` is wrong."""
        lines = ["start"]
        for update in updates:
            old = "" if update.before is None else f" {update.before}"
            if update.after == ZERO_OID:
                lines.append(f"delete {update.name}{'' if update.before in (None, ZERO_OID) else old}")
                if update.before == ZERO_OID:
                    raise RefConflictError(f"{update.name}: cannot be both absent and deleted")
            else:
                lines.append(f"update {update.name} {update.after}{old}")
        lines += ["prepare", "commit", ""]
        try:
            self.run("update-ref", "--no-deref", "--stdin", stdin="\n".join(lines).encode())
        except GitError as error:
            raise RefConflictError(error.stderr) from error

    def valid_ref_name(self, name: str) -> bool:
        """Whether git accepts this full reference name."""
        try:
            self.run("check-ref-format", name)
        except GitError:
            return False
        return True

    def resolve(self, ref: str) -> str | None:
        """Commit id of a branch, tag, full reference name or (short) commit id, or None."""
        names = [f"refs/heads/{ref}^{{commit}}", f"refs/tags/{ref}^{{commit}}"]
        if ref.startswith("refs/"):
            names.insert(0, f"{ref}^{{commit}}")
        elif ref.startswith(("heads/", "tags/", "pull/")):
            names.append(f"refs/{ref}^{{commit}}")
        elif ref == "HEAD" or _HEX.match(ref):
            names.append(f"{ref}^{{commit}}")
        return next((sha for sha, _ in self.objects(names) if sha), None)

    def file(self, commit: str, path: str) -> bytes | None:
        """Content of one file at a commit, or None."""
        entry = self.entry(commit, path)
        return self.blob(entry.sha) if entry and entry.type == "blob" else None

    def commit_files(
        self,
        parent: str | None,
        files: Mapping[str, str | bytes | None],
        message: str,
        author: Ident,
    ) -> str:
        """A commit that changes these files (None removes one); `#!` scripts are executable."""
        data = {p: c.encode() if isinstance(c, str) else c for p, c in files.items()}
        kept = {p: c for p, c in data.items() if c is not None}
        shas = dict(zip(kept, self.write_blobs(list(kept.values())), strict=True))
        changes: list[tuple[str, str | None, str | None]] = [
            (p, "100755" if c is not None and c.startswith(b"#!") else "100644", shas.get(p)) for p, c in data.items()
        ]
        tree = self.write_tree(f"{parent}^{{tree}}" if parent else None, changes)
        return self.write_commit(tree, [parent] if parent else [], message, author, author)

    # --- history ---

    def log(self, *revisions: str, limit: int | None = None, path: str = "", reverse: bool = False) -> list[Commit]:
        """Commits reachable from the revision expressions, newest first unless `reverse`."""
        key: tuple[str | bool | None, ...] = ("log", *revisions, reverse)
        if limit is None and not path:
            return list(
                self._fact(key, lambda: self._line(*revisions, reverse=reverse) or self._log(revisions, reverse))
            )
        return self._log(revisions, reverse, limit, path)

    def _log(self, revisions: Sequence[str], reverse: bool, limit: int | None = None, path: str = "") -> list[Commit]:
        args = ["rev-list", "--topo-order", *(["--reverse"] if reverse else [])]
        args += [f"--max-count={limit}"] if limit is not None else []
        names = self.run(*args, *revisions, "--", *([path] if path else [])).decode().split()
        return [self.commit(name) for name in names]

    def _line(self, tip: str, stop: str = "", *more: str, reverse: bool = False) -> list[Commit] | None:
        """The commits from `tip` to `^stop` (or to the first one) if they are a short line without merges.

        None, also when there is none: git has to be asked.
        """
        end = stop.removeprefix("^")
        if more or not all(FULL.match(name) for name in (tip, end or tip)):
            return None
        found: list[Commit] = []
        at = tip
        while at != end and len(found) < SHORT:
            if self._files.object(at) in (UNKNOWN, None):
                return None
            found.append(self.commit(at))
            parents = found[-1].parents
            if len(parents) != 1:
                return (found[::-1] if reverse else found) if not parents and not end else None
            at = parents[0]
        return (found[::-1] if reverse else found) if at == end else None

    def is_ancestor(self, old: str, new: str) -> bool:
        """Whether moving a branch from `old` to `new` is a fast-forward."""
        try:
            return old == new or self.merge_base(old, new) == old
        except GitError:
            return False

    def merge_base(self, one: str, other: str) -> str | None:
        """The best common ancestor, or None; raises GitError for what is no commit."""
        return self._fact(
            ("merge-base", one, other),
            lambda: (
                self._near_base(one, other) or self.run("merge-base", one, other, ok=(0, 1)).decode().strip() or None
            ),
        )

    def _near_base(self, one: str, other: str) -> str | None:
        """The one of the two that the other was built on, if that is plain to see."""
        if self._line(other, f"^{one}"):
            return one
        return other if self._line(one, f"^{other}") else None

    def diff(self, old: str, new: str, *, patches: bool = True) -> list[FileChange]:
        """Files that differ between two trees or commits, with line counts and patches."""
        whole = self._fact(("diff", old, new), lambda: self._diff(old, new))
        return whole if patches else [replace(change, patch=None) for change in whole]

    def _diff(self, old: str, new: str) -> list[FileChange]:
        options = ("-r", "-M", "--no-commit-id", "--raw", "--numstat", "-p", "--no-color", "-z", "--abbrev=40")
        return parse_diff(self.run("diff-tree", *options, old, new))

    def compare(self, base: str, head: str) -> Comparison | None:
        """`base...head`; None when the two have no common ancestor."""
        fork = self.merge_base(base, head)
        if fork is None:
            return None
        counts = self.run("rev-list", "--left-right", "--count", f"{base}...{head}").decode().split()
        commits = tuple(self.log(head, f"^{base}", reverse=True))
        files = tuple(self.diff(fork, head))
        return Comparison(base, head, fork, int(counts[1]), int(counts[0]), commits, files)

    # --- merging ---

    def merge_trees(self, ours: str, theirs: str) -> str:
        """Tree of the three-way merge of two commits; raises MergeConflictError."""
        options = ("--write-tree", "--name-only", "--no-messages", "--allow-unrelated-histories")
        text = self.run("merge-tree", *options, ours, theirs, ok=(0, 1)).decode("utf-8", "replace")
        out = text.splitlines()
        if len(out) > 1:
            raise MergeConflictError(out[1:])
        return out[0]

    def replay(self, onto: str, commits: Sequence[Commit], committer: Ident) -> str:
        """Put the commits (oldest first) on `onto`, keeping author and message.

        Raises MergeConflictError.
        """
        tip = onto
        for commit in commits:
            if len(commit.parents) > 1:
                continue  # as `git rebase` does: merges are dropped, their commits are replayed
            old = commit.parents[0] if commit.parents else EMPTY_TREE
            # merge-tree finds the base itself, so three throw-away commits spell it out.
            root = self.write_commit(f"{old}^{{tree}}", [], "base", committer, committer)
            ours = self.write_commit(f"{tip}^{{tree}}", [root], "ours", committer, committer)
            theirs = self.write_commit(commit.tree, [root], "theirs", committer, committer)
            tree = self.merge_trees(ours, theirs)
            tip = self.write_commit(tree, [tip], commit.message, commit.author, committer)
        return tip
