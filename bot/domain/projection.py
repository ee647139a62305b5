"""What people should see, compared with what they see: the state label, the assignee's claim, the status comment.

Labels are added and removed one by one, never replaced as a set. A state label that a person put on or took off
against the rules is set right once per state and explained once; after that the bot does not fight.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from bot.domain import labels
from bot.domain.approval import EVENT_LAG, EVENT_PATIENCE
from bot.domain.draft import Draft
from bot.domain.effects import Show, Status
from bot.domain.explain import explain
from bot.domain.facts import Ci, CiFacts
from bot.domain.model import ItemState
from bot.domain.notes import NoteCode, note
from bot.domain.policy_model import Policy
from bot.domain.review import NO_CHECKS_AFTER

FIRST_WORDS = timedelta(seconds=5)
"""A scheduling pass follows an approval at once; if it has not spoken by then, the status is written without it."""

SHOWN_AFTER_THE_END = timedelta(days=30)
"""Of an item that ended longer ago nothing is news: a stray comment on it does not have its status comment edited."""

PUT_BACKS = 1
"""How often a person's change of a state label is undone per state before the bot leaves it alone."""


def _checks_to_show(draft: Draft) -> CiFacts | None:
    """No check so far does not mean that there are none: until that is decided, the text waits for them."""
    ci, pull = draft.facts.ci, draft.item.pull if draft.item is not None else None
    if ci is None or pull is None or ci.state is not Ci.NONE:
        return ci
    return ci if draft.now >= pull.opened_at + NO_CHECKS_AFTER else None


def project(draft: Draft, policy: Policy) -> None:
    """Add the differences between what should be seen and what is seen."""
    item, issue = draft.item, draft.facts.issue
    if item is None or issue is None:
        return
    wanted = labels.state_label(item.state)
    # What a step before this one wanted to show is over if the same decision has moved on since.
    draft.visible = [step for step in draft.visible if not _shows_another_state(step, wanted)]
    shown = frozenset(labels.state_label(state) for state in labels.states_shown(issue.labels))
    if any(isinstance(step, Show) and labels.READY in step.remove_labels for step in draft.visible):
        # Refused, and said so: it goes, without a second word.
        shown -= {labels.READY}
    if item.terminal and draft.facts.attempt is not None and draft.facts.attempt.live:
        # Somebody asks for more while the last attempt is still ending: heard in the look after its end.
        shown -= {labels.READY}
    claiming = draft.live is not None and not draft.live.ready_removed
    add = () if wanted in shown else (wanted,)
    # While a claim is being made the ready label is taken by its own step, which looks who removed it.
    remove = tuple(sorted(name for name in shown - {wanted} if not (claiming and name == labels.READY)))
    if _claim_shows_itself(draft):
        add = ()
    if draft.live is not None and draft.live.external:
        # The owner of the claim shows what they do; two that put each other's labels right would never end.
        add, remove = (), ()
    by_person = _human_did_it(draft, shown, wanted) if add or remove else False
    if by_person is None:
        draft.at(draft.now + EVENT_LAG)
        add, remove = (), ()
    elif by_person:
        if item.projection.put_backs >= PUT_BACKS:
            add, remove = (), ()
        else:
            draft.change(projection=replace(item.projection, put_backs=item.projection.put_backs + 1))
            draft.say(
                f"label-back:{item.state.value}:{item.since.isoformat()}",
                note(NoteCode.LABEL_PUT_BACK, label=wanted, removed=", ".join(remove), state=item.state.value),
            )
    if add or remove:
        draft.visible.append(Show(draft.facts.key, add_labels=add, remove_labels=remove, state_label=wanted))
    elif item.projection.state_label != wanted and wanted in shown and not _claim_shows_itself(draft):
        draft.change(projection=replace(draft.item.projection, state_label=wanted) if draft.item else None)
    if _queue_speaks_first(draft):
        draft.at(item.since + FIRST_WORDS)
        return
    if item.terminal and draft.now - item.since > SHOWN_AFTER_THE_END:
        return
    draft.visible.append(Status(draft.facts.key, draft.urgent, _checks_to_show(draft), explain(draft, policy)))


def _shows_another_state(step: Show | Status, wanted: str) -> bool:
    return isinstance(step, Show) and step.state_label not in {None, wanted}


def _queue_speaks_first(draft: Draft) -> bool:
    """Whether a new item waits for its place in the queue, so that its first status says more than "ready"."""
    item = draft.item
    assert item is not None
    return (
        item.state is ItemState.READY
        and item.projection.status_comment_id is None
        and item.position is None
        and not item.waiting
        and draft.now < item.since + FIRST_WORDS
    )


def _claim_shows_itself(draft: Draft) -> bool:
    """The claim's own step adds the label together with the assignee, after the ready label is gone."""
    attempt = draft.live
    return attempt is not None and not attempt.shown


def _human_did_it(draft: Draft, shown: frozenset[str], wanted: str) -> bool | None:
    """Whether a person made the difference between what we showed and what is there; None: reads are still stale.

    Only asked when we still want what we showed last. The newest event of each differing label decides: one of our
    own that contradicts what we read means that the read was old, unless it happened too long ago for that.
    """
    item = draft.item
    assert item is not None
    last = draft.facts.item
    # What this very decision moved on is not compared with what it was before.
    if last is None or last.projection.state_label != wanted or item.projection.state_label != wanted:
        return False
    if shown == {wanted}:
        return False
    bot = draft.facts.repo.bot
    for name in shown ^ {wanted}:
        events = [event for event in draft.facts.label_events or () if event.label == name]
        ours = bot is not None and bool(events) and events[-1].actor is not None and events[-1].actor.id == bot.id
        if events and events[-1].added is (name in shown) and not ours:
            continue
        if not events or draft.now - events[-1].at < EVENT_PATIENCE:
            return None
        # Renaming or deleting a label in the repository leaves no event on the issues: it is repaired silently.
        return False
    return True
