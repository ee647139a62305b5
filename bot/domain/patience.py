"""How long the bot waits for an answer or a look: reminders, the deadline, and time that stands still.

Promises: time stands still while the item is held, a person has it, or the repository is paused. One comment reminds
of everything that waits for the same person, and nobody is reminded twice within a day. When time is over the item
waits on without standing in anybody's way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from bot.domain.draft import BOT, Draft
from bot.domain.model import ItemState
from bot.domain.notes import NoteCode, note
from bot.domain.permissions import Capability, needed
from bot.domain.policy_model import Policy
from bot.domain.questions import (
    DIGEST,
    REMINDERS,
    Question,
    QuestionStatus,
    addressee,
    due_reminder,
    first_in,
    latest_round,
    numbers_of,
    running,
    stopped,
    to_text,
)


def mind_time(draft: Draft, policy: Policy) -> None:
    """Remind of what waits, or let it expire, when it is due."""
    still = _still_since(draft)
    for question in latest_round(draft.questions):
        if question.waits and question.status is QuestionStatus.OPEN:
            draft.put_question(running(question, draft.now) if still is None else stopped(question, still))
    waiting = [q for q in latest_round(draft.questions) if q.status is QuestionStatus.OPEN and q.deadline is not None]
    if not waiting or draft.state is not ItemState.NEEDS_INPUT:
        return
    deadline = min(question.deadline for question in waiting if question.deadline is not None)
    if draft.now >= deadline:
        _expire(draft, waiting)
        return
    draft.at(deadline)
    due = due_reminder(first_in(waiting))
    if due is not None and draft.now >= due:
        _remind(draft, policy, waiting)
        due = due_reminder(first_in([q for q in latest_round(draft.questions) if q.status is QuestionStatus.OPEN]))
    draft.at(due)


def mind_look(draft: Draft, policy: Policy) -> None:
    """Remind of a result that waits for a look, when it is due. A look has no deadline: nothing waits behind it."""
    item = draft.item
    if item is None or item.withheld is None or item.state is not ItemState.NEEDS_INPUT:
        return
    if _still_since(draft) is not None:
        return
    waits, count = item.withheld, item.withheld.reminded
    while count < len(REMINDERS) and draft.now >= waits.since + REMINDERS[count]:
        count += 1
    if count < len(REMINDERS):
        draft.at(waits.since + REMINDERS[count])
    if count == waits.reminded:
        return
    told = _told_elsewhere(draft)
    draft.change(withheld=replace(waits, reminded=count, reminded_at=waits.reminded_at if told else draft.now))
    if told:
        return
    draft.say(
        f"look-again:{waits.attempt}:{count}",
        note(
            NoteCode.LOOK_REMINDER,
            approver=addressee(item, policy),
            role=needed(Capability.APPROVE, policy.roles).name.lower(),
            since=waits.since.isoformat(),
            others=_others(draft),
        ),
    )


def _told_elsewhere(draft: Draft) -> bool:
    """Whether the same person was reminded within the last day on another item, and told of this one there."""
    return any(at is not None and draft.now - at < DIGEST for _, at in draft.facts.others_waiting)


def _others(draft: Draft) -> str | None:
    return ", ".join(f"#{number}" for number, _ in draft.facts.others_waiting) or None


def _still_since(draft: Draft) -> datetime | None:
    """Since when the time stands still; None: it runs."""
    item, pause = draft.item, draft.repo.pause
    assert item is not None
    if pause is not None and pause.active(draft.now):
        return min(pause.since, draft.now)
    return draft.now if item.held_by is not None or item.human_owned else None


def _remind(draft: Draft, policy: Policy, waiting: Sequence[Question]) -> None:
    """One comment for all of the item's questions, and for everything else that waits for the same person.

    Whoever was reminded within the last day on another item was told of this one there.
    """
    first = first_in(waiting)
    count = first.reminded
    while (due := due_reminder(replace(first, reminded=count))) is not None and draft.now >= due:
        count += 1
    told = _told_elsewhere(draft)
    for question in waiting:
        at = question.reminded_at if told else draft.now
        draft.put_question(replace(question, reminded=count, reminded_at=at))
    if told:
        return
    deadline = first.deadline
    draft.say(
        f"remind:{first.attempt}:{count}",
        note(
            NoteCode.REMINDER,
            approver=addressee(draft.item, policy),
            questions=to_text(waiting),
            since=first.asked_at.isoformat(),
            others=_others(draft),
            until=deadline.isoformat() if deadline is not None else None,
        ),
    )


def _expire(draft: Draft, waiting: Sequence[Question]) -> None:
    """Nobody answered in time: the item waits on without standing in anybody's way."""
    for question in waiting:
        draft.put_question(replace(question, status=QuestionStatus.EXPIRED, deadline=None, left=0))
    draft.note_history("question.expired", actor=BOT, cause=f"question {numbers_of(waiting)}")
    draft.urgent = True
    assert draft.item is not None
    if draft.item.pull is None:
        draft.free_locks = True
        draft.wake(draft.facts.key.repo_key)
