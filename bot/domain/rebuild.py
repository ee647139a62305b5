"""A lost ledger's records, from what GitHub shows: facts of one issue in, item and attempts out, with reasons. Pure.

Promises: labels are adopted as they are, for there is no last projection to judge them by, but that a label makes
nothing done of which it is not known that we set it; what was approved counts only if the text is still the approved
one, else the usual rules look who edited it. A run that is alive keeps its item: its attempt comes back as *suspect*
and is settled by the run, never started again blindly; one that has ended in vain takes no locks back. Fences and
numbers go on above everything that GitHub shows, so nothing of the lost ledger's time can pass for what comes now.

What it cannot know: an attempt that was opened and shown nowhere yet. If its run is seen later, the run may take up its
claim (`bot/run_service.py`); the item waits a moment for that before it is started again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, assert_never

from bot.domain import labels
from bot.domain.approval import newest
from bot.domain.attempt import Attempt
from bot.domain.facts import LabelEvent, PullFacts
from bot.domain.locks import Lock
from bot.domain.memory import fingerprint
from bot.domain.model import (
    AttemptId,
    Item,
    ItemState,
    Person,
    Projection,
    PullLink,
    Snapshot,
)
from bot.domain.policy_model import Policy
from bot.domain.question_memory import asked_again
from bot.domain.questions import Question
from bot.domain.rebuilt_attempts import alive, fence_above, live_attempt, may_work, past_attempts
from bot.domain.repository import RepoRecord
from bot.domain.schedule import wanted_locks
from bot.domain.sighting import Because, Sighting

SEEN_LATE: Final = timedelta(minutes=2)
"""GitHub's list of runs may show one this late; so long an item in progress waits for its run to be seen."""

LOST_TEXT: Final = "(The approved text was lost together with the bot's ledger.)"
"""Stands where the approved text is not known: it differs from the issue, so that the rules look who edited it."""

MID_LIFE = (ItemState.IN_REVIEW, ItemState.NEEDS_INPUT, ItemState.IN_PROGRESS)
"""Which of several state labels counts first, when no memory says it."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The records of one item; at most one of the attempts is live. `dispatched`: its start is written down.

    `at_rest`: the item stands on GitHub as it was shown last, so nothing is to be done about it by itself.
    """

    item: Item
    attempts: tuple[Attempt, ...] = ()
    locks: tuple[Lock, ...] = ()
    dispatched: AttemptId | None = None
    because: tuple[Because, ...] = ()
    questions: tuple[Question, ...] = ()
    at_rest: bool = False


def rebuild(seen: Sighting, repo: RepoRecord, policy: Policy, now: datetime) -> Rebuilt | None:
    """The records of the issue; None when it is no item."""
    why: list[Because] = []
    state = _state(seen, repo, why)
    if state is None:
        return None
    fence = fence_above(seen)
    questions = _asked(seen, state)
    live, dispatched = (None, None) if questions else live_attempt(seen, repo, policy, state, fence, now, why)
    past = past_attempts(seen, live, now, asked=bool(questions))
    pull = _pull(seen)
    if live is not None and live.report is not None and pull is not None:
        pull = replace(pull, fence=live.fence)
    snapshot = _snapshot(seen, repo)
    not_before = seen.memory.not_before if seen.memory is not None else None
    if questions:
        # The conversation is gone with the ledger: the agent begins again, with question and answer in its prompt.
        why.append(Because.QUESTION)
    elif state is ItemState.NEEDS_INPUT:
        waited = seen.memory is not None and seen.memory.withheld
        why.append(Because.RESULT_LOST if waited else Because.QUESTION_LOST)
        state = ItemState.IN_PROGRESS
    if state is ItemState.IN_REVIEW and pull is None:
        why.append(Because.NO_PULL)
        state = ItemState.FAILED
    if state in {ItemState.READY, ItemState.IN_PROGRESS} and live is None:
        if snapshot is None:
            why.append(Because.NOT_APPROVED)
            state = ItemState.PROPOSED
        elif state is ItemState.IN_PROGRESS:
            why.append(Because.NO_RUN)
            not_before = max(not_before or now, now + SEEN_LATE)
    item = _item(seen, state, repo, now, fence, snapshot, pull, not_before)
    if live is not None:
        item = replace(item, fence=live.fence)
    waits = state is ItemState.NEEDS_INPUT and policy.keep_locks
    works = live is not None and may_work(seen, live)
    holds = works or waits or (state is ItemState.IN_REVIEW and pull is not None)
    attempts = (*past, *((live,) if live is not None else ()))
    locks = wanted_locks(item, policy) if holds else ()
    rests = live is None and not questions and _at_rest(seen, item)
    return Rebuilt(item, attempts, locks, dispatched, tuple(why), questions, rests)


