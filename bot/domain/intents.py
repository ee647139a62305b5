"""A human command as it is stored, and the fingerprint of its text, compared when it is executed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bot.domain.model import IssueKey, Person

API_INTENT = "api:"
"""How the ids of commands begin that came over the API."""


FORGOTTEN_AFTER = timedelta(days=30)
"""Commands that were carried out are kept this long. What is older and found in a list is not looked at again: nobody
could tell whether it ran."""


class IntentSource(StrEnum):
    COMMENT = "comment"
    API = "api"


@dataclass(frozen=True, slots=True)
class Intent:
    """A human command, stored once under its natural key and executed at most once.

    `id` is `comment:<comment id>:<index>` or `api:<request id>`. `verb` names a row of the command table; for a
    line that could not be understood `verb` is empty and `error` says what was wrong and where.
    """

    id: str
    key: IssueKey
    source: IntentSource
    verb: str
    args: tuple[str, ...]
    actor: Person
    created_at: datetime
    comment_id: int | None = None
    comment_node: str | None = None
    body_sha256: str | None = None
    error: str | None = None
    edited: bool = False
    attempts: int = 0


def body_digest(text: str) -> str:
    """SHA-256 (hex) of the text as UTF-8; lone surrogates that JSON can carry are kept, not refused."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
