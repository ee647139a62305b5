"""The gate: what an agent made is looked at as data before anything of it is published.

Promise: the bundle is never checked out and none of its code runs. It is measured, unpacked into a bare repository with
git's own object checks on, and every commit is read: its place in the line, every changed path on both sides of a
rename, modes, names, sizes, contents. The result is a value: accepted with numbers, or refused with a typed reason and
a detail that names path and rule. The same gate runs in the agent's job (to fail early) and in the publishing job (the
one that counts).

The repository handed in must hold the start commit and must be thrown away after a refusal.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bot.domain.bundle import ContextBundle, bundle_cap
from bot.domain.model import FailureReason
from bot.worker.gate_content import ContentProblem, check_blobs
from bot.worker.gate_paths import ProtectedPaths, Spellings, is_test, spelling_problem
from bot.worker.git import Git, GitError
from bot.worker.pack import MAX_OBJECTS, BundleError, BundleHeader, measure_pack, read_header

CANDIDATE_REF: Final = "refs/tgs/candidate"
# Git shows odd modes as the nearest good one everywhere but in this check, which is off by default.
STRICT: Final = "--strict=badFilemode=error"
FILE_MODES: Final = frozenset({"100644", "100755"})
ABSENT: Final = "000000"
IMPLEMENTATION: Final = "implementation.md"


@dataclass(frozen=True, slots=True)
class GateLimits:
    """What one attempt may add; taken from the context."""

    max_files: int
    max_bytes: int
    max_commits: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The bundle may be published. `deleted_tests` is for the people who review."""

    head_sha: str
    commits: tuple[str, ...]
    files: int
    insertions: int
    deletions: int
    deleted_tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RefusedBundle:
    """The bundle may not be published. `detail` names the path and the rule, for people."""

    reason: FailureReason
    detail: str


Verdict = Accepted | RefusedBundle


@dataclass(frozen=True, slots=True)
class Change:
    """One side-by-side line of a commit's raw difference. `old`/`new` are blob ids, zero when absent."""

    commit: str
    status: str
    old_mode: str
    new_mode: str
    old: str
    new: str
    path: str


class _Refusal(Exception):
    def __init__(self, reason: FailureReason, detail: str) -> None:
        super().__init__(detail)
        self.verdict = RefusedBundle(reason, detail)


async def inspect(bundle: Path, repository: Path, context: ContextBundle) -> Verdict:
    """Judges the bundle file against the context, using the bare repository (which holds `context.start_sha`).

    Raises GitError only when the repository itself is unusable; whatever is wrong with the bundle is a verdict.
    """
    git = Git(repository)
    found = await _judged(bundle, git, context)
    if isinstance(found, RefusedBundle):
        return found
    head, commits = found
    try:
        return await _accept(git, context, head, commits)
    except _Refusal as refusal:
        return refusal.verdict


async def inspect_work(bundle: Path, repository: Path, context: ContextBundle) -> str | RefusedBundle:
    """Judges work that is not finished, which an earlier attempt left: the same rules, without those about a result.

    The head commit, which the repository then holds under `CANDIDATE_REF`. Raises GitError as `inspect` does.
    """
    found = await _judged(bundle, Git(repository), context)
    return found if isinstance(found, RefusedBundle) else found[0]


async def _judged(bundle: Path, git: Git, context: ContextBundle) -> tuple[str, tuple[str, ...]] | RefusedBundle:
    """The head and its commits, oldest first, when nothing is wrong with what they hold."""
    limits = GateLimits(context.limits.max_files, context.limits.max_bytes, context.limits.max_commits)
    try:
        head = await _unpack(bundle, git, context.start_sha, limits)
        commits = await _line(git, context.start_sha, head, limits)
        changes = await _changes(git, context.start_sha, commits)
        await _check_paths(git, context, changes)
        _check_count(changes, limits)
        await check_blobs(git, [(c.path, c.old, c.new) for c in changes if c.new_mode != ABSENT], limits.max_bytes)
    except _Refusal as refusal:
        return refusal.verdict
    except ContentProblem as problem:
        return RefusedBundle(problem.reason, problem.detail)
    except BundleError as error:
        return RefusedBundle(FailureReason.SECURITY_BUNDLE, str(error))
    return head, commits


async def _unpack(bundle: Path, git: Git, start: str, limits: GateLimits) -> str:
    # Inflating is work for the processor: in a thread, so that heartbeats go on.
    header, data = await asyncio.to_thread(_measure, bundle, start, limits)
    try:
        await git.run("index-pack", "--stdin", "--fix-thin", STRICT, stdin=data[header.pack_offset :])
        await git.run("rev-list", "--objects", "--quiet", header.sha, f"^{start}")
        kind = await git.text("cat-file", "-t", header.sha)
    except GitError as error:
        said = " ".join((error.stderr or str(error)).split())
        raise BundleError(f"git's own check refused the objects: {said}") from None
    if kind != "commit":
        raise BundleError(f"the bundle's ref points at a {kind}, not at a commit")
    await git.run("update-ref", CANDIDATE_REF, header.sha)
    return header.sha


def _measure(bundle: Path, start: str, limits: GateLimits) -> tuple[BundleHeader, bytes]:
    cap = bundle_cap(limits.max_bytes)
    with bundle.open("rb") as file:
        data = file.read(cap + 1)
    if len(data) > cap:
        raise BundleError(f"the bundle is larger than the limit of {cap} bytes")
    header = read_header(data)
    if header.sha == start:
        raise _Refusal(FailureReason.AGENT_EMPTY_OUTPUT, "The agent made no commit.")
    strange = header.prerequisites - {start}
    if strange:
        raise BundleError(f"the bundle builds on {min(strange)[:12]}, not on the pinned commit {start[:12]}")
    # Trees and deltas repeat unchanged names, hence the factor; the limit proper is on the changed files' contents.
    measure_pack(data, header.pack_offset, max_objects=MAX_OBJECTS, max_inflated=limits.max_bytes * 4 + 1_000_000)
    return header, data


