"""With what the next attempt begins: the conversation that goes on, and the answers that it gets.

Promises: an attempt gets people's answers once and all together, when every question has one; from then on they are
not changed any more. A conversation goes on after questions and after an interruption from outside, never after a
result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bot.domain.attempt import Attempt, Outcome
from bot.domain.failures import CONTINUES
from bot.domain.model import AttemptId
from bot.domain.questions import (
    Question,
    QuestionStatus,
    latest_round,
)


def hand_answers(
    attempt: Attempt, questions: Sequence[Question], resumable: AttemptId | None, *, fresh: bool
) -> tuple[Attempt, tuple[Question, ...]]:
    """The attempt with the conversation that it goes on with, and the questions whose answers it gets now.

    The latter are those of `questions` that change. From here on their answers are not changed any more.
    """
    round_ = latest_round(questions)
    if any(question.status is not QuestionStatus.ANSWERED for question in round_):
        return attempt, ()
    if attempt.external or (round_ and round_[0].attempt == attempt.id):
        return attempt, ()
    delivered = tuple(replace(question, delivered=attempt.id) for question in round_ if question.delivered is None)
    if attempt.resumes is None and resumable is not None and not fresh and attempt.report is None:
        attempt = replace(attempt, resumes=resumable)
    return attempt, delivered


def resumable(attempts: Sequence[Attempt]) -> AttemptId | None:
    """The attempt whose conversation may go on, if its transcript is still there.

    The last one, when something outside interrupted it; else the last that asked, unless a later one ended with a
    result.
    """
    ended = [attempt for attempt in attempts if attempt.outcome is not None]
    for attempt in reversed(ended):
        if attempt.outcome is Outcome.PUBLISHED:
            return None
        if attempt.outcome is Outcome.ASKED or (attempt is ended[-1] and interrupted(attempt)):
            return attempt.id if _named(attempt) else None
    return None


def interrupted(attempt: Attempt) -> bool:
    """Something outside ended its agent's work, and the conversation was left for the next attempt."""
    return attempt.failure is not None and attempt.failure.reason in CONTINUES and _named(attempt)


def _named(attempt: Attempt) -> bool:
    return attempt.report is not None and attempt.report.session_id is not None
