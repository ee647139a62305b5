"""What GitHub shows of a backlog at one moment, and how people see it: the queue, its order, and why something waits.

Promise: pure. Order and obstacles are those of the bot's scheduler (`bot/domain/schedule.py`), fed with what GitHub
alone knows: labels, texts, label events, the policy file, and the claim refs. An item is taken if it has a claim ref or
shows `tgs:in-progress`; a claim whose record cannot be read takes its item as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Final

from bot.client.backlog import Entry, LockHeld, Status
from bot.domain import labels
from bot.domain.attempt import Attempt, AttemptPhase, Worker, WorkerKind
from bot.domain.claim_record import ClaimRef, issue_of
from bot.domain.facts import IssueFacts, LabelEvent
from bot.domain.front_matter import Source, effective_spec, from_issue
from bot.domain.line import order, queued
from bot.domain.locks import Lock
from bot.domain.mirror import ThoughtText
from bot.domain.model import AttemptId, IssueKey, Item, ItemState, Problem, RepoKey, ThoughtRef, WorkSpec
from bot.domain.policy_model import Policy
from bot.domain.repository import RepoRecord
from bot.domain.schedule import Backlog, Plan, schedule, wanted_locks
from bot.domain.thoughts import branch_name, parse_dir
from bot.domain.timestamps import iso
from bot.domain.views import TGS_STATUS
from bot.domain.workers import Taker
from bot.texts import markers
from bot.texts.reasons import sentence

STATUSES: Final = {state: Status(word) for state, word in TGS_STATUS.items()}
"""The words of the backlog file."""
WORKED_ON: Final = frozenset({ItemState.IN_PROGRESS, ItemState.NEEDS_INPUT})
SESSION: Final = WorkerKind.INTERACTIVE
"""Who claims without a server is a person's session: it is given what neither Actions nor pull workers are kept for."""

_SHOWN_FIRST: Final = (
    ItemState.IN_PROGRESS, ItemState.NEEDS_INPUT, ItemState.IN_REVIEW, ItemState.READY, ItemState.PROPOSED,
    ItemState.FAILED, ItemState.DONE, ItemState.CANCELLED,
)  # fmt: skip
"""Of several state labels the one that forbids most counts, so that nothing is started by mistake."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One issue of the backlog with what was read of it. `events` empty: not read."""

    facts: IssueFacts
    dir: str | None = None
    events: tuple[LabelEvent, ...] = ()

    @property
    def number(self) -> int:
        return self.facts.key.number

    @property
    def states(self) -> tuple[ItemState, ...]:
        return labels.states_shown(self.facts.labels)

    @property
    def state(self) -> ItemState | None:
        """None: it shows no state, so it is not in the backlog."""
        return next((state for state in _SHOWN_FIRST if state in self.states), None)

    def since(self, state: ItemState) -> datetime | None:
        """When it was last labelled with this state."""
        name = labels.state_label(state)
        return next((e.at for e in reversed(self.events) if e.added and e.label == name), None)

    def times(self, state: ItemState) -> int:
        name = labels.state_label(state)
        return sum(1 for event in self.events if event.added and event.label == name)


