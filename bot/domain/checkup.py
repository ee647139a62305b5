"""Does everything fit together? The ledger, what GitHub shows, and the plans of one commit, compared as values.

Promise: every finding names what is wrong, where, and what to do; `repair` says what puts it right without deciding
anything for people (labels shown again, a lock freed, a key looked at again). What was not read (None) is not judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bot.domain import labels
from bot.domain.model import TERMINAL_STATES, Item, ItemState
from bot.domain.repository import RepoRecord
from bot.domain.thoughts import Thought, ThoughtProblem

BUILDING = frozenset({ItemState.IN_PROGRESS, ItemState.IN_REVIEW, ItemState.DONE})
"""States in which an `implementation.md` on the default branch is no surprise."""


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


class Repair(StrEnum):
    """What puts a finding right."""

    LOOK = "look"
    SHOW = "show"
    UNLABEL = "unlabel"
    UNLOCK = "unlock"


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that does not fit. `value` is the label or path that the repair is about."""

    code: str
    severity: Severity
    item: int | None
    message: str
    remedy: str
    repair: Repair | None = None
    value: str = ""


@dataclass(frozen=True, slots=True)
class ShownIssue:
    """An issue as GitHub lists it. `dir` is the thought that its marker names, if our bot wrote it."""

    number: int
    title: str
    open: bool
    labels: frozenset[str]
    dir: str | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """What was read on GitHub. `branches` are (name, issue) of ours, `claims` (ref, issue)."""

    thoughts: tuple[Thought, ...] | None = None
    problems: tuple[ThoughtProblem, ...] = ()
    issues: tuple[ShownIssue, ...] | None = None
    branches: tuple[tuple[str, int], ...] = ()
    claims: tuple[tuple[str, int | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger holds of one repository. `live` are issues with a live attempt, `locks` (path, issue),
    `showing` issues whose labels are just being changed by a claim."""

    repo: RepoRecord
    items: tuple[Item, ...]
    live: frozenset[int]
    locks: tuple[tuple[str, int], ...]
    showing: frozenset[int] = frozenset()


def checkup(known: Known, shown: Shown) -> list[Flaw]:
    """Everything that does not fit together, errors first."""
    found = [
        *_set_up(known.repo),
        *_records(known),
        *_plans(known, shown),
        *_issues(known, shown),
        *_leftovers(known, shown),
        *_cycles({item.key.number: item for item in known.items}),
    ]
    return sorted(found, key=lambda flaw: (flaw.severity is not Severity.ERROR, flaw.item or 0, flaw.code, flaw.value))


def _set_up(repo: RepoRecord) -> Iterator[Flaw]:
    for problem in repo.preflight_problems:
        yield Flaw(problem.code, Severity.ERROR, None, problem.what, problem.remedy)
    # A file that cannot be used is an error; an unknown key in one that can is a warning.
    severity = Severity.ERROR if repo.policy_error_sha is not None else Severity.WARNING
    for problem in repo.policy_problems:
        yield Flaw(problem.code, severity, None, problem.what, problem.remedy)


def _records(known: Known) -> Iterator[Flaw]:
    """The ledger in itself."""
    numbers = {item.key.number: item for item in known.items}
    for item in known.items:
        number = item.key.number
        if number in known.live and item.state is not ItemState.IN_PROGRESS:
            yield Flaw(
                "live_attempt",
                Severity.ERROR,
                number,
                f"an attempt is live but the item is {item.state.value}",
                "Look at it again with `/tgs sync`.",
                Repair.LOOK,
            )
        for other in item.spec.depends_on:
            if other not in numbers:
                yield Flaw(
                    "dependency_unknown",
                    Severity.WARNING,
                    number,
                    f"it depends on #{other}, which is no item",
                    "It waits until that issue is closed as completed.",
                    value=str(other),
                )
    for path, holder in known.locks:
        item_or_none = numbers.get(holder)
        pull = item_or_none is not None and item_or_none.pull is not None and not item_or_none.terminal
        if holder not in known.live and not pull:
            yield Flaw(
                "orphan_lock",
                Severity.ERROR,
                holder,
                f"the lock on {path} has no holder",
                "Have it freed (`fix`).",
                Repair.UNLOCK,
                path,
            )


def _plans(known: Known, shown: Shown) -> Iterator[Flaw]:
    """Items of plans against the folders of the default branch."""
    if shown.thoughts is None:
        return
    there = {thought.dir: thought for thought in shown.thoughts}
    broken = {entry.dir: entry.problem for entry in shown.problems}
    mirrored = {item.thought.dir for item in known.items if item.thought is not None}
    for item in known.items:
        if item.thought is None or item.terminal:
            continue
        number, folder = item.key.number, item.thought.dir
        thought = there.get(folder)
        if thought is None and folder in broken:
            yield Flaw("thought_broken", Severity.ERROR, number, broken[folder].what, broken[folder].remedy)
        elif thought is None:
            yield Flaw(
                "thought_missing",
                Severity.ERROR,
                number,
                f"its plan folder {folder} is not on the default branch",
                "Restore it, or close the issue.",
                Repair.LOOK,
            )
        elif thought.implementation and item.state not in BUILDING:
            yield Flaw(
                "already_implemented",
                Severity.ERROR,
                number,
                f"{folder} has an `implementation.md`, but the item is {item.state.value}",
                "Look at it again with `/tgs sync`, or remove the file.",
                Repair.LOOK,
            )
    for folder, problem in sorted(broken.items()):
        if folder not in mirrored:
            yield Flaw(problem.code, Severity.WARNING, None, problem.what, problem.remedy, value=folder)


def _issues(known: Known, shown: Shown) -> Iterator[Flaw]:
    """Items against the issues that people see."""
    if shown.issues is None:
        return
    seen = {issue.number: issue for issue in shown.issues}
    numbers = {item.key.number for item in known.items}
    for item in known.items:
        issue = seen.get(item.key.number)
        if issue is None and item.state in TERMINAL_STATES:
            continue
        if item.key.number not in known.showing:
            yield from _label(item, issue)
        if issue is not None and issue.title != item.title:
            yield Flaw(
                "title_drift",
                Severity.WARNING,
                item.key.number,
                f"the issue is called {issue.title!r}, the item {item.title!r}",
                "Look at it again with `/tgs sync`.",
                Repair.LOOK,
            )
    for issue in shown.issues:
        state = labels.states_shown(issue.labels)
        if issue.number not in numbers and state:
            yield Flaw(
                "orphan_label",
                Severity.WARNING,
                issue.number,
                f"it carries {labels.state_label(state[0])} and is no item",
                "Take the label off, or add the issue.",
                # Ready and proposed ask for something; who may ask is decided when the issue is looked at.
                Repair.LOOK if state[0] in {ItemState.READY, ItemState.PROPOSED} else Repair.UNLABEL,
                labels.state_label(state[0]),
            )
    yield from _duplicates(shown.issues)


def _label(item: Item, issue: ShownIssue | None) -> Iterator[Flaw]:
    wanted = labels.state_label(item.state)
    carried = [labels.state_label(state) for state in labels.states_shown(issue.labels)] if issue is not None else []
    if carried != [wanted]:
        yield Flaw(
            "label_wrong",
            Severity.ERROR,
            item.key.number,
            f"it should show {wanted} and shows {', '.join(carried) or 'no state'}",
            "Have it looked at again (`fix`).",
            Repair.SHOW,
            wanted,
        )


def _duplicates(issues: Sequence[ShownIssue]) -> Iterator[Flaw]:
    first: dict[str, int] = {}
    for issue in sorted(issues, key=lambda one: one.number):
        if issue.dir is None or not issue.open:
            continue
        if issue.dir in first:
            yield Flaw(
                "duplicate",
                Severity.ERROR,
                issue.number,
                f"it is a second issue of {issue.dir}, which is #{first[issue.dir]}",
                "Close one of them.",
                value=issue.dir,
            )
        first.setdefault(issue.dir, issue.number)


def _leftovers(known: Known, shown: Shown) -> Iterator[Flaw]:
    """Branches and claims that nobody uses."""
    items = {item.key.number: item for item in known.items}
    for name, number in shown.branches:
        item = items.get(number)
        if number in known.live or (item is not None and not item.terminal):
            continue
        yield Flaw(
            "orphan_branch",
            Severity.WARNING,
            number,
            f"nobody works on the branch {name}",
            "Delete it, or keep it for a later attempt.",
            value=name,
        )
    for ref, claimed in shown.claims:
        if claimed is None or claimed not in known.live:
            yield Flaw(
                "orphan_ref",
                Severity.WARNING,
                claimed,
                f"the claim {ref} belongs to no attempt here",
                "It may be another deployment's. Its owner releases it.",
                Repair.LOOK if claimed is not None else None,
                ref,
            )


def _cycles(items: Mapping[int, Item]) -> Iterator[Flaw]:
    """Items that wait for each other in a ring, named once by the lowest number."""
    for start in sorted(items):
        seen: set[int] = set()
        todo = [n for n in items[start].spec.depends_on if n in items]
        while todo:
            number = todo.pop()
            if number == start:
                if start <= min(seen | {start}):
                    yield Flaw(
                        "dependency_cycle",
                        Severity.ERROR,
                        start,
                        "it waits for itself through its dependencies",
                        "Remove one dependency of the ring.",
                    )
                break
            if number not in seen:
                seen.add(number)
                todo.extend(n for n in items[number].spec.depends_on if n in items)