def asks_events(seen: Sighting) -> bool:
    """Whether who set a label, and when, decides anything about this issue; else its events need not be read."""
    memory, shown = seen.memory, labels.states_shown(seen.issue.labels)
    if _doubtful(seen, shown):
        return True
    if memory is not None and memory.approved_at is not None:
        # What was approved is remembered; only whether a label is gone by our own hand is not.
        return memory.state is ItemState.READY and not shown
    if memory is not None and not shown:
        return memory.state is not ItemState.PROPOSED
    if memory is None and not shown:
        return seen.thought is not None or any(alive(run) for run in seen.runs)
    if shown in {(ItemState.PROPOSED,), (ItemState.DONE,)}:
        return False  # not approved yet, or approved anew before anything more is done
    # Ready without a memory is judged by its first look, which reads them, if nothing is under way.
    return memory is not None or shown != (ItemState.READY,) or _under_way(seen)


def asks_branch(seen: Sighting) -> bool:
    """Whether what was published on the item's branch decides anything."""
    over = labels.states_shown(seen.issue.labels)
    if len(over) == 1 and over[0] not in {ItemState.IN_PROGRESS, ItemState.NEEDS_INPUT}:
        return False
    return bool(seen.runs) and seen.runs[0].run.conclusion == "success"


def _at_rest(seen: Sighting, item: Item) -> bool:
    """Whether a look at the item would find nothing to do: one label, the one of its state, as the status comment says
    it, no other wish in labels, and an issue that is open or closed as it should be."""
    memory, wanted = seen.memory, labels.state_label(item.state)
    if memory is None or seen.status is None or memory.state is not item.state:
        return False
    wishes = {name for name in seen.issue.labels if labels.is_ours(name)} - {wanted} - item.accepted_labels
    if wishes or item.projection.state_label != wanted:
        return False
    match item.state:
        case ItemState.PROPOSED | ItemState.READY | ItemState.FAILED:
            return seen.issue.open and item.pull is None
        case ItemState.DONE:
            return not seen.issue.open
        case ItemState.CANCELLED:
            return item.pull is None
        case ItemState.IN_PROGRESS | ItemState.NEEDS_INPUT | ItemState.IN_REVIEW:
            return False
        case _:
            assert_never(item.state)


# --- state -------------------------------------------------------------------------------------------


def _state(seen: Sighting, repo: RepoRecord, why: list[Because]) -> ItemState | None:
    shown = labels.states_shown(seen.issue.labels)
    if _doubtful(seen, shown) and not _set_by_us(seen, repo, labels.state_label(ItemState.DONE)):
        why.append(Because.EVENTS)
        shown = tuple(state for state in shown if state is not ItemState.DONE)
    memory = seen.memory
    if shown == (ItemState.READY,) and _under_way(seen):
        # Its label was taken when it was claimed; somebody has set it again before we showed that it had begun.
        return ItemState.IN_PROGRESS
    if len(shown) == 1:
        why.append(Because.LABEL)
        return shown[0]
    if memory is not None and (memory.state in shown or not shown):
        why.append(Because.MEMORY)
        if memory.state is ItemState.READY and not shown:
            return _unlabelled(seen, repo, why)
        return memory.state
    if shown:
        why.append(Because.LABEL)
        return next((state for state in MID_LIFE if state in shown), shown[-1])
    if any(alive(run) for run in seen.runs):
        return ItemState.IN_PROGRESS
    if seen.thought is not None:
        # We opened it for a plan, and nothing else is shown: it must not get a second one.
        if seen.issue.open:
            return _unlabelled(seen, repo, why)
        why.append(Because.NOTHING)
        return ItemState.CANCELLED
    return None


def _under_way(seen: Sighting) -> bool:
    """Whether a run of it is alive that is not remembered as over."""
    known = seen.memory.attempt if seen.memory is not None else None
    over = known.id if known is not None and not known.live else None
    return any(alive(run) and run.claim != over for run in seen.runs)


def _doubtful(seen: Sighting, shown: Sequence[ItemState]) -> bool:
    """Whether it is labelled as done, and we do not remember that it is: a label of others makes nothing done."""
    remembered = seen.memory is not None and seen.memory.state is ItemState.DONE and tuple(shown) == (ItemState.DONE,)
    return ItemState.DONE in shown and not remembered


def _set_by_us(seen: Sighting, repo: RepoRecord, label: str) -> bool:
    """Whether it is known that we set it. A list of events may be older than the label."""
    return _ours(newest(seen.events, label, added=True), repo)


def _ours(event: LabelEvent | None, repo: RepoRecord) -> bool:
    return event is not None and event.actor is not None and repo.bot is not None and event.actor.id == repo.bot.id


def _unlabelled(seen: Sighting, repo: RepoRecord, why: list[Because]) -> ItemState:
    """It was ready and is not labelled any more: taken by a claim of ours, or withdrawn by a person."""
    event = newest(seen.events, labels.READY, added=False)
    why.append(Because.EVENTS)
    if _ours(event, repo):
        return ItemState.IN_PROGRESS
    return ItemState.CANCELLED if event is not None else ItemState.PROPOSED


