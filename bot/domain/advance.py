"""One item × facts × policy × now → decision. The order of the rules is the order of precedence.

What GitHub shows to be over comes first (deleted, merged, closed), then what people asked for (commands, labels), then
the bot's own work (the attempt), and last what is shown. The same facts always give the same decision, and a decision
whose effects are all done gives an empty one next time.
"""

from __future__ import annotations

from datetime import datetime

from bot.domain.approval import follow_thought, recheck_snapshot, request_cancel
from bot.domain.asking import mind_questions, withdraw_questions
from bot.domain.attempting import pursue
from bot.domain.claiming import follow_claims, release_claim
from bot.domain.draft import Draft
from bot.domain.effects import Decision
from bot.domain.facts import ItemFacts, Presence
from bot.domain.label_reading import look_again_for_ready, read_intent_labels, read_state_labels, ready_since
from bot.domain.lifecycle import ItemEvent
from bot.domain.looking import drop_withheld
from bot.domain.model import FailureReason, ItemState
from bot.domain.obey import decline, in_order, obey
from bot.domain.patience import mind_look
from bot.domain.policy_model import Policy
from bot.domain.projection import project
from bot.domain.review import finish, follow_pull, link_head
from bot.domain.steering import look_again_for_steers, mind_steers


def advance(facts: ItemFacts, policy: Policy, now: datetime) -> Decision:
    """Decide what to write and do for one item now."""
    draft = Draft(facts, now)
    if facts.presence is Presence.UNREADABLE:
        return draft.finish()
    if facts.presence is Presence.PULL:
        decline(draft)
        return draft.finish()
    if facts.presence is not Presence.HERE:
        _gone(draft, policy, facts.presence)
        withdraw_questions(draft)
        drop_withheld(draft)
        release_claim(draft)
        return draft.finish()
    if draft.item is not None:
        if facts.issue is not None and facts.issue.title != draft.item.title:
            draft.change(title=facts.issue.title)
        follow_claims(draft, policy)
        follow_pull(draft, policy)
        link_head(draft)
        _closed(draft)
    mind_steers(draft)
    _hear(draft, policy)
    mind_questions(draft, policy)
    mind_look(draft, policy)
    recheck_snapshot(draft, policy)
    follow_thought(draft)
    pursue(draft, policy)
    finish(draft)
    withdraw_questions(draft)
    drop_withheld(draft)
    look_again_for_steers(draft)
    look_again_for_ready(draft)
    project(draft, policy)
    release_claim(draft)
    return draft.finish()


def _hear(draft: Draft, policy: Policy) -> None:
    """What people asked for, in the order in which they asked: a command after the ready label outlives it."""
    commands, labelled_at = in_order(draft), ready_since(draft)
    before = [one for one in commands if labelled_at is None or one.intent.created_at < labelled_at]
    obey(draft, policy, before)
    read_state_labels(draft, policy)
    obey(draft, policy, commands[len(before) :])
    read_intent_labels(draft, policy)


def _gone(draft: Draft, policy: Policy, presence: Presence) -> None:
    """The issue was deleted or moved away: stop what runs, then call the item off; nothing can be written there."""
    for intent in draft.facts.intents:
        draft.settle(intent.intent.id, presence.value)
    if draft.item is None:
        return
    follow_claims(draft, policy)
    if draft.live is not None:
        # Also beside a merge, which ends an item before its attempt.
        request_cancel(draft, FailureReason.CANCELLED_CLOSED, by=presence.value)
        pursue(draft, policy)
        draft.words.clear()
        return
    if draft.item.terminal:
        return
    draft.move(ItemEvent.CANCELLED, actor="GitHub", cause=f"issue {presence.value}")
    draft.free_locks = True


def _closed(draft: Draft) -> None:
    """A closed issue is a person's stop, unless the merge closed it."""
    issue, item = draft.facts.issue, draft.item
    assert issue is not None
    assert item is not None
    if issue.open or item.terminal:
        return
    if item.pull is not None and draft.facts.pull is None:
        # Whether the merge closed it is not known yet.
        return
    if draft.live is not None:
        request_cancel(draft, FailureReason.CANCELLED_CLOSED, by="the closed issue")
        return
    if item.state is not ItemState.DONE:
        draft.move(ItemEvent.CANCELLED, actor="a person", cause="the issue was closed")
        draft.free_locks = True
