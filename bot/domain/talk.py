"""The conversation about an item: who said what. A conversation is an issue; messages are comments and live words.

A comment of a person and a comment of the bot are one message each. A worker's status is a message only: it is for
those who watch, and would be noise on the issue.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, assert_never

from bot.domain.model import IssueKey
from bot.domain.notes import NoteCode
from bot.domain.sanitise import cap, redact, visible

MAX_MESSAGE: Final = 8_000
"""Characters that are kept of a message; nobody reads more in a conversation."""

MAX_STATUS: Final = 1_000
"""Characters of a worker's status: a few sentences."""

CHAT_ONCE: Final = "chat:"
"""How the names of comments begin that the bot writes for somebody who used the API."""


class SenderType(StrEnum):
    WORKER = "worker"
    HUMAN = "human"
    SYSTEM = "system"


class MessageType(StrEnum):
    """A request wants something from the other side; a response answers; a status only tells."""

    REQUEST = "request"
    RESPONSE = "response"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `id` is 0 before it is stored; `once` names the comment that the bot writes for it."""

    key: IssueKey
    sender_type: SenderType
    sender: str
    type: MessageType
    text: str
    at: datetime
    parent: int | None = None
    comment_id: int | None = None
    once: str | None = None
    id: int = 0


def words(text: str, limit: int = MAX_MESSAGE) -> str:
    """A text as it is kept: nothing invisible, no secrets, of bounded length."""
    return cap(redact(visible(text)).strip(), limit)


def once_of(person_id: int, key: IssueKey, request: str) -> str:
    """The name of the comment for this request of a person; the same request gives the same name."""
    return CHAT_ONCE + hashlib.sha256(f"{person_id}:{key}:{request}".encode()).hexdigest()[:32]


def type_of(code: NoteCode) -> MessageType:
    """What kind of message a comment of the bot is."""
    match code:
        case (
            NoteCode.DONE
            | NoteCode.ALREADY_SO
            | NoteCode.DENIED
            | NoteCode.NOT_UNDERSTOOD
            | NoteCode.NOT_AVAILABLE
            | NoteCode.EDITED_COMMAND
            | NoteCode.COMMENT_CHANGED
            | NoteCode.TOO_OLD
            | NoteCode.ROLE_UNREADABLE
            | NoteCode.NOT_TRACKED
            | NoteCode.CANNOT
            | NoteCode.HELP
            | NoteCode.WHY
            | NoteCode.STATUS
            | NoteCode.NEXT
            | NoteCode.POLICY
            | NoteCode.COST
            | NoteCode.MERGE_REFUSED
            | NoteCode.MERGED
            | NoteCode.ANSWERED
            | NoteCode.ANSWER_UNCLEAR
            | NoteCode.ANSWER_LATE
        ):
            return MessageType.RESPONSE
        case (
            NoteCode.QUESTION
            | NoteCode.LOOK
            | NoteCode.LOOK_REMINDER
            | NoteCode.REMINDER
            | NoteCode.FAILED
            | NoteCode.CI_FAILED
            | NoteCode.REVIEW_WANTED
            | NoteCode.PULL_CLOSED
            | NoteCode.LABEL_REFUSED
            | NoteCode.APPROVAL_VOID
            | NoteCode.PLAN_CHANGED
            | NoteCode.ISOLATION
            | NoteCode.FUSE
            | NoteCode.SPOKEN
        ):
            return MessageType.REQUEST
        case NoteCode.LABEL_PUT_BACK:
            return MessageType.STATUS
        case _:
            assert_never(code)