@dataclass(frozen=True)
class View:
    """Everything that was read. `head` is the commit of the default branch; `thoughts` are its sound folders,
    `broken` says why others are not; `blocking` are the dependencies that are not done, `not_before` says when
    a failed item is tried again."""

    key: RepoKey
    full_name: str
    default_branch: str
    head: str
    now: datetime
    policy: Policy
    issues: Mapping[int, Issue]
    refs: tuple[ClaimRef, ...]
    policy_problems: tuple[Problem, ...] = ()
    archived: bool = False
    thoughts: Mapping[str, ThoughtText] = field(default_factory=dict)
    broken: Mapping[str, Problem] = field(default_factory=dict)
    blocking: frozenset[int] = frozenset()
    not_before: Mapping[int, datetime] = field(default_factory=dict)

    def with_ref(self, ref: ClaimRef) -> View:
        """As it is with this claim."""
        return replace(self, refs=(*(known for known in self.refs if known.ref != ref.ref), ref))

    def ref_of(self, number: int) -> ClaimRef | None:
        """The claim of an item, an unreadable one first."""
        found = [ref for ref in self.refs if issue_of(ref.ref) == number]
        return next((ref for ref in found if ref.record is None), found[0] if found else None)

    def of_dir(self, folder: str) -> Issue | None:
        """The issue of a thought: one that is not over if there is one, the oldest of them."""
        found = [issue for issue in self.issues.values() if issue.dir == folder]
        found.sort(key=lambda issue: (not issue.facts.open, issue.number))
        return found[0] if found else None

    @cached_property
    def items(self) -> dict[int, Item]:
        states = {number: self.state_of(number) for number in self.issues}
        return {number: self._item(self.issues[number], state) for number, state in states.items() if state is not None}

    def state_of(self, number: int) -> ItemState | None:
        """As its label says; between two labels a claim says it. None: it is not in the backlog."""
        issue = self.issues.get(number)
        if issue is None:
            return None
        return issue.state or (ItemState.IN_PROGRESS if self.ref_of(number) is not None else None)

    def _item(self, issue: Issue, state: ItemState) -> Item:
        facts = issue.facts
        spec, findings = self.spec(issue)
        thought = self.thoughts.get(issue.dir) if issue.dir is not None else None
        shown = labels.priority_shown(facts.labels)
        return Item(
            key=facts.key,
            node_id=facts.node_id,
            title=facts.title,
            state=state,
            since=issue.since(state) or facts.created_at,
            priority=shown if shown is not None else self._wished_priority(issue),
            thought=ThoughtRef(thought.thought.dir, self.head, thought.thought.plan_sha, thought.thought.research_sha)
            if thought is not None
            else None,
            spec=spec,
            findings=findings,
            ready_since=issue.since(ItemState.READY),
            not_before=self.not_before.get(issue.number),
            held_by="label" if labels.IntentLabel.HOLD in facts.labels else None,
            human_owned=labels.IntentLabel.NO_AGENT in facts.labels,
        )

    def _wished_priority(self, issue: Issue) -> int:
        """Of a thought only: what `add` wrote into its issue, else the plan's. Texts of other issues have no say."""
        thought = self.thoughts.get(issue.dir) if issue.dir is not None else None
        if thought is None:
            return 0
        said = from_issue(issue.facts.body).matter
        plan = thought.front_matter.matter if thought.front_matter is not None else None
        wishes = [matter.priority for matter in (said, plan) if matter is not None and matter.priority is not None]
        return wishes[0] if wishes else 0

    def spec(self, issue: Issue) -> tuple[WorkSpec, tuple[Problem, ...]]:
        """The wishes in force; what `add` wrote into the text of a thought's issue goes before the plan's."""
        said = from_issue(issue.facts.body)
        thought = self.thoughts.get(issue.dir) if issue.dir is not None else None
        if thought is None or thought.front_matter is None:
            return effective_spec(self.policy, said, Source.ISSUE)
        spec, findings = effective_spec(self.policy, thought.front_matter, Source.PLAN, self.full_name)
        if said.matter is not None:
            spec = replace(
                spec,
                locks=said.matter.locks or spec.locks,
                depends_on=tuple(sorted({*spec.depends_on, *said.matter.depends_on})),
            )
        return spec, findings

    def branch_of(self, issue: Issue) -> str:
        ref = self.ref_of(issue.number)
        if ref is not None and ref.record is not None and ref.record.branch:
            return ref.record.branch
        return branch_name(issue.number, issue.facts.title, self.policy.branch_template)

    # --- taken and waiting

    def taken(self, number: int) -> bool:
        issue = self.issues.get(number)
        worked_on = issue is not None and issue.state in WORKED_ON
        return worked_on or self.ref_of(number) is not None

    def locks_of(self, number: int) -> tuple[Lock, ...]:
        """The paths an item holds or would hold."""
        ref = self.ref_of(number)
        if ref is not None and ref.record is not None:
            return ref.record.paths
        item = self.items.get(number)
        return wanted_locks(item, self.policy) if item is not None else ()

    def plan(self, capabilities: tuple[str, ...] = (), *, only: int | None = None) -> Plan:
        """What the scheduler would give a session now. `only`: as if this item were the whole queue."""
        busy = sorted({n for n in self.items if self.taken(n)} | {n for r in self.refs if (n := issue_of(r.ref))})
        live = [self._live(number) for number in busy]
        reviewed = [n for n, item in self.items.items() if item.state is ItemState.IN_REVIEW and self._open(n)]
        held = [(lock, n) for n in (*busy, *reviewed) for lock in self.locks_of(n)]
        queue = [
            item
            for n, item in self.items.items()
            if item.state is ItemState.READY and self._open(n) and only in (None, n)
        ]
        known = RepoRecord(
            self.key, self.full_name, 0, self.default_branch, False, archived=self.archived, preflight_ok=True
        )
        backlog = Backlog(
            repo=known,
            queue=[queued(item) for item in queue],
            live=live,
            held_locks=held,
            in_review=len(reviewed),
            # Sessions start no runs, so the limit on runs does not concern them.
            dispatches_today=0,
            open_dependencies={
                item.key.number: tuple(n for n in item.spec.depends_on if n in self.blocking) for item in queue
            },
        )
        return schedule(backlog, self.policy, self.now, Taker(SESSION, capabilities))

    def _open(self, number: int) -> bool:
        return self.issues[number].facts.open

    def _live(self, number: int) -> Attempt:
        """Whoever works on the item, as the scheduler counts it."""
        ref = self.ref_of(number)
        return Attempt(
            id=AttemptId(f"{number}"),
            key=IssueKey(self.key.installation, self.key.repo, number),
            number=1,
            fence=ref.record.fence if ref is not None and ref.record is not None else 1,
            phase=AttemptPhase.RUNNING,
            worker=Worker(WorkerKind.EXTERNAL, ref.who if ref is not None else ""),
            branch="",
            claimed_at=self.now,
        )

    # --- for people

    def entries(self) -> list[Entry]:
        """Work under way, then the queue, then the rest, ended ones last."""
        plan = self.plan()
        waits = {line.number: (reasons, position) for line, reasons, position in plan.waiting}
        positions = {item.key.number: 0 for item in plan.start} | {number: pos for number, (_, pos) in waits.items()}
        places = {number: place for place, number in enumerate(self._queue(), start=1)}
        found = []
        for number in self.items:
            reasons = waits[number][0] if number in waits else ()
            place = places.get(number) if number in positions else None
            found.append(self.entry(number, place, tuple(sentence(reason) for reason in reasons)))
        rank = {Status.IN_PROGRESS: 0, Status.QUEUED: 1, Status.PROPOSED: 2}
        found.sort(key=lambda e: (rank.get(e.status, 3), e.position or 0, e.number or 0))
        return found

    def _queue(self) -> list[int]:
        ready = [i for n, i in self.items.items() if i.state is ItemState.READY and self._open(n)]
        return [item.key.number for item in sorted(ready, key=order) if not self.taken(item.key.number)]

    def entry(self, number: int, position: int | None = None, waiting: tuple[str, ...] = ()) -> Entry:
        issue, item = self.issues[number], self.items[number]
        ref = self.ref_of(number)
        record = ref.record if ref is not None else None
        state = item.state
        if ref is not None and state is ItemState.READY:
            # The claim counts, its label may still be on the way.
            state = ItemState.IN_PROGRESS
        started = issue.since(ItemState.IN_PROGRESS)
        ended = state in (ItemState.DONE, ItemState.FAILED, ItemState.CANCELLED)
        return Entry(
            dir=issue.dir,
            title=issue.facts.title,
            state=state,
            status=STATUSES[state],
            priority=item.priority,
            number=number,
            position=position,
            added_at=issue.since(ItemState.READY) or issue.facts.created_at,
            claimed_at=record.made_at if record is not None else started,
            started_at=started,
            completed_at=issue.since(state) if ended else None,
            claimed_by=(ref.who or "somebody unknown") if ref is not None else _assignee(issue, state),
            attempts=issue.times(ItemState.IN_PROGRESS),
            labels=tuple(sorted(issue.facts.labels)),
            waiting=waiting,
        )

    def held_locks(self) -> list[LockHeld]:
        """From the records of the claims; an unreadable claim holds nothing that could be named."""
        return [
            LockHeld(lock.path, f"#{ref.record.issue}", ref.who, ref.record.made_at, lock.mode.value)
            for ref in self.refs
            if ref.record is not None
            for lock in self.locks_of(ref.record.issue)
        ]

    def explained(self, number: int) -> list[str]:
        """Where one item stands and why, as sentences."""
        issue, ref = self.issues[number], self.ref_of(number)
        if ref is not None and ref.record is None:
            return [
                f"Somebody has claimed it, and the claim ({ref.ref}) cannot be read: {ref.problem}.",
                "Nobody can claim it until somebody with write access has looked at that ref and deleted it.",
            ]
        if ref is not None and ref.record is not None:
            told = [f"{ref.who} has it since {iso(ref.record.made_at)} (claim {ref.record.claim_id[:12]})."]
            lease = ref.record.lease_until
            if lease is not None and lease < self.now:
                told.append(
                    f"The lease ended at {iso(lease)}; that takes nothing away. {ref.record.owner} may claim anew."
                )
            return told
        match issue.state:
            case ItemState.READY:
                waits = {line.number: reasons for line, reasons, _ in self.plan().waiting}
                if number in waits:
                    return [sentence(reason) for reason in waits[number]]
                ahead = self._queue().index(number) if number in self._queue() else 0
                return [f"It is queued; {ahead} are before it." if ahead else "It is next."]
            case ItemState.PROPOSED:
                return ["It is not approved yet; `tgs server backlog add` or the label `tgs:ready` does that."]
            case ItemState.IN_PROGRESS | ItemState.NEEDS_INPUT:
                return [
                    "Somebody works on it without a claim ref (the bot, or a session that ended before it reported)."
                ]
            case ItemState.IN_REVIEW:
                return ["Its pull request waits for review."]
            case ItemState.DONE:
                return ["It is done."]
            case ItemState.FAILED:
                return ["It failed; `tgs server backlog add` queues it again."]
            case ItemState.CANCELLED:
                return ["It was called off; `tgs server backlog add` queues it again."]
            case None:
                return ["It shows no state label, so it is not in the backlog."]


def issue_from(facts: IssueFacts, events: Sequence[LabelEvent] = ()) -> Issue:
    """The issue with the folder that its marker names."""
    folder = None
    for marker in markers.read(facts.body):
        if marker.kind is markers.MarkerKind.MIRROR and parse_dir(marker.value) is not None:
            folder = marker.value
    return Issue(facts, folder, tuple(events))


def _assignee(issue: Issue, state: ItemState) -> str | None:
    return issue.facts.assignees[0].login if state in WORKED_ON and issue.facts.assignees else None