def _snapshot(seen: Sighting, repo: RepoRecord) -> Snapshot | None:
    """What was approved. A text that may not be the approved one is not shown as such."""
    memory, issue = seen.memory, seen.issue
    title = issue.title
    if memory is not None and memory.approved_at is not None:
        body = "" if seen.thought is not None else issue.body
        same = memory.text == fingerprint(title, body) or seen.thought is not None
        return Snapshot(
            title=title,
            body=body if same else LOST_TEXT,
            approved_at=memory.approved_at,
            approver=memory.approver,
            plan_sha=memory.plan_sha,
            contains_outsider_text=memory.outsider,
        )
    event = _approval(seen, repo)
    person: Person | None = event.actor if event is not None else None
    if event is None or person is None or person.is_bot or (repo.bot is not None and person.id == repo.bot.id):
        return None
    plan = seen.thought.plan_sha if seen.thought is not None else None
    body = LOST_TEXT if seen.thought is None else ""
    return Snapshot(title, body, event.at, person, plan, contains_outsider_text=True)


def _approval(seen: Sighting, repo: RepoRecord) -> LabelEvent | None:
    """The ready label by which work began: the newest one before we showed that it had begun.

    Somebody without the role may have set it since; it meant nothing then.
    """
    if not any(state in MID_LIFE for state in labels.states_shown(seen.issue.labels)):
        return newest(seen.events, labels.READY, added=True)
    begun = newest(seen.events, labels.state_label(ItemState.IN_PROGRESS), added=True)
    before = tuple(event for event in seen.events if begun is not None and _ours(begun, repo) and event.at <= begun.at)
    return newest(before, labels.READY, added=True) or newest(seen.events, labels.READY, added=True)


def _item(
    seen: Sighting,
    state: ItemState,
    repo: RepoRecord,
    now: datetime,
    fence: int,
    snapshot: Snapshot | None,
    pull: PullLink | None,
    not_before: datetime | None,
) -> Item:
    issue, memory = seen.issue, seen.memory
    wanted = labels.state_label(state)
    shown = labels.states_shown(issue.labels)
    status = seen.status
    # Ready without a memory is judged by who set the label, as for an issue that was never seen.
    judged = state is ItemState.READY and (memory is None or snapshot is None)
    base = Item(
        key=issue.key,
        node_id=issue.node_id,
        title=issue.title,
        state=ItemState.PROPOSED if judged else state,
        since=memory.since if memory is not None and memory.state is state else now,
        thought=seen.thought,
        snapshot=None if judged or state is ItemState.PROPOSED else snapshot,
        spec=seen.spec,
        findings=seen.findings,
        labels=tuple(sorted(name for name in issue.labels if not labels.is_ours(name))),
        fence=fence,
        not_before=not_before,
        pull=pull,
        branch_deleted=state is ItemState.DONE and not issue.open,
        # What is remembered as proposed was sent back, or a draft: the policy does not approve it a second time.
        mirror_ready=seen.mirror_ready and memory is None,
        projection=Projection(
            state_label=wanted if shown == (state,) and not judged else None,
            status_comment_id=status.id if status is not None else None,
            status_comment_node=status.node_id if status is not None else None,
            status_hash=status.digest if status is not None else None,
            status_edited_at=status.written_at if status is not None else None,
            status_generation=memory.generation if memory is not None else 0,
        ),
    )
    if memory is None:
        return base
    return replace(
        base,
        spec=memory.asked.over(seen.spec),
        asked=memory.asked,
        priority=memory.priority,
        accepted_labels=memory.accepted,
        held_by=memory.held_by if memory.held_by != "label" else None,
        held_reason=memory.held_reason,
        expedited=memory.expedited and state is ItemState.READY,
        fresh=memory.fresh,
        ready_since=memory.ready_since,
        attempts_burnt=memory.burnt,
        infra_failures=memory.infra,
        extensions=memory.extensions,
        last_failure=memory.failure,
    )


def _asked(seen: Sighting, state: ItemState) -> tuple[Question, ...]:
    """The questions that the last attempt ended with, while an answer to them is wanted or waits to be worked with."""
    last = seen.memory.attempt if seen.memory is not None else None
    if last is None or state not in {ItemState.NEEDS_INPUT, ItemState.READY}:
        return ()
    return asked_again(seen.issue.key, seen.rounds, AttemptId(last.id))


def _pull(seen: Sighting) -> PullLink | None:
    """The newest pull request of the item's branch, unless it was closed and the item goes on without it."""
    memory = seen.memory
    wanted: Sequence[PullFacts] = seen.pulls
    if memory is not None and memory.pull is not None:
        wanted = [pull for pull in seen.pulls if pull.number == memory.pull] or seen.pulls
    pull = wanted[0] if wanted else None
    if pull is None:
        return None
    fence = memory.attempt.fence if memory is not None and memory.attempt is not None else 0
    author = memory.pull_author if memory is not None else None
    return PullLink(pull.number, pull.node_id, pull.head_ref, pull.head_sha, fence, pull.created_at, author)