async def _line(git: Git, start: str, head: str, limits: GateLimits) -> tuple[str, ...]:
    """The new commits, oldest first. Each has exactly one parent and the first stands on the start commit."""
    listing = await git.text("rev-list", "--parents", "--topo-order", head, f"^{start}")
    parents = {sha: rest for sha, *rest in (line.split() for line in listing.splitlines())}
    if len(parents) > limits.max_commits:
        raise _Refusal(
            FailureReason.QUALITY_GATE, f"{len(parents)} commits; the limit is {limits.max_commits} (max_commits)."
        )
    line = []
    at = head
    while at != start:
        if at not in parents:
            raise BundleError(f"the commits do not descend from the pinned commit {start[:12]}")
        if len(parents[at]) != 1:
            found = "a merge" if parents[at] else "a root commit"
            raise BundleError(f"commit {at[:12]} is {found}; the history must be one line")
        line.append(at)
        at = parents[at][0]
    if len(line) != len(parents):
        raise BundleError("the history is not one line")
    return tuple(reversed(line))


async def _changes(git: Git, start: str, commits: tuple[str, ...]) -> list[Change]:
    """Every changed path of every commit; without rename detection, so both sides of a rename are here."""
    changes = []
    parent = start
    for commit in commits:
        out = await git.run("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", parent, commit)
        fields = out.stdout.split(b"\0")
        for meta, raw in zip(fields[0:-1:2], fields[1::2], strict=True):
            old_mode, new_mode, old, new, status = meta.decode("ascii").removeprefix(":").split(" ")
            path = raw.decode("utf-8", "backslashreplace")
            problem = spelling_problem(raw) if new_mode != ABSENT else None
            if problem is not None:
                raise _Refusal(FailureReason.SECURITY_BUNDLE, f"{_shown(path)}: {problem}.")
            changes.append(Change(commit, status, old_mode, new_mode, old, new, path))
        parent = commit
    return changes


async def _check_paths(git: Git, context: ContextBundle, changes: list[Change]) -> None:
    protected = ProtectedPaths(context.protected_paths, thought_dir=context.thought.dir if context.thought else None)
    listing = await git.run("ls-tree", "-r", "-z", "--name-only", context.start_sha)
    spellings = Spellings(p.decode("utf-8", "backslashreplace") for p in listing.stdout.split(b"\0") if p)
    by_commit: dict[str, list[Change]] = {}
    for change in changes:
        by_commit.setdefault(change.commit, []).append(change)
    for group in by_commit.values():
        for change in group:
            _check_change(protected, change)
        for change in group:
            if change.new_mode == ABSENT:
                spellings.remove(change.path)
        for change in group:
            if change.old_mode == ABSENT:
                clash = spellings.add(change.path)
                if clash is not None:
                    raise _Refusal(
                        FailureReason.SECURITY_BUNDLE,
                        f"{_shown(change.path)}: collides with {_shown(clash)} on file systems that ignore case.",
                    )


def _check_change(protected: ProtectedPaths, change: Change) -> None:
    if change.new_mode not in FILE_MODES and change.new_mode != ABSENT:
        what = {"120000": "a symbolic link", "160000": "a submodule"}.get(change.new_mode, f"mode {change.new_mode}")
        raise _Refusal(FailureReason.SECURITY_BUNDLE, f"{_shown(change.path)}: is {what}; only plain files are taken.")
    rule = protected.rule_for(change.path)
    if rule is not None:
        raise _Refusal(
            FailureReason.POLICY_PROTECTED_PATH, f"{_shown(change.path)}: may not be changed by the agent ({rule})."
        )


def _check_count(changes: list[Change], limits: GateLimits) -> None:
    files = len({c.path for c in changes})
    if files > limits.max_files:
        raise _Refusal(
            FailureReason.QUALITY_GATE, f"{files} files changed; the limit is {limits.max_files} (max_files)."
        )


async def _accept(git: Git, context: ContextBundle, head: str, commits: tuple[str, ...]) -> Accepted:
    if context.thought is not None:
        path = f"{context.thought.dir}/{IMPLEMENTATION}"
        if not await git.text("ls-tree", head, "--", path):
            raise _Refusal(FailureReason.MISSING_ARTIFACT, f"{path}: is missing; a thought ends with it.")
    out = await git.run("diff-tree", "-r", "-z", "--numstat", "--no-renames", "--no-textconv", context.start_sha, head)
    totals: Counter[str] = Counter()
    files = 0
    for line in out.stdout.split(b"\0"):
        if not line:
            continue
        added, removed, _ = line.split(b"\t", 2)
        files += 1
        totals["added"] += int(added) if added != b"-" else 0
        totals["removed"] += int(removed) if removed != b"-" else 0
    if files == 0:
        raise _Refusal(FailureReason.AGENT_EMPTY_OUTPUT, "The agent's commits change nothing in the end.")
    gone = await git.run(
        "diff-tree", "-r", "-z", "--name-only", "--diff-filter=D", "--no-renames", context.start_sha, head
    )
    deleted = [p.decode("utf-8", "backslashreplace") for p in gone.stdout.split(b"\0") if p]
    tests = tuple(_shown(p) for p in deleted if is_test(p))
    return Accepted(head, commits, files, totals["added"], totals["removed"], tests)


def _shown(path: str) -> str:
    """A path as it may stand in a sentence: printable, on one line, of bounded length."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in path)[:200]
