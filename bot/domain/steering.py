"""What people say to an agent at work: taken down, handed over with the next sign of life, and told to whoever said it.

Promises: each sentence reaches the agent once or, when the attempt ends first, the next attempt's notes, and its author
hears which. What was handed over counts as delivered only when the worker says that it has it.
"""

from __future__ import annotations

from typing import Final

from bot.domain.attempt import Attempt, AttemptPhase
from bot.domain.draft import Draft
from bot.domain.effects import React
from bot.domain.intents import Intent
from bot.domain.model import ItemState
from bot.domain.notes import NoteCode, note
from bot.domain.questions import Steer

SEEN: Final = "eyes"

MAX_WAITING: Final = 20
"""Sentences that wait for one agent; who has more to say stops it and writes a better plan."""

_GOES_ON: Final = frozenset({ItemState.IN_PROGRESS, ItemState.READY, ItemState.NEEDS_INPUT})


def steerable(attempt: Attempt | None) -> bool:
    """Whether there is an agent that could hear: starting or at work, and not being stopped."""
    if attempt is None or attempt.external or attempt.cancel_requested_at is not None or attempt.report is not None:
        return False
    done = attempt.gate_report is not None and attempt.gate_report.succeeded
    return not done and attempt.phase in {
        AttemptPhase.CLAIMED,
        AttemptPhase.DISPATCHING,
        AttemptPhase.RUNNING,
        AttemptPhase.SUSPECT,
    }


def steer(draft: Draft, intent: Intent, text: str) -> bool:
    """Take the sentence down for the live attempt; False when too many wait already."""
    assert draft.live is not None
    own = [known for known in draft.steers if known.attempt == draft.live.id]
    if sum(known.delivered_at is None for known in own) >= MAX_WAITING:
        return False
    seq = max((known.seq for known in own), default=0) + 1
    draft.put_steer(
        Steer(intent.id, draft.facts.key, draft.live.id, seq, text, intent.actor, draft.now, intent.comment_id)
    )
    draft.note_history("steered", actor=intent.actor.login, cause=text[:200])
    if intent.comment_id is not None:
        draft.words.append(React(intent.key, intent.comment_id, SEEN))
    return True


def mind_steers(draft: Draft) -> None:
    """Tell people what became of their words; words that came too late go into the notes for the next attempt."""
    for known in draft.steers:
        if known.told:
            continue
        if known.delivered_at is not None:
            _tell(draft, known, "steered", at=known.delivered_at.isoformat())
        elif draft.live is None or draft.live.id != known.attempt:
            _too_late(draft, known)


def look_again_for_steers(draft: Draft) -> None:
    """When an attempt has just ended, words that it did not hear are seen to at once."""
    ended = draft.live is None and draft.facts.attempt is not None and draft.facts.attempt.live
    if ended and any(not known.told for known in draft.steers):
        draft.at(draft.now)


def _too_late(draft: Draft, known: Steer) -> None:
    item = draft.item
    if item is None or item.state not in _GOES_ON:
        _tell(draft, known, "steered_late")
        return
    said = f"{known.by.login}: {known.text}"
    draft.change(notes=f"{item.notes}\n\n{said}" if item.notes else said)
    _tell(draft, known, "steered_next")


def _tell(draft: Draft, known: Steer, what: str, **params: object) -> None:
    draft.tell_steer(known.id)
    if known.comment_id is not None:
        draft.say(
            f"steer:{known.id}",
            note(NoteCode.DONE, verb="steer", what=what, actor=known.by.login, **params),
        )
