"""What the gate's repository shows of an accepted result, for the doubts about it.

Promise: data only; nothing is checked out and no code of the agent runs. Reads are bounded: of a huge difference only
its beginning is looked at, which is said by the doubt about lines nobody can review.
"""

from __future__ import annotations

from typing import Final

from bot.domain.bundle import ContextBundle
from bot.domain.doubts import Doubt, FileChange, ResultFacts, doubts_of
from bot.worker.gate import IMPLEMENTATION, Accepted
from bot.worker.gate_paths import is_test
from bot.worker.git import Git, GitError

MAX_DIFFERENCE: Final = 4_000_000
"""Bytes of the difference that are read; a reviewer has given up long before."""
MAX_REPORT: Final = 20_000
"""Bytes of the implementation report that are read."""


async def doubts_about(
    git: Git,
    context: ContextBundle,
    accepted: Accepted,
    *,
    summary: str = "",
    green_before: frozenset[str] = frozenset(),
) -> tuple[Doubt, ...]:
    """The doubts about what the gate accepted. Without the agent's words, those about words are left to who has them.

    Raises GitError when the repository is unusable.
    """
    # Names as they are, and no lines around a change.
    shape = ("-c", "core.quotePath=false", "diff-tree", "-r", "-p", "--no-color", "--no-ext-diff", "--no-textconv")
    patch = await git.run(*shape, "--no-renames", "--unified=0", context.start_sha, accepted.head_sha)
    return doubts_of(
        ResultFacts(
            files=changed(patch.stdout[:MAX_DIFFERENCE].decode("utf-8", "replace")),
            type=context.spec.type,
            summary=summary,
            acceptance=tuple(dict.fromkeys((*context.acceptance, *context.spec.acceptance))),
            green_before=green_before,
            report=await _report(git, context, accepted),
        )
    )


async def _report(git: Git, context: ContextBundle, accepted: Accepted) -> str | None:
    if context.thought is None:
        return None
    try:
        found = await git.run("cat-file", "blob", f"{accepted.head_sha}:{context.thought.dir}/{IMPLEMENTATION}")
    except GitError:
        return ""
    return found.stdout[:MAX_REPORT].decode("utf-8", "replace")


def changed(patch: str) -> tuple[FileChange, ...]:
    """The changed files of a difference without context lines, as git writes it."""
    found: list[FileChange] = []
    path, gone = "", False
    added: list[str] = []
    removed: list[str] = []
    inside = False

    def close() -> None:
        if path:
            found.append(FileChange(path, tuple(added), tuple(removed), gone=gone, test=is_test(path)))
        added.clear()
        removed.clear()

    for line in patch.split("\n"):
        if line.startswith("diff --git "):
            close()
            path, gone, inside = _path(line), False, False
        elif line.startswith("@@"):
            inside = True
        elif not inside:
            gone = gone or line.startswith("deleted file mode")
        elif line.startswith("+"):
            added.append(line[1:])
        elif line.startswith("-"):
            removed.append(line[1:])
    close()
    return tuple(found)


def _path(line: str) -> str:
    """The path of `diff --git a/x b/x`, whose halves are equal without renames; quoted ones stay quoted."""
    rest = line.removeprefix("diff --git ")
    half = rest[: len(rest) // 2]
    return half.removeprefix("a/").removeprefix('"a/').removesuffix('"')
