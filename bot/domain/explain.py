"""Why an item is where it is: the reasons in the order in which a person should read them."""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from bot.domain.attempt import Attempt, AttemptPhase
from bot.domain.draft import Draft
from bot.domain.facts import Ci, RunStatus
from bot.domain.line import far
from bot.domain.model import Item, ItemState, Waiting, Withheld
from bot.domain.permissions import Capability, needed
from bot.domain.policy_model import Policy
from bot.domain.questions import Question, QuestionStatus, addressee, latest_round
from bot.domain.reasons import ReasonCode, waiting
from bot.domain.schedule import repo_blockers

_KNOWN_ANYWAY = frozenset({ReasonCode.HELD, ReasonCode.HUMAN_OWNED, ReasonCode.FUSE, ReasonCode.QUEUED})
"""Reasons that the item itself knows better than the last scheduling pass."""


def explain(draft: Draft, policy: Policy, *, asked: bool = False) -> tuple[Waiting, ...]:
    """The reasons for the state that the item has in this draft.

    `asked`: a person wants to know now. What is always shown of an item far behind in the queue is a bound of its place
    and what concerns it alone; asked for, the facts have all of it (`exact`), or could not be read, and then what keeps
    the whole repository waiting is added to the bound.
    """
    item = draft.item
    if item is None:
        return (waiting(ReasonCode.NOT_TRACKED),)
    if asked and draft.facts.exact is not None:
        reasons, place = draft.facts.exact
        return (*_blown(item), *_of_state(draft, replace(item, waiting=reasons, position=place), policy, exact=True))
    whole = repo_blockers(draft.repo, policy, draft.now) if asked and far(item.position) else ()
    return (*_blown(item), *whole, *_of_state(draft, item, policy))


def _blown(item: Item) -> tuple[Waiting, ...]:
    at = item.projection.blown_at
    return () if at is None else (waiting(ReasonCode.FUSE, since=at),)


def _of_state(draft: Draft, item: Item, policy: Policy, *, exact: bool = False) -> tuple[Waiting, ...]:
    match item.state:
        case ItemState.PROPOSED:
            return (waiting(ReasonCode.NOT_APPROVED, state=item.state.value), *_held(item))
        case ItemState.READY:
            return _queued(item, exact=exact)
        case ItemState.IN_PROGRESS:
            if draft.live is None:
                return _between(draft, item, exact=exact)
            run = draft.facts.run
            if run is not None and run.status is RunStatus.WAITING:
                return (waiting(ReasonCode.GATE, run=run.id), *_held(item))
            return (_working(draft.live), *_afresh(draft, draft.live), *_asked(draft, policy), *_held(item))
        case ItemState.NEEDS_INPUT:
            return _asks(draft, item, policy)
        case ItemState.IN_REVIEW:
            return _reviewed(draft, item)
        case ItemState.DONE | ItemState.FAILED | ItemState.CANCELLED:
            return (at_rest(item),)
        case _:
            assert_never(item.state)


def at_rest(item: Item) -> Waiting:
    """Why nobody can take an item that is not queued and that nobody works on, from the item alone."""
    number = item.pull.number if item.pull else ""
    failure = item.last_failure.reason.value if item.last_failure else ""
    match item.state:
        case ItemState.DONE:
            return waiting(ReasonCode.DONE, pull=number)
        case ItemState.FAILED:
            return waiting(ReasonCode.FAILED, reason=failure)
        case ItemState.CANCELLED:
            return waiting(ReasonCode.CANCELLED, reason=failure)
        case ItemState.IN_REVIEW:
            return waiting(ReasonCode.REVIEW, pull=number)
        case ItemState.NEEDS_INPUT:
            return waiting(ReasonCode.QUESTION if item.withheld is None else ReasonCode.LOOK)
        case ItemState.PROPOSED | ItemState.READY | ItemState.IN_PROGRESS:
            return waiting(ReasonCode.NOT_APPROVED, state=item.state.value)
        case _:
            assert_never(item.state)


def _asks(draft: Draft, item: Item, policy: Policy) -> tuple[Waiting, ...]:
    """What stands in the way of an answer first: who holds it, then what is asked of whom."""
    owned = (waiting(ReasonCode.HUMAN_OWNED),) if item.human_owned else ()
    look = () if item.withheld is None else (_look(item, item.withheld, policy),)
    return (*owned, *_held(item), *_paused(draft), *look, *_asked(draft, policy))


def _look(item: Item, withheld: Withheld, policy: Policy) -> Waiting:
    return waiting(
        ReasonCode.LOOK,
        approver=addressee(item, policy) or "",
        role=needed(Capability.APPROVE, policy.roles).name.lower(),
        workflows=", ".join(withheld.workflows[:5]),
    )


