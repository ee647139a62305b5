"""What a comment that asks leaves in itself, so that its questions outlive a lost ledger. Pure.

Promise: what `of_round` wrote, `round_memory` gives back. It holds what the comment says to people anyway: the numbers,
words and choices, whose attempt asked, and until when. A round that is too long for a marker leaves nothing; the
agent then asks again. Whoever reads one has checked that the comment's author and last editor are the bot.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bot.domain.memory import marker_bytes, marker_text
from bot.domain.model import AttemptId, IssueKey
from bot.domain.questions import PATIENCE, AskedQuestion, Question, from_text

VERSION: Final = 1
"""The form that this code writes; another one is not read."""

MAX_PACKED: Final = 6_000
"""Characters of a marker's value; see `bot/texts/markers.py`."""

MAX_UNPACKED: Final = 200_000
"""Bytes that a value may hold: more than all words of the longest round."""


@dataclass(frozen=True, slots=True)
class RoundMemory:
    """The questions of one comment, with the numbers that people type. `until`: when reminders end, if time runs."""

    attempt: AttemptId
    questions: tuple[tuple[int, AskedQuestion], ...]
    until: datetime | None = None


def of_round(attempt: str, questions: str, until: str | None) -> str:
    """The marker's value for what `bot/domain/questions.py: to_text` wrote; empty when it is too long."""
    text = json.dumps([VERSION, attempt, until, questions], ensure_ascii=False, separators=(",", ":"))
    raw = zlib.compress(text.encode("utf-8", "surrogatepass"), 9)
    packed = marker_text(raw)
    return packed if len(packed) <= MAX_PACKED else ""


def round_memory(value: str) -> RoundMemory | None:
    """What `of_round` wrote; None for anything else."""
    try:
        version, attempt, until, questions = _unpack(value)
        if version != VERSION or not attempt:
            return None
        numbered = from_text(str(questions))
        end = None if until is None else datetime.fromisoformat(str(until))
    except (ValueError, TypeError, zlib.error):
        return None
    return RoundMemory(AttemptId(str(attempt)), numbered, end) if numbered else None


def asked_again(
    key: IssueKey, found: Sequence[tuple[RoundMemory, int, datetime]], attempt: AttemptId | None
) -> tuple[Question, ...]:
    """The open questions of that attempt, from (memory, comment's id, when it was written) of the issue's comments.

    Answers are not remembered: the comments that gave them are still there and are read again.
    """
    records = [
        Question(
            key=key,
            number=number,
            attempt=memory.attempt,
            asked=asked,
            asked_at=at,
            deadline=memory.until or at + PATIENCE,
            comment_id=comment,
        )
        for memory, comment, at in found
        if memory.attempt == attempt
        for number, asked in memory.questions
    ]
    return tuple({record.number: record for record in records}.values())


def _unpack(value: str) -> Any:
    return json.loads(zlib.decompressobj().decompress(marker_bytes(value), MAX_UNPACKED))
