"""`validate` on GitHub alone: what does not fit between labels, claim refs, branches, plans and the policy.

Promise: `faults` is pure and finds every row of its table on its own. A fault that `--fix` can put right carries the
repair; repairs touch projections only (labels, titles, refs that stand for nothing). They never end a claim of somebody
else that may be alive, never delete a branch with work that is not merged, and never decide for people.

Race: a repair is decided from a view; a ref is deleted only if it is still the one that was seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from bot.client.backlog import Finding
from bot.client.github_claims import HALF_MADE, WORKED, named
from bot.client.github_view import Issue, View
from bot.domain import labels
from bot.domain.claim_record import ClaimRef, issue_of
from bot.domain.facts import PullFacts
from bot.domain.model import ItemState
from bot.domain.policy import CODE_UNKNOWN_KEY
from bot.domain.sanitise import for_terminal, one_line
from bot.domain.thoughts import IMPLEMENTATION
from bot.domain.timestamps import iso

ERROR: Final = "error"
WARNING: Final = "warning"

SETTLED: Final = frozenset({ItemState.IN_REVIEW, ItemState.DONE, ItemState.FAILED, ItemState.CANCELLED})
"""States in which nobody has the item any more; its claim ref is then a remainder."""

REMAINS: Final = timedelta(minutes=10)
"""A claim's end takes seconds; a ref that lies beside a settled label for this long was left behind."""

UNCLAIMED: Final = timedelta(hours=1)
"""A bot without a claim for this item may be between two attempts; they are at most half an hour apart."""

FIX: Final = "`tgs server backlog validate --fix` puts it right."


@dataclass(frozen=True, slots=True)
class Relabel:
    """Show exactly this state; close the issue if it is over and open."""

    issue: Issue
    state: ItemState | None
    close: bool = False


@dataclass(frozen=True, slots=True)
class Retitle:
    issue: Issue
    title: str


@dataclass(frozen=True, slots=True)
class DropRef:
    """Delete the ref if it is still the one that was seen."""

    ref: ClaimRef


@dataclass(frozen=True, slots=True)
class DropBranch:
    name: str
    head: str


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Show it as ready and delete the ref that stands for a claim that was never finished."""

    issue: Issue
    ref: ClaimRef


Repair = Relabel | GiveBack | Retitle | DropRef | DropBranch


@dataclass(frozen=True, slots=True)
class Fault:
    """`repair` None: only a person can mend it."""

    code: str
    severity: str
    item: str | None
    message: str
    remedy: str
    repair: Repair | None = None

    def finding(self, *, fixed: bool = False) -> Finding:
        return Finding(self.code, self.severity, self.item, self.message, self.remedy, fixed)


@dataclass(frozen=True, slots=True)
class Branches:
    """The branches of items by name with their heads, and the pull requests of each."""

    heads: Mapping[str, str]
    pulls: Mapping[str, Sequence[PullFacts]]


def faults(view: View, branches: Branches, login: str) -> list[Fault]:
    """What does not fit, errors first. `login` is who asks: half-made claims of theirs can be taken back."""
    found = [
        *_policy(view),
        *_labels(view, branches),
        *_claims(view, login),
        *_thoughts(view),
        *_dependencies(view),
        *_branches(view, branches),
    ]
    return sorted(found, key=lambda fault: (fault.severity != ERROR, fault.item or "", fault.code))


def _policy(view: View) -> Iterator[Fault]:
    for problem in view.policy_problems:
        severity = WARNING if problem.code == CODE_UNKNOWN_KEY else ERROR
        yield Fault(problem.code, severity, None, problem.what, problem.remedy)


def _labels(view: View, branches: Branches) -> Iterator[Fault]:
    for issue in view.issues.values():
        state, ref = issue.state, view.ref_of(issue.number)
        if state is None:
            continue
        if len(issue.states) > 1:
            kept = ItemState.IN_PROGRESS if ref is not None else _newest(issue)
            if kept in WORKED and ref is None and _old(view, issue, kept):
                kept = ItemState.READY
            message = f"it shows {len(issue.states)} states: {', '.join(s.value for s in issue.states)}"
            yield Fault("labels_double", ERROR, named(issue), message, FIX, Relabel(issue, kept))
        elif not issue.facts.open and state not in {ItemState.DONE, ItemState.FAILED, ItemState.CANCELLED}:
            pulls = branches.pulls.get(view.branch_of(issue), ())
            over = ItemState.DONE if any(pull.merged for pull in pulls) else ItemState.CANCELLED
            message = f"the issue is closed, and its label says {state.value}"
            yield Fault("label_of_closed", ERROR, named(issue), message, FIX, Relabel(issue, over))
        elif state in WORKED and ref is None and _old(view, issue, state):
            message = "it is in progress, and nobody has a claim on it"
            yield Fault("unclaimed", WARNING, named(issue), message, FIX, Relabel(issue, ItemState.READY))


def _old(view: View, issue: Issue, state: ItemState) -> bool:
    """Whether a person set the label so long ago that its claim is gone. What a bot set is the bot's to mend."""
    name = labels.state_label(state)
    event = next((e for e in reversed(issue.events) if e.added and e.label == name), None)
    by_person = event is not None and event.actor is not None and not event.actor.is_bot
    return by_person and event is not None and event.at + UNCLAIMED <= view.now