def _asked(draft: Draft, policy: Policy) -> tuple[Waiting, ...]:
    return tuple(_question(draft, question, policy) for question in latest_round(draft.questions) if question.waits)


def _question(draft: Draft, question: Question, policy: Policy) -> Waiting:
    return waiting(
        ReasonCode.QUESTION,
        number=question.number,
        approver=addressee(draft.item, policy) or "",
        role=needed(Capability.ANSWER, policy.roles).name.lower(),
        until=question.deadline,
        text=question.asked.text[:300],
        expired="yes" if question.status is QuestionStatus.EXPIRED else "",
    )


def _afresh(draft: Draft, live: Attempt) -> tuple[Waiting, ...]:
    """It was answered, and the conversation that asked could not go on."""
    told = any(question.delivered == live.id and question.attempt != live.id for question in draft.questions)
    return (waiting(ReasonCode.AFRESH),) if told and live.resumes is None else ()


def _paused(draft: Draft) -> tuple[Waiting, ...]:
    pause = draft.repo.pause
    if pause is None or not pause.active(draft.now):
        return ()
    until = pause.until.isoformat() if pause.until else ""
    return (waiting(ReasonCode.PAUSED, by=pause.by, reason=pause.reason, until=until),)


def _held(item: Item) -> tuple[Waiting, ...]:
    if item.held_by is None:
        return ()
    return (waiting(ReasonCode.HELD, by=item.held_by, reason=item.held_reason or ""),)


def _queued(item: Item, *, exact: bool) -> tuple[Waiting, ...]:
    """What the last scheduling pass said, with what has become known since then in front."""
    owned = (waiting(ReasonCode.HUMAN_OWNED),) if item.human_owned else ()
    fresh = (*owned, *_held(item))
    rest = fresh + tuple(reason for reason in item.waiting if reason.code not in _KNOWN_ANYWAY)
    # The place in the queue stands in the headline already; it is a reason only when there is no other.
    return rest or (in_line(item.position, exact=exact),)


def in_line(place: int | None, *, exact: bool) -> Waiting:
    """Nothing but its turn: the place that an item was told, which may be a bound, or exactly the one that it has."""
    return waiting(ReasonCode.QUEUED, **{"place" if exact else "position": place if place is not None else ""})


def _between(draft: Draft, item: Item, *, exact: bool) -> tuple[Waiting, ...]:
    if item.not_before is not None and item.not_before > draft.now:
        why = item.last_failure.reason.value if item.last_failure else ""
        return (waiting(ReasonCode.NOT_BEFORE, at=item.not_before.isoformat(), why=why), *_held(item))
    return _queued(item, exact=exact)


def _working(attempt: Attempt) -> Waiting:
    run = attempt.run_id or ""
    if attempt.external and attempt.worker.name:
        return waiting(ReasonCode.EXTERNAL, owner=attempt.worker.name, since=attempt.claimed_at)
    if attempt.external:
        return waiting(ReasonCode.CLAIM_UNREADABLE, ref=attempt.claim_ref)
    if attempt.cancel_requested_at is not None:
        return waiting(ReasonCode.CANCELLING, attempt=attempt.number, by=attempt.cancel_by or "")
    match attempt.phase:
        case AttemptPhase.CLAIMED | AttemptPhase.DISPATCHING:
            # One reason for both, so that the status comment is not edited between the claim's steps.
            return waiting(ReasonCode.STARTING, attempt=attempt.number)
        case AttemptPhase.RUNNING | AttemptPhase.ENDED:
            return waiting(ReasonCode.RUNNING, attempt=attempt.number, run=run)
        case AttemptPhase.SUSPECT:
            since = attempt.lease_until.isoformat() if attempt.lease_until else ""
            return waiting(ReasonCode.SUSPECT, attempt=attempt.number, since=since)
        case AttemptPhase.CANCELLING:
            return waiting(ReasonCode.CANCELLING, attempt=attempt.number, by=attempt.cancel_by or "")
        case _:
            assert_never(attempt.phase)


def _reviewed(draft: Draft, item: Item) -> tuple[Waiting, ...]:
    number = item.pull.number if item.pull else ""
    ci, pull = draft.facts.ci, draft.facts.pull
    found = [*_held(item), *_paused(draft)]
    if ci is not None and ci.state is Ci.FAILED:
        found.append(waiting(ReasonCode.CI_FAILED, pull=number, checks=", ".join(name for name, _ in ci.failed[:5])))
    elif ci is not None and ci.state is Ci.PENDING:
        found.append(waiting(ReasonCode.CI_PENDING, pull=number))
    elif pull is not None and pull.mergeable is False:
        found.append(waiting(ReasonCode.CONFLICT, pull=number))
    else:
        found.append(waiting(ReasonCode.REVIEW, pull=number))
    return tuple(found)
