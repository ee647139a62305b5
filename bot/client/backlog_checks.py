"""`validate` and `scan` on the backlog file: what does not fit the folders on the branch, and what is not queued yet.

Promise: `check` finds every fault of the table below on its own, and with `fix` puts right what the file only
projects (titles, times, what is built, a folder named twice); it never decides for people: a missing folder, an
unknown word or a claim that nobody can settle is only reported. A second `check` with `fix` changes nothing.

`scan` takes only what is committed on the branch, so files in a working tree are not discovered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bot.client.backlog import Finding, Scanned, Status
from bot.client.backlog_file import File, Row
from bot.client.backlog_merge import last_change, newest
from bot.client.backlog_moves import matter_of, new_row, plan_problem
from bot.client.backlog_view import View, entry_of
from bot.domain.sanitise import for_terminal, one_line
from bot.domain.thoughts import IMPLEMENTATION, PLAN, RESEARCH, THOUGHTS_DIR, parse_dir
from bot.domain.timestamps import iso

OLD_CLAIM: Final = timedelta(hours=24)
"""After a day without an end somebody should look; runs of Actions end after six hours, sessions within a day."""

ERROR: Final = "error"
WARNING: Final = "warning"
_OPEN: Final = frozenset({Status.PROPOSED, Status.QUEUED, Status.IN_PROGRESS, Status.FAILED})


@dataclass(frozen=True, slots=True)
class _Fault:
    """`mended` is the row as `fix` leaves it; None when only a person can mend it."""

    code: str
    severity: str
    message: str
    remedy: str
    mended: Row | None = None


def check(view: View, now: datetime, *, fix: bool = False) -> tuple[File, list[Finding]]:
    """What does not fit, errors first, and the file with what could be put right (the same one without `fix`)."""
    file, found = _without_duplicates(view.file, fix=fix)
    for row in file.thoughts:
        for fault in _faults(view, row, now, fix=fix):
            fixed = fix and fault.mended is not None
            if fixed and fault.mended is not None:
                file = file.put(fault.mended)
            found.append(Finding(fault.code, fault.severity, row.dir, fault.message, fault.remedy, fixed))
    if view.policy_problem is not None:
        problem = view.policy_problem
        found.append(Finding(problem.code, ERROR, None, problem.what, problem.remedy))
    found.sort(key=lambda finding: (finding.severity != ERROR, finding.item or "", finding.code))
    return file, found


def _without_duplicates(file: File, *, fix: bool) -> tuple[File, list[Finding]]:
    found: list[Finding] = []
    kept: dict[str, Row] = {}
    count: dict[str, int] = {}
    for row in file.thoughts:
        count[row.dir] = count.get(row.dir, 0) + 1
        kept[row.dir] = row if row.dir not in kept else newest(None, kept[row.dir], row)
    for folder, number in count.items():
        if number > 1:
            message = f"it stands {number} times in the file"
            remedy = "`tgs server backlog validate --fix` keeps the one that changed last."
            found.append(Finding("duplicate", ERROR, folder, message, remedy, fix))
    if fix and found:
        file = file.model_copy(update={"thoughts": tuple(kept.values())})
    return file, found


def _faults(view: View, row: Row, now: datetime, *, fix: bool) -> list[_Fault]:
    """The faults of one row. Each mended row contains the repairs before it, so the last one has them all."""
    if parse_dir(row.dir) is None:
        remedy = f"Name it {THOUGHTS_DIR}/<hash>-<title>, or take the line out."
        return [_Fault("thought_name", ERROR, "its `dir` is no folder of a thought", remedy)]
    if row.known is None:
        words = ", ".join(status.value for status in Status)
        said = for_terminal(one_line(row.status), 40)
        return [_Fault("status_unknown", ERROR, f"its status `{said}` is none that is known", f"One of: {words}.")]
    found: list[_Fault] = []
    for one in (_folder, _implementation, _title, _claim, _times):
        for fault in one(view, row, now):
            found.append(fault)
            if fix and fault.mended is not None:
                row = fault.mended
    return found


def _folder(view: View, row: Row, now: datetime) -> Iterable[_Fault]:
    if row.known not in _OPEN:
        return
    text = view.thoughts.get(row.dir)
    if text is not None:
        problem = plan_problem(text)
        if problem is not None and row.known is Status.QUEUED:
            yield _Fault(problem.code, WARNING, problem.what, problem.remedy)
        return
    problem = view.problems.get(row.dir)
    if problem is not None:
        yield _Fault(problem.code, ERROR, problem.what, problem.remedy)
    else:
        remedy = f"Commit and push `{RESEARCH}` and `{PLAN}`, or `tgs server backlog remove {row.dir}`."
        yield _Fault("thought_gone", ERROR, f"its folder is not committed on {view.branch}", remedy)


def _implementation(view: View, row: Row, now: datetime) -> Iterable[_Fault]:
    text = view.thoughts.get(row.dir)
    if text is None:
        return
    built = text.thought.implementation
    if built and row.known is Status.IN_PROGRESS:
        message = f"`{IMPLEMENTATION}` is there, but the claim of {row.claimed_by or 'nobody known'} is not settled"
        yield _Fault("implementation_unreported", WARNING, message, "Its owner completes it.")
    elif built and row.known in _OPEN:
        mended = row.but(status=Status.COMPLETED.value, completed_at=now, tgs={"changed_at": now, "not_before": None})
        message = f"`{IMPLEMENTATION}` is there, but it is {row.status}"
        remedy = "`tgs server backlog validate --fix` marks it completed."
        yield _Fault("implementation_present", ERROR, message, remedy, mended)
    elif not built and row.known is Status.COMPLETED and not row.tgs.evidence:
        message = f"it is completed, but `{IMPLEMENTATION}` is not committed on {view.branch}"
        remedy = f"Commit it, or `tgs server backlog remove --force {row.dir}` and add it again."
        yield _Fault("implementation_absent", ERROR, message, remedy)


def _title(view: View, row: Row, now: datetime) -> Iterable[_Fault]:
    text = view.thoughts.get(row.dir)
    if text is None or row.tgs.titled or row.known not in _OPEN or row.title == text.title:
        return
    message = f"its title is `{for_terminal(one_line(row.title), 100)}`, the plan says `{text.title}`"
    remedy = "`tgs server backlog validate --fix` takes the plan's."
    yield _Fault("title_drift", WARNING, message, remedy, row.but(title=text.title))


def _claim(view: View, row: Row, now: datetime) -> Iterable[_Fault]:
    if row.known is Status.IN_PROGRESS:
        remedy = f"`tgs server backlog remove --force {row.dir}` and `add` free it."
        if not row.claimed_by or row.claimed_at is None or not row.tgs.token_sha256:
            yield _Fault("claim_unknown", WARNING, "it is in progress, but nobody can settle its claim", remedy)
        elif row.claimed_at <= now - OLD_CLAIM:
            message = f"{row.claimed_by} has claimed it at {iso(row.claimed_at)} and not settled it since"
            yield _Fault("claim_old", WARNING, message, f"Ask them; {remedy}")
    elif row.known in (Status.QUEUED, Status.PROPOSED) and (row.claimed_by or row.claimed_at or row.started_at):
        mended = row.but(claimed_by=None, claimed_at=None, started_at=None)
        remedy = "`tgs server backlog validate --fix` clears it."
        yield _Fault("claim_left", WARNING, f"it is {row.status}, but it names who claimed it", remedy, mended)


def _times(view: View, row: Row, now: datetime) -> Iterable[_Fault]:
    if row.known is Status.COMPLETED and row.completed_at is None:
        known = last_change(row)
        mended = row.but(completed_at=known if row.added_at or row.tgs.changed_at else now)
        remedy = "`tgs server backlog validate --fix` takes its last change."
        yield _Fault("time_missing", WARNING, "it is completed, but not since when", remedy, mended)
    elif row.known is not Status.COMPLETED and row.completed_at is not None:
        remedy = "`tgs server backlog validate --fix` clears it."
        message = f"it is {row.status}, but has a time of completion"
        yield _Fault("time_left", WARNING, message, remedy, row.but(completed_at=None))


def scan(view: View, now: datetime) -> tuple[File, Scanned]:
    """The file with every folder that is ready to be built and not in it yet, and what was found."""
    file = view.file
    known = {row.dir for row in file.thoughts}
    added: list[Row] = []
    refused: list[Finding] = []
    for folder, text in sorted(view.thoughts.items()):
        if folder in known or text.thought.implementation:
            continue
        problem = plan_problem(text)
        if problem is not None:
            severity = WARNING if problem.code == "thought_draft" else ERROR
            refused.append(Finding(problem.code, severity, folder, problem.what, problem.remedy))
            continue
        added.append(new_row(file, text, matter_of(text), now))
    for folder, problem in sorted(view.problems.items()):
        if folder not in known:
            refused.append(Finding(problem.code, ERROR, folder, problem.what, problem.remedy))
    if added:
        file = file.model_copy(update={"thoughts": (*file.thoughts, *added)})
    here = sum(folder in view.thoughts for folder in known)
    return file, Scanned(tuple(entry_of(row) for row in added), here, tuple(refused))
