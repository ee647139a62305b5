"""What one commit holds of the backlog, and how people see it: the queue, its order, and why something waits.

Promise: reads only. What a thought waits for is said in sentences; the same function decides whether it is given out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from bot.client.backlog import Entry, ItemRef, LockHeld, Status
from bot.client.backlog_file import STATES, File, Row
from bot.client.backlog_merge import last_change
from bot.domain.locks import Lock, conflicts, parse_lock
from bot.domain.mirror import ThoughtText
from bot.domain.model import Problem
from bot.domain.policy_model import Policy
from bot.domain.sanitise import for_terminal, one_line
from bot.domain.thoughts import IMPLEMENTATION, THOUGHTS_DIR, parse_dir
from bot.domain.timestamps import iso
from bot.errors import UserError

_ENDED: Final = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


@dataclass(frozen=True, slots=True)
class View:
    """What one commit of the branch holds. `thoughts` are the sound folders, `problems` says why others are not.

    `policy_problem`: the policy cannot be read, so nothing is given out, for it may name locks.
    """

    commit: str
    file: File
    thoughts: Mapping[str, ThoughtText] = field(default_factory=dict)
    problems: Mapping[str, Problem] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    policy_problem: Problem | None = None
    branch: str = "main"


def folder_of(ref: ItemRef | None) -> str:
    """The folder that a command means. Raises UserError."""
    if ref is None or ref.dir is None:
        number = f"#{ref.number} names an issue, and a" if ref is not None else "A"
        raise UserError(
            f"{number} backlog in a file has no issues.", f"Name the folder, such as {THOUGHTS_DIR}/abc123-title."
        )
    path = ref.dir.strip().removeprefix("./").rstrip("/")
    path = path if "/" in path else f"{THOUGHTS_DIR}/{path}"
    if parse_dir(path) is None:
        raise UserError(
            f"{for_terminal(one_line(ref.dir), 200)} is no folder of a thought.",
            f"It is named {THOUGHTS_DIR}/<hash>-<title>: 6 to 40 characters of 0-9 and a-z, a dash, and a title.",
        )
    return path


def known_row(file: File, folder: str) -> Row:
    row = file.find(folder)
    if row is None:
        raise UserError(f"{folder} is not in the backlog.", f"`tgs server backlog add {folder}` puts it there.")
    return row


def queue(file: File) -> list[Row]:
    """The queued rows in the order in which they are given out."""
    rows = [row for row in file.thoughts if row.known is Status.QUEUED]
    # Sorting is stable: without a time, the order of the file decides.
    return sorted(rows, key=lambda row: (-row.priority, row.added_at is None, row.added_at or last_change(row)))


def entries(view: View, now: datetime) -> list[Entry]:
    """Work under way, then the queue, then the rest, ended ones last."""
    queued = queue(view.file)
    running = [row for row in view.file.thoughts if row.known is Status.IN_PROGRESS]
    over = [row for row in view.file.thoughts if row.known in _ENDED]
    rest = [row for row in view.file.thoughts if row.known in (None, Status.PROPOSED)]
    running.sort(key=last_change)
    over.sort(key=last_change)
    listed = [entry_of(row) for row in running]
    waits = obstacles(view, now)
    for position, row in enumerate(queued, start=1):
        listed.append(entry_of(row, position=position, waiting=tuple(waits(row))))
    for row in rest:
        odd = () if row.known else (f"Its status `{for_terminal(one_line(row.status), 40)}` is none that is known.",)
        listed.append(entry_of(row, waiting=odd))
    return listed + [entry_of(row) for row in over]


def entry_of(row: Row, *, position: int | None = None, waiting: tuple[str, ...] = ()) -> Entry:
    status = row.known or Status.PROPOSED
    return Entry(
        dir=row.dir,
        title=row.title or row.dir,
        state=STATES[status],
        status=status,
        priority=row.priority,
        position=position,
        added_at=row.added_at,
        claimed_at=row.claimed_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
        claimed_by=row.claimed_by if status is Status.IN_PROGRESS else None,
        attempts=row.tgs.fence,
        waiting=waiting,
    )


def obstacles(view: View, now: datetime) -> Callable[[Row], list[str]]:
    """The function that says why a queued row is not given out now, as sentences; none when it can be."""
    count = Counter(row.dir for row in view.file.thoughts)
    holders = [row for row in view.file.thoughts if row.known is Status.IN_PROGRESS]
    held = [(lock, index) for index, row in enumerate(holders) for lock in locks_of(view, row)]

    def waits(row: Row) -> list[str]:
        found = [view.policy_problem.what] if view.policy_problem else []
        if count[row.dir] > 1:
            found.append("The file names it more than once; `tgs server backlog validate --fix` makes one of it.")
        found += _of_the_folder(view, row)
        if row.tgs.not_before is not None and row.tgs.not_before > now:
            found.append(f"It failed before; it is tried again from {iso(row.tgs.not_before)}.")
        found += [f"`{path}` is held by {holders[index].dir}." for path, index in conflicts(locks_of(view, row), held)]
        return found

    return waits


def _of_the_folder(view: View, row: Row) -> list[str]:
    text = view.thoughts.get(row.dir)
    if text is None:
        problem = view.problems.get(row.dir)
        return [problem.what if problem else f"Its folder is not committed on {view.branch}."]
    if text.thought.implementation:
        return [f"It has `{IMPLEMENTATION}`, so it is built."]
    matter = text.front_matter.matter if text.front_matter is not None else None
    return ["Its plan is marked as a draft."] if matter is not None and matter.draft else []


def locks_of(view: View, row: Row) -> tuple[Lock, ...]:
    return tuple(parse_lock(path) for path in (row.tgs.locks or view.policy.locks))


def held_locks(view: View) -> list[LockHeld]:
    return [
        LockHeld(lock.path, row.dir, row.claimed_by or "nobody known", row.claimed_at, lock.mode.value)
        for row in view.file.thoughts
        if row.known is Status.IN_PROGRESS
        for lock in locks_of(view, row)
    ]


def explained(view: View, folder: str, now: datetime) -> list[str]:
    """Where one thought stands and why. Raises UserError when it is not in the file."""
    row = known_row(view.file, folder)
    told: list[str] = []
    match row.known:
        case Status.QUEUED:
            waits = obstacles(view, now)(row)
            ahead = [other.dir for other in queue(view.file)].index(folder)
            told += waits or [f"It is queued; {ahead} are before it." if ahead else "It is next."]
        case Status.IN_PROGRESS:
            told.append(f"{row.claimed_by or 'Somebody'} has it since {iso(row.claimed_at) or 'an unknown time'}.")
            told.append("The claim holds until its owner settles it; `remove --force` and `add` take it away.")
        case Status.COMPLETED:
            told.append(f"It is completed since {iso(row.completed_at) or 'an unknown time'}.")
            told += [f"Evidence: {row.tgs.evidence}"] if row.tgs.evidence else []
        case Status.FAILED:
            told.append("It failed; `add` queues it again.")
        case _:
            told.append(f"Its status is `{for_terminal(one_line(row.status), 40)}`, so nothing moves it.")
    if row.tgs.failures:
        last = row.tgs.failures[-1]
        told.append(f"The last attempt failed ({last.reason}, {iso(last.at)}). {last.message}".strip())
    return told
