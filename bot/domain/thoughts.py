"""Recognises thoughts: folders `tgs/thoughts/<hash>-<title>/` with a committed research and plan.

Promise: works on git tree entries alone, so only what is committed counts, and never raises. A folder that is not a
sound thought becomes a problem with a remedy instead of being skipped silently. Symlinks, submodules and odd names
inside a thought make it unusable, because the agent is told to read these paths. Race: the tree belongs to one commit;
the caller pins that commit and reads the blobs by their SHA.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from bot.domain.front_matter import FrontMatterResult
from bot.domain.model import Problem, ThoughtRef
from bot.domain.sanitise import MAX_SLUG, code_span, for_branch

THOUGHTS_DIR: Final = "tgs/thoughts"
RESEARCH: Final = "research.md"
PLAN: Final = "plan.md"
IMPLEMENTATION: Final = "implementation.md"
MAX_FILE_BYTES: Final = 256 * 1024
"""Bytes of research or plan; an agent could not read more in one piece anyway."""
MAX_THOUGHTS: Final = 5_000
"""Folders that are looked at; beyond it something writes folders by machine."""
MAX_NAME: Final = 120
"""Characters of a folder's name."""

CODE_NAME: Final = "thought_name"
CODE_UNSAFE: Final = "thought_unsafe"
CODE_TOO_LARGE: Final = "thought_too_large"
CODE_MISSING: Final = "thought_missing_file"
CODE_TOO_MANY: Final = "thoughts_too_many"

_NAME = re.compile(r"(?P<hash>[0-9a-z]{6,40})-(?P<title>[A-Za-z0-9][A-Za-z0-9._-]*)")
_REGULAR = frozenset({"100644", "100755"})


