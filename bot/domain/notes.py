"""What the bot has to say, before it is put into words: a code from a closed list and its parameters.

`bot/texts/render.py` holds the words for each code; a test checks that every code has them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum

from bot.domain.model import Waiting


class NoteCode(StrEnum):
    """Every occasion on which a new comment is written."""

    # answers to commands
    DONE = "done"
    ALREADY_SO = "already_so"
    DENIED = "denied"
    NOT_UNDERSTOOD = "not_understood"
    NOT_AVAILABLE = "not_available"
    EDITED_COMMAND = "edited_command"
    COMMENT_CHANGED = "comment_changed"
    TOO_OLD = "too_old"
    ROLE_UNREADABLE = "role_unreadable"
    NOT_TRACKED = "not_tracked"
    CANNOT = "cannot"
    HELP = "help"
    WHY = "why"
    STATUS = "status"
    NEXT = "next"
    POLICY = "policy"
    COST = "cost"
    MERGE_REFUSED = "merge_refused"
    MERGED = "merged"
    ANSWERED = "answered"
    ANSWER_UNCLEAR = "answer_unclear"
    ANSWER_LATE = "answer_late"
    # a person must act
    QUESTION = "question"
    LOOK = "look"
    LOOK_REMINDER = "look_reminder"
    REMINDER = "reminder"
    FAILED = "failed"
    CI_FAILED = "ci_failed"
    REVIEW_WANTED = "review_wanted"
    PULL_CLOSED = "pull_closed"
    LABEL_REFUSED = "label_refused"
    LABEL_PUT_BACK = "label_put_back"
    APPROVAL_VOID = "approval_void"
    PLAN_CHANGED = "plan_changed"
    ISOLATION = "isolation"
    FUSE = "fuse"
    # what somebody said over the API
    SPOKEN = "spoken"


@dataclass(frozen=True, slots=True)
class Note:
    """One thing to say. Parameters are plain strings; the texts sanitise what came from outside."""

    code: NoteCode
    params: tuple[tuple[str, str], ...] = ()
    reasons: tuple[Waiting, ...] = ()

    def get(self, name: str, default: str = "") -> str:
        return dict(self.params).get(name, default)


def note(code: NoteCode, *reasons: Waiting, **params: object) -> Note:
    """Build a note; values are turned into strings, None is left out."""
    return Note(code, tuple((name, str(value)) for name, value in params.items() if value is not None), reasons)


def to_json(found: Note) -> str:
    """The note as text, so that what was promised can be said after a restart."""
    reasons = [[reason.code, reason.params] for reason in found.reasons]
    return json.dumps([found.code.value, found.params, reasons], ensure_ascii=False, separators=(",", ":"))


def from_json(text: str) -> Note | None:
    """The note that `to_json` wrote; None for anything else (another version may have stored it)."""
    try:
        code, params, reasons = json.loads(text)
        return Note(
            NoteCode(code),
            tuple((str(name), str(value)) for name, value in params),
            tuple(Waiting(str(kind), tuple((str(n), str(v)) for n, v in given)) for kind, given in reasons),
        )
    except (ValueError, TypeError):
        return None
