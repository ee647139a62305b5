"""What `add`, `remove`, `import` and the release of a lock do to the file: pure functions from one version to the next.

Promise: a function that changes nothing returns the very file it was given, so that nothing is committed for it. Every
change of a status goes through `NEXT` of `backlog_merge.py`. Time and what the branch holds are arguments.

Races are the caller's: it applies a function to the version it has read, and when somebody else was faster it applies
the same function again to the newer version.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

from bot.client.backlog import Added, Addition, ItemRef, Settled, Status
from bot.client.backlog_file import File, Row
from bot.client.backlog_merge import NEXT
from bot.client.backlog_view import View, entry_of, folder_of, known_row
from bot.domain.front_matter import FrontMatter
from bot.domain.locks import parse_lock
from bot.domain.mirror import ThoughtText
from bot.domain.model import Problem
from bot.domain.sanitise import for_terminal, one_line
from bot.domain.thoughts import IMPLEMENTATION, PLAN, RESEARCH, THOUGHTS_DIR, parse_dir
from bot.domain.timestamps import iso
from bot.errors import Refused, UserError

NO_ISSUES: Final = "Use the bot or GitHub as the backlog for that."
_WAY_OUT: Final[Mapping[Status | None, str]] = MappingProxyType(
    {
        None: "Correct the word in the file.",
        Status.COMPLETED: "A completed thought stays completed; write a new one for more work.",
        Status.FAILED: "`tgs server backlog add` queues it again.",
    }
)


def moved(row: Row, to: Status, now: datetime, *, tgs: Mapping[str, object] | None = None, **changes: object) -> Row:
    """The row in its next status. Raises Refused for a transition that does not exist."""
    if row.known is None or to not in NEXT[row.known]:
        raise Refused(
            f"{row.dir} is {for_terminal(one_line(row.status), 40)} and cannot become {to.value}.",
            _WAY_OUT.get(row.known, ""),
        )
    return row.but(status=to.value, tgs={"changed_at": now, **(tgs or {})}, **changes)


def add(view: View, addition: Addition, now: datetime) -> tuple[File, Added]:
    """Queues the folder. What is queued or under way already only takes the options that were given."""
    if addition.ticket is not None:
        raise UserError("A ticket becomes an issue, and a backlog in a file has no issues.", NO_ISSUES)
    if addition.depends_on is not None:
        raise UserError("Dependencies are numbers of issues, and a backlog in a file has no issues.", NO_ISSUES)
    folder = folder_of(addition.ref)
    row = view.file.find(folder)
    if row is not None and row.known in (Status.QUEUED, Status.IN_PROGRESS):
        changed = _with_options(row, addition)
        return (view.file if changed == row else view.file.put(changed)), Added(entry_of(changed), new=False)
    if row is not None and row.known is Status.COMPLETED:
        moved(row, Status.QUEUED, now)
    text = _buildable(view, folder)
    matter = matter_of(text)
    if row is None:
        row = new_row(view.file, text, matter, now)
    else:
        cleared: dict[str, object] = {"started_at": None, "completed_at": None, "claimed_by": None, "claimed_at": None}
        row = moved(row, Status.QUEUED, now, tgs={"not_before": None, "burnt": 0, "infra": 0}, **cleared)
    row = _with_options(row, addition)
    return view.file.put(row), Added(entry_of(row), new=True)


def new_row(file: File, text: ThoughtText, matter: FrontMatter, now: datetime) -> Row:
    """A queued row with the wishes of the plan."""
    folder = text.thought.dir
    row = Row(dir=folder, title=text.title, priority=matter.priority or 0, status=Status.QUEUED.value, added_at=now)
    return row.but(
        tgs={"changed_at": now, "locks": matter.locks, "needs": matter.needs, "fence": file.tgs.fences.get(folder, 0)}
    )


def _with_options(row: Row, addition: Addition) -> Row:
    if addition.title is not None:
        row = row.but(title=one_line(addition.title), tgs={"titled": True})
    if addition.priority is not None:
        row = row.but(priority=addition.priority)
    if addition.locks is not None:
        row = row.but(tgs={"locks": tuple(str(parse_lock(path)) for path in addition.locks)})
    return row


def _buildable(view: View, folder: str) -> ThoughtText:
    text = view.thoughts.get(folder)
    if text is None:
        problem = view.problems.get(folder)
        if problem is not None:
            raise UserError(problem.what, problem.remedy)
        raise UserError(
            f"{folder} is not committed on {view.branch}.", f"Commit and push its `{RESEARCH}` and `{PLAN}` first."
        )
    if text.thought.implementation:
        raise UserError(f"{folder} has `{IMPLEMENTATION}`: it is built already.", "Write a new thought for more work.")
    return text


def matter_of(text: ThoughtText) -> FrontMatter:
    """What the plan says. Raises UserError for a draft and for what cannot be read."""
    problem = plan_problem(text)
    if problem is not None:
        raise UserError(problem.what, problem.remedy)
    return (text.front_matter.matter if text.front_matter else None) or FrontMatter()


def plan_problem(text: ThoughtText) -> Problem | None:
    """Why the plan of a sound folder is not queued."""
    read = text.front_matter
    if read is None:
        return None
    if read.matter is None:
        return (
            read.errors[0] if read.errors else Problem("thought_plan", f"{text.thought.plan_path} is unreadable.", "")
        )
    if read.matter.draft:
        what = f"{text.thought.plan_path} is marked as a draft."
        return Problem("thought_draft", what, "Remove `status: draft` when it is ready to be built.")
    if read.matter.depends_on:
        what = f"{text.thought.plan_path} depends on issues, which a backlog in a file does not know."
        return Problem("thought_depends", what, f"Remove `depends_on`. {NO_ISSUES}")
    return None


def remove(view: View, ref: ItemRef, force: bool) -> tuple[File, Settled]:
    """Takes the row out of the file. Its fence is remembered, so that a later claim gets a new one."""
    row = known_row(view.file, folder_of(ref))
    if row.known is Status.IN_PROGRESS and not force:
        raise Refused(
            f"{row.claimed_by or 'Somebody'} works on {row.dir} since {iso(row.claimed_at) or 'an unknown time'}.",
            "Let them settle it, or remove it with --force: then their claim is lost.",
        )
    if row.known is Status.COMPLETED and not force:
        raise Refused(f"{row.dir} is completed, so it is not queued.", "Remove its line with --force.")
    fences = {**view.file.tgs.fences, row.dir: row.tgs.fence} if row.tgs.fence else view.file.tgs.fences
    file = view.file.model_copy(
        update={
            "thoughts": tuple(known for known in view.file.thoughts if known.dir != row.dir),
            "tgs": view.file.tgs.model_copy(update={"fences": fences}),
        }
    )
    gone = row.but(status=Status.CANCELLED.value)
    return file, Settled(entry_of(gone), f"{row.dir} is no longer in the backlog.")


def release_lock(view: View, path: str) -> tuple[File, Settled]:
    """Takes one path from who holds it. Raises UserError when nobody does, or when the policy gives it."""
    lock = parse_lock(path)
    for row in view.file.thoughts:
        if row.known is Status.IN_PROGRESS and str(lock) in row.tgs.locks:
            freed = row.but(tgs={"locks": tuple(own for own in row.tgs.locks if own != str(lock))})
            text = f"{row.dir} ({row.claimed_by or 'nobody known'}) holds `{lock}` no more."
            return view.file.put(freed), Settled(entry_of(freed), text)
    if str(lock) in view.policy.locks:
        raise UserError(f"`{lock}` is a lock of the policy.", "Name other `locks` in the plan, or change the policy.")
    raise UserError(f"Nobody holds `{lock}`.", "`tgs server locks` lists what is held.")


def import_rows(file: File, incoming: File, now: datetime) -> tuple[File, list[Added]]:
    """What is not there yet is added as it is, claims included; what is there stays. All or nothing."""
    wrong = [row.dir for row in incoming.thoughts if parse_dir(row.dir) is None]
    if wrong:
        raise UserError(
            f"These are no folders of thoughts: {', '.join(for_terminal(one_line(name), 100) for name in wrong[:5])}.",
            f"A folder is named {THOUGHTS_DIR}/<hash>-<title>. Nothing was imported.",
        )
    odd = [f"{row.dir} ({for_terminal(one_line(row.status), 40)})" for row in incoming.thoughts if row.known is None]
    if odd:
        raise UserError(f"These have an unknown status: {', '.join(odd[:5])}.", "Correct it. Nothing was imported.")
    added: list[Added] = []
    result = file
    for row in incoming.thoughts:
        incoming.find(row.dir)
        known = result.find(row.dir)
        if known is None:
            new = row if row.added_at is not None else row.but(added_at=now)
            result = result.put(new)
        added.append(Added(entry_of(known or new), new=known is None))
    if result is not file:
        foreign = {**(incoming.model_extra or {}), **(file.model_extra or {})}
        result = result.model_copy(update=foreign)
    return result, added