class Entry(Protocol):
    """One entry of a git tree: `mode` as git writes it, `type` blob, tree or commit, `size` in bytes (blobs)."""

    @property
    def path(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def sha(self) -> str: ...
    @property
    def size(self) -> int | None: ...


@dataclass(frozen=True, slots=True, order=True)
class Thought:
    """One sound folder. `dir` is its path from the repository's root; `implementation`: it is already built."""

    dir: str
    hash: str
    slug: str
    research_sha: str
    plan_sha: str
    implementation: bool = False

    @property
    def title(self) -> str:
        """The title in the folder's name, for people: dashes become spaces."""
        words = re.sub(r"[-_]+", " ", self.slug).strip()
        return words[:1].upper() + words[1:]

    @property
    def plan_path(self) -> str:
        return f"{self.dir}/{PLAN}"

    @property
    def research_path(self) -> str:
        return f"{self.dir}/{RESEARCH}"

    def ref(self, commit_sha: str) -> ThoughtRef:
        return ThoughtRef(self.dir, commit_sha, self.plan_sha, self.research_sha)


@dataclass(frozen=True, slots=True, order=True)
class ThoughtProblem:
    """A folder that cannot be used, and why."""

    dir: str
    problem: Problem


def recognise(entries: Iterable[Entry]) -> tuple[tuple[Thought, ...], tuple[ThoughtProblem, ...]]:
    """The thoughts among these entries (recursive, paths relative to `tgs/thoughts`), and the unusable folders."""
    folders: dict[str, list[Entry]] = {}
    problems: list[ThoughtProblem] = []
    for entry in entries:
        name, slash, rest = entry.path.partition("/")
        if slash and rest:
            folders.setdefault(name, []).append(entry)
        elif entry.type == "tree":
            folders.setdefault(name, [])
        elif entry.mode not in _REGULAR:
            problems.append(_unsafe(name, "a symbolic link or submodule"))
        # A plain file beside the folders (a README) is nobody's thought.
    names = sorted(folders)
    if len(names) > MAX_THOUGHTS:
        what = f"`{THOUGHTS_DIR}` has {len(names)} folders; only the first {MAX_THOUGHTS} are read."
        problems.append(ThoughtProblem(THOUGHTS_DIR, Problem(CODE_TOO_MANY, what, "Remove folders that are built.")))
    found: list[Thought] = []
    for name in names[:MAX_THOUGHTS]:
        result = _thought(name, folders[name])
        if isinstance(result, Thought):
            found.append(result)
        else:
            problems.append(result)
    return tuple(found), tuple(sorted(problems, key=lambda p: (p.dir, p.problem.code)))


def _thought(name: str, entries: list[Entry]) -> Thought | ThoughtProblem:
    match = parse_name(name)
    if match is None:
        what = f"{code_span(f'{THOUGHTS_DIR}/{name}')} is not named `<hash>-<title>`."
        remedy = "Use 6 to 40 characters of 0-9 and a-z, a dash, and a title of letters, digits, `.`, `_` and `-`."
        return ThoughtProblem(_dir(name), Problem(CODE_NAME, what, remedy))
    files: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.path):
        inner = entry.path.partition("/")[2]
        if entry.type == "commit" or entry.mode in ("120000", "160000"):
            return _unsafe(name, f"a symbolic link or submodule: {code_span(inner)}")
        if any(part in ("", ".", "..") for part in inner.split("/")) or re.search(r"[\x00-\x1f\x7f\\]", inner):
            return _unsafe(name, f"an unsafe path: {code_span(inner)}")
        files[inner] = entry
    for required in (RESEARCH, PLAN):
        file = files.get(required)
        if file is None or file.type != "blob" or file.mode not in _REGULAR:
            what = f"{code_span(_dir(name))} has no `{required}`."
            return ThoughtProblem(
                _dir(name), Problem(CODE_MISSING, what, f"Commit `{required}`, or remove the folder.")
            )
        if file.size is not None and file.size > MAX_FILE_BYTES:
            what = f"{code_span(f'{_dir(name)}/{required}')} has {file.size} bytes; the limit is {MAX_FILE_BYTES}."
            return ThoughtProblem(_dir(name), Problem(CODE_TOO_LARGE, what, "Shorten it, or split the thought."))
    built = files.get(IMPLEMENTATION)
    return Thought(
        dir=_dir(name),
        hash=match[0],
        slug=match[1],
        research_sha=files[RESEARCH].sha,
        plan_sha=files[PLAN].sha,
        implementation=built is not None and built.type == "blob",
    )


def parse_name(name: str) -> tuple[str, str] | None:
    """(hash, title) of a folder's name; None when it is not the name of a thought."""
    match = _NAME.fullmatch(name)
    if match is None or len(name) > MAX_NAME or ".." in name or name.endswith("."):
        return None
    return match["hash"], match["title"]


def parse_dir(path: str) -> tuple[str, str] | None:
    """(hash, title) of a path such as `tgs/thoughts/abc123-title`; None for anything else, traversal included."""
    prefix, _, name = path.rstrip("/").rpartition("/")
    return parse_name(name) if prefix == THOUGHTS_DIR else None


def approved(thought: Thought, front_matter: FrontMatterResult) -> bool:
    """Whether committing this thought asked for its implementation: not built, readable, and not marked as a draft."""
    return not thought.implementation and front_matter.matter is not None and not front_matter.matter.draft


def _dir(name: str) -> str:
    return f"{THOUGHTS_DIR}/{name}"


def _unsafe(name: str, why: str) -> ThoughtProblem:
    what = f"{code_span(_dir(name))} contains {why}."
    return ThoughtProblem(_dir(name), Problem(CODE_UNSAFE, what, "Commit plain files only."))


def branch_name(issue: int, title: str, template: str) -> str:
    """The branch of an item: `template` with `{issue}` and `{slug}` filled in; safe for git whatever the title says.

    The template has been checked by the policy. The slug has at most `MAX_SLUG` characters and is never empty.
    """
    return template.replace("{issue}", str(issue)).replace("{slug}", for_branch(title, MAX_SLUG))
