"""Labels that people set: what they ask for, and whether they may.

Three-way comparison: a state label that is observed but was not projected is a person's input; the reverse is our
output (`projection.py`). Who set a label, and when, comes from the issue's newest event for it, never from its
presence. What an accepted `tgs:ready` approves is decided in `approval.py`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from bot.domain import labels
from bot.domain.approval import (
    EVENT_LAG,
    EVENT_PATIENCE,
    ROLE_RETRY,
    approve,
    by_us,
    new_item,
    newest,
    request_cancel,
    role_name,
    take_label_off,
)
from bot.domain.draft import Draft
from bot.domain.facts import IssueFacts, LabelEvent
from bot.domain.labels import IntentLabel
from bot.domain.lifecycle import ItemEvent
from bot.domain.model import TERMINAL_STATES, FailureReason, ItemState, Person, Role
from bot.domain.notes import NoteCode, note
from bot.domain.permissions import BOTS_ROLE, Capability, Denied, decide, needed
from bot.domain.policy_model import Policy

ROUNDS = 2
"""How often a label of a bot that may not set it is taken off; after that the bots would only fight."""

PRIORITY_LABELS = {
    IntentLabel.PRIORITY_HIGH.value: labels.PRIORITIES["high"],
    IntentLabel.PRIORITY_LOW.value: labels.PRIORITIES["low"],
}


def ready_since(draft: Draft) -> datetime | None:
    """When somebody asked by the ready label that is there now; None when nobody did, or it cannot be told yet."""
    issue = draft.facts.issue
    if issue is None or labels.READY not in issue.labels:
        return None
    event = newest(draft.facts.label_events, labels.READY, added=True)
    return event.at if event is not None else None


def read_state_labels(draft: Draft, policy: Policy) -> None:
    """Apply what people asked for by a state label."""
    issue = draft.facts.issue
    if issue is None:
        return
    if draft.item is not None:
        _read_known(draft, policy, issue)
    elif draft.facts.incident:
        if labels.READY in issue.labels:
            _refuse_ready(draft, policy, "incident", "label", None)
    elif labels.READY in issue.labels:
        _consider_ready(draft, policy, issue)
    elif labels.PROPOSED in issue.labels:
        draft.track(new_item(draft, issue, policy), ItemEvent.DISCOVERED, actor="label", cause="labelled proposed")
        draft.change(projection=replace(draft.item.projection, state_label=labels.PROPOSED) if draft.item else None)


def _read_known(draft: Draft, policy: Policy, issue: IssueFacts) -> None:
    item = draft.item
    assert item is not None
    ready_seen = labels.READY in issue.labels
    asks_again = item.state is ItemState.PROPOSED or item.state in TERMINAL_STATES
    if ready_seen and asks_again and item.projection.state_label != labels.READY:
        if draft.live is None:
            _consider_ready(draft, policy, issue)
    elif item.state is ItemState.READY and not ready_seen and item.projection.state_label == labels.READY:
        _consider_withdrawal(draft)


def look_again_for_ready(draft: Draft) -> None:
    """Somebody merged what an attempt still worked on, and asked for more meanwhile: heard when it has stopped."""
    item, issue = draft.item, draft.facts.issue
    if item is None or issue is None or item.state not in TERMINAL_STATES or draft.live is not None:
        return
    ended = draft.facts.attempt is not None and draft.facts.attempt.live
    if ended and labels.READY in issue.labels and item.projection.state_label != labels.READY:
        draft.at(draft.now)


def _consider_withdrawal(draft: Draft) -> None:
    event = newest(draft.facts.label_events, labels.READY, added=False)
    if draft.facts.label_events is None or event is None:
        draft.at(draft.now + EVENT_LAG)
        return
    if by_us(draft, event.actor):
        # A claim of ours took the label and then could not be recorded; projection puts it back.
        return
    actor = event.actor.login if event.actor else "somebody"
    draft.move(ItemEvent.WITHDRAWN, actor=actor, cause=f"removed {labels.READY}")
    draft.free_locks = True


def _consider_ready(draft: Draft, policy: Policy, issue: IssueFacts) -> None:
    event = newest(draft.facts.label_events, labels.READY, added=True)
    if draft.facts.label_events is None or event is None:
        if draft.now - issue.updated_at > EVENT_PATIENCE:
            _refuse_ready(draft, policy, "unreadable", "label", None)
        else:
            draft.at(draft.now + EVENT_LAG)
        return
    item = draft.item
    if item is not None and event.id in item.refused_events:
        # Refused before, and taking it off did not succeed then.
        take_label_off(draft)
        return
    if event.actor is None:
        _refuse_ready(draft, policy, "unknown_actor", f"label:{event.id}", event)
        return
    listed = event.actor.is_bot and event.actor.id in policy.bots
    if event.actor.is_bot and not listed and not by_us(draft, event.actor):
        if _rounds(draft, event.actor) <= ROUNDS:
            # Said once, whichever event: a bot reads nothing and may set it again at once.
            _refuse_ready(draft, policy, "bot", f"bot:{event.actor.id}", event)
        return
    role = Role.ADMIN if by_us(draft, event.actor) else draft.facts.role_of(event.actor)
    role = BOTS_ROLE if listed else role
    if role is None:
        draft.at(draft.now + ROLE_RETRY)
        return
    verdict = decide(Capability.START, role, policy.roles)
    if isinstance(verdict, Denied):
        _refuse_ready(
            draft,
            policy,
            "role",
            f"label:{event.id}",
            event,
            needs=verdict.needs.name.lower(),
            has=role_name(verdict.has),
        )
        return
    if by_us(draft, event.actor):
        return
    approve(draft, policy, actor=event.actor, at=event.at, topic=f"label:{event.id}", cause=f"labelled {labels.READY}")


def _rounds(draft: Draft, bot: Person) -> int:
    """How often this bot has added the ready label."""
    events = draft.facts.label_events or ()
    return sum(
        event.added and event.label == labels.READY and event.actor is not None and event.actor.id == bot.id
        for event in events
    )


def read_intent_labels(draft: Draft, policy: Policy) -> None:
    """Restrictive labels count whoever set them; the others need the role of their command."""
    issue, item = draft.facts.issue, draft.item
    if issue is None or item is None:
        return
    owned = IntentLabel.NO_AGENT in issue.labels
    if owned != item.human_owned:
        draft.change(human_owned=owned)
        draft.note_history("human_owned" if owned else "handed_back", actor="label", cause=IntentLabel.NO_AGENT)
        draft.wake(draft.facts.key.repo_key)
    if owned and draft.live is not None and draft.live.cancel_requested_at is None:
        request_cancel(draft, FailureReason.CANCELLED_BY_PERSON, by=f"the label {IntentLabel.NO_AGENT}")
    held = IntentLabel.HOLD in issue.labels
    if held and item.held_by is None and not draft.unheld:
        draft.change(held_by="label", held_reason=None)
        draft.note_history("held", actor="label", cause=IntentLabel.HOLD)
        draft.wake(draft.facts.key.repo_key)
    elif not held and item.held_by == "label":
        draft.change(held_by=None, held_reason=None)
        draft.note_history("unheld", actor="label", cause=IntentLabel.HOLD)
        draft.wake(draft.facts.key.repo_key)
    wanted = {name for name in PRIORITY_LABELS if name in issue.labels}
    for name in sorted(item.accepted_labels - wanted):
        draft.change(accepted_labels=item.accepted_labels - {name}, priority=0)
        draft.note_history("priority", actor="label", cause=f"removed {name}")
        draft.wake(draft.facts.key.repo_key)
    for name in sorted(wanted - item.accepted_labels):
        _consider_priority(draft, policy, name)
    foreign = tuple(sorted(name for name in issue.labels if not labels.is_ours(name)))
    if foreign != item.labels:
        draft.change(labels=foreign)


def _consider_priority(draft: Draft, policy: Policy, name: str) -> None:
    item = draft.item
    assert item is not None
    event = newest(draft.facts.label_events, name, added=True)
    if event is None or event.id in item.refused_events:
        return
    if event.actor is not None and event.actor.is_bot and event.actor.id not in policy.bots:
        draft.change(refused_events=item.refused_events | {event.id})
        return
    role = BOTS_ROLE if event.actor is not None and event.actor.is_bot else draft.facts.role_of(event.actor)
    if event.actor is not None and role is None:
        draft.at(draft.now + ROLE_RETRY)
        return
    verdict = decide(Capability.PRIORITISE, role, policy.roles)
    if isinstance(verdict, Denied):
        draft.change(refused_events=item.refused_events | {event.id})
        draft.say(
            f"label:{event.id}",
            note(
                NoteCode.LABEL_REFUSED,
                label=name,
                why="role",
                needs=verdict.needs.name.lower(),
                has=role_name(verdict.has),
                actor=event.actor.login if event.actor else None,
            ),
        )
        return
    draft.change(accepted_labels=item.accepted_labels | {name}, priority=PRIORITY_LABELS[name])
    actor = event.actor.login if event.actor else "label"
    draft.note_history("priority", actor=actor, cause=name)
    draft.wake(draft.facts.key.repo_key)


def _refuse_ready(
    draft: Draft,
    policy: Policy,
    why: str,
    topic: str,
    event: LabelEvent | None,
    *,
    needs: str | None = None,
    has: str | None = None,
) -> None:
    if event is not None and draft.item is not None:
        draft.change(refused_events=draft.item.refused_events | {event.id})
    draft.say(
        topic,
        note(
            NoteCode.LABEL_REFUSED,
            label=labels.READY,
            why=why,
            needs=needs or needed(Capability.START, policy.roles).name.lower(),
            has=has,
            actor=event.actor.login if event is not None and event.actor is not None else None,
            id=event.actor.id if why == "bot" and event is not None and event.actor is not None else None,
        ),
    )
    take_label_off(draft)