def _newest(issue: Issue) -> ItemState:
    shown = {labels.state_label(state): state for state in issue.states}
    for event in reversed(issue.events):
        if event.added and event.label in shown:
            return shown[event.label]
    return issue.states[0]


def _claims(view: View, login: str) -> Iterator[Fault]:
    for ref in view.refs:
        number = issue_of(ref.ref)
        issue = view.issues.get(number) if number is not None else None
        name = named(issue) if issue is not None else (f"#{number}" if number is not None else ref.ref)
        record = ref.record
        if record is None:
            message = f"the claim {ref.ref} cannot be read: {ref.problem}"
            remedy = f"Look what it is. `git push origin :{ref.ref}` deletes it; nobody can claim the item before."
            yield Fault("claim_unreadable", ERROR, name, message, remedy)
        elif issue is None:
            yield Fault("claim_orphan", ERROR, name, f"{ref.ref} is a claim of no issue", FIX, DropRef(ref))
        elif not issue.facts.open or (issue.state in SETTLED and record.made_at + REMAINS <= view.now):
            said = "closed" if not issue.facts.open else issue.state.value if issue.state is not None else "nothing"
            message = f"it is {said}, and {ref.who} still has a claim on it"
            yield Fault("claim_orphan", ERROR, name, message, FIX, DropRef(ref))
        elif issue.state in {ItemState.READY, None} and record.made_at + HALF_MADE <= view.now:
            mine = record.owner == login
            remedy = FIX if mine else f"{record.owner} claims it again or takes the claim back with `validate --fix`."
            message = f"{ref.who} has claimed it and did not get further"
            yield Fault("claim_half_made", WARNING, name, message, remedy, GiveBack(issue, ref) if mine else None)
        elif record.lease_until is not None and record.lease_until <= view.now:
            message = f"{ref.who} has not settled the claim, and its lease ended at {iso(record.lease_until)}"
            remedy = f"Ask them; `tgs server backlog remove --force {number}` and `add` take it away."
            yield Fault("claim_old", WARNING, name, message, remedy)


def _thoughts(view: View) -> Iterator[Fault]:
    by_dir: dict[str, list[Issue]] = defaultdict(list)
    for issue in view.issues.values():
        if issue.dir is not None and issue.facts.open and issue.state is not None:
            by_dir[issue.dir].append(issue)
    for folder, issues in sorted(by_dir.items()):
        if len(issues) > 1:
            others = ", ".join(f"#{issue.number}" for issue in issues)
            yield Fault("duplicate", ERROR, folder, f"several issues are about it: {others}", "Close all but one.")
        text, problem = view.thoughts.get(folder), view.broken.get(folder)
        for issue in issues:
            if text is None:
                what = problem.what if problem is not None else f"{folder} is not on {view.default_branch}"
                remedy = problem.remedy if problem is not None else "Commit it, or close the issue."
                yield Fault(problem.code if problem else "thought_gone", ERROR, named(issue), what, remedy)
                continue
            if text.thought.implementation and view.ref_of(issue.number) is None:
                message = f"{folder}/{IMPLEMENTATION} is on {view.default_branch}, so it is built"
                repair = Relabel(issue, ItemState.DONE, close=True)
                yield Fault("implementation_present", ERROR, named(issue), message, FIX, repair)
            matter = text.front_matter
            for found in (matter.errors if matter is not None else ())[:3]:
                yield Fault(found.code, ERROR, named(issue), found.what, found.remedy)
            wished = matter.matter.title if matter is not None and matter.matter is not None else None
            if wished is not None and wished != issue.facts.title:
                shown = for_terminal(one_line(issue.facts.title), 100)
                message = f"its title is `{shown}`, the plan says `{for_terminal(one_line(wished), 100)}`"
                yield Fault("title_drift", WARNING, named(issue), message, FIX, Retitle(issue, wished))


def _dependencies(view: View) -> Iterator[Fault]:
    wants = {n: set(item.spec.depends_on) & set(view.items) for n, item in view.items.items() if not item.terminal}
    for number in sorted(wants):
        seen: set[int] = set()
        ahead = list(wants[number])
        while ahead:
            at = ahead.pop()
            if at not in seen:
                seen.add(at)
                ahead += wants.get(at, ())
        if number in seen:
            message = "it waits for itself, by way of what it depends on"
            yield Fault("cycle", ERROR, named(view.issues[number]), message, "Take one `depends_on` out of the circle.")


def _branches(view: View, branches: Branches) -> Iterator[Fault]:
    owned = {view.branch_of(issue): issue for issue in view.issues.values() if issue.state is not None}
    for name, head in sorted(branches.heads.items()):
        pulls = branches.pulls.get(name, ())
        issue = owned.get(name)
        if any(pull.open for pull in pulls) or (issue is not None and issue.state not in SETTLED):
            continue
        merged = any(pull.merged and pull.head_sha == head for pull in pulls)
        message = f"the branch {name} belongs to no item that is open"
        remedy = FIX if merged else f"Look whether its work is wanted; `git push origin :{name}` deletes it."
        yield Fault("branch_orphan", WARNING, None, message, remedy, DropBranch(name, head) if merged else None)
