"""The life of an item as one table: state × event → next state, or a named refusal.

Nothing else in the product changes an item's state. A retry does not leave `in-progress` (automatic retries change
no labels): an item in progress without a live attempt waits for its next one. Conditions (held, paused, suspect,
waiting, red CI) are not states. The picture of this table is in docs/life-of-an-item.md; a test compares both with
the checked-in matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bot.domain.model import ItemState


class ItemEvent(StrEnum):
    """Everything that can happen to an item."""

    DISCOVERED = "discovered"
    APPROVED = "approved"
    CLAIMED = "claimed"
    RETRY_LATER = "retry_later"
    GIVEN_BACK = "given_back"
    ASKED = "asked"
    ANSWERED = "answered"
    PUBLISHED = "published"
    GAVE_UP = "gave_up"
    CANCELLED = "cancelled"
    WITHDRAWN = "withdrawn"
    PULL_CLOSED = "pull_closed"
    MERGED = "merged"
    IMPLEMENTED = "implemented"
    NO_CODE = "no_code"
    RETRY_ASKED = "retry_asked"
    SENT_BACK = "sent_back"
    APPROVAL_VOID = "approval_void"
    THOUGHT_REMOVED = "thought_removed"
    FIX_ROUND = "fix_round"


class Refusal(StrEnum):
    """Why an event does not apply in a state."""

    ALREADY_SO = "already so"
    NOT_STARTED = "nothing was started"
    WORK_RUNNING = "work is running"
    ENDED = "the item has ended"
    IN_REVIEW = "a pull request is open"
    NO_QUESTION = "no question is open"
    NOT_APPROVED = "it is not approved"
    NO_PULL = "there is no pull request"


@dataclass(frozen=True, slots=True)
class Move:
    """The state after an event, and the row of the picture in docs/life-of-an-item.md that it is."""

    to: ItemState
    row: str


_P, _R, _W, _Q = ItemState.PROPOSED, ItemState.READY, ItemState.IN_PROGRESS, ItemState.NEEDS_INPUT
_V, _D, _F, _C = ItemState.IN_REVIEW, ItemState.DONE, ItemState.FAILED, ItemState.CANCELLED
_E = ItemEvent
_N = Refusal

TABLE: dict[tuple[ItemState | None, ItemEvent], Move] = {
    (None, _E.DISCOVERED): Move(_P, "T1"),
    (None, _E.APPROVED): Move(_R, "T2"),
    (_P, _E.APPROVED): Move(_R, "T2"),
    (_R, _E.CLAIMED): Move(_W, "T4"),
    (_W, _E.CLAIMED): Move(_W, "T4"),
    (_W, _E.RETRY_LATER): Move(_W, "T12"),
    (_W, _E.GIVEN_BACK): Move(_R, "T12b"),
    (_W, _E.ASKED): Move(_Q, "T8"),
    (_Q, _E.ANSWERED): Move(_R, "T9"),
    (_W, _E.PUBLISHED): Move(_V, "T11"),
    (_V, _E.PUBLISHED): Move(_V, "T16"),
    (_W, _E.GAVE_UP): Move(_F, "T12"),
    (_V, _E.GAVE_UP): Move(_F, "T17"),
    (_P, _E.CANCELLED): Move(_C, "T21"),
    (_R, _E.CANCELLED): Move(_C, "T21"),
    (_W, _E.CANCELLED): Move(_C, "T21"),
    (_Q, _E.CANCELLED): Move(_C, "T21"),
    (_V, _E.CANCELLED): Move(_C, "T21"),
    (_R, _E.WITHDRAWN): Move(_C, "T21"),
    (_W, _E.WITHDRAWN): Move(_C, "T21"),
    (_V, _E.PULL_CLOSED): Move(_C, "T22"),
    (_V, _E.MERGED): Move(_D, "T20"),
    (_W, _E.MERGED): Move(_D, "T20"),
    (_Q, _E.MERGED): Move(_D, "T20"),
    (_R, _E.MERGED): Move(_D, "T20"),
    (_F, _E.MERGED): Move(_D, "T20"),
    (_C, _E.MERGED): Move(_D, "T20"),
    (_W, _E.NO_CODE): Move(_D, "T20"),
    (_P, _E.IMPLEMENTED): Move(_D, "T20"),
    (_R, _E.IMPLEMENTED): Move(_D, "T20"),
    (_Q, _E.IMPLEMENTED): Move(_D, "T20"),
    (_F, _E.IMPLEMENTED): Move(_D, "T20"),
    (_D, _E.RETRY_ASKED): Move(_R, "T23"),
    (_F, _E.RETRY_ASKED): Move(_R, "T23"),
    (_C, _E.RETRY_ASKED): Move(_R, "T23"),
    (_R, _E.SENT_BACK): Move(_P, "T2r"),
    (_F, _E.SENT_BACK): Move(_P, "T2r"),
    (_C, _E.SENT_BACK): Move(_P, "T2r"),
    (_Q, _E.SENT_BACK): Move(_P, "T2r"),
    (_R, _E.APPROVAL_VOID): Move(_P, "T2v"),
    (_W, _E.APPROVAL_VOID): Move(_P, "T2v"),
    (_P, _E.THOUGHT_REMOVED): Move(_C, "T21"),
    (_R, _E.THOUGHT_REMOVED): Move(_C, "T21"),
    (_V, _E.FIX_ROUND): Move(_V, "T16"),
}


def move(state: ItemState | None, event: ItemEvent) -> Move | Refusal:
    """The one answer to "may this happen now?"; never raises, so that callers can explain a refusal."""
    found = TABLE.get((state, event))
    return found if found is not None else _refusal(state, event)


def _refusal(state: ItemState | None, event: ItemEvent) -> Refusal:
    if state is None:
        return _N.NOT_STARTED
    if event is _E.APPROVED and state is _R:
        return _N.ALREADY_SO
    if event in {_E.DISCOVERED, _E.CANCELLED, _E.MERGED, _E.IMPLEMENTED} and state in {_D, _C, _P}:
        return _N.ALREADY_SO if state in {_D, _C} or event is _E.DISCOVERED else _N.NO_PULL
    if state in {_D, _F, _C}:
        return _N.ENDED
    if event is _E.ANSWERED:
        return _N.NO_QUESTION
    if event in {_E.PULL_CLOSED, _E.FIX_ROUND}:
        return _N.NO_PULL
    if state is _V:
        return _N.IN_REVIEW
    if state in {_P, _R, _Q} and event in {
        _E.PUBLISHED,
        _E.NO_CODE,
        _E.GAVE_UP,
        _E.ASKED,
        _E.RETRY_LATER,
        _E.GIVEN_BACK,
        _E.WITHDRAWN,
    }:
        return _N.NOT_STARTED
    if state is _P:
        return _N.NOT_APPROVED
    if state is _W:
        return _N.WORK_RUNNING
    return _N.ALREADY_SO
