"""Questions that an agent asks people, and words of people to it: the records, and how the time for an answer runs.

An attempt that ends by asking may ask several questions at once; the questions of one attempt are a round. What the
agent wrote is data from an untrusted place: it is bounded and cleaned where it enters, and defused where it is shown
(`bot/domain/sanitise.py`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from bot.domain.model import AttemptId, IssueKey, Item, Person
from bot.domain.policy_model import Policy

PATIENCE: Final = timedelta(days=7)
"""How long the locks and the place of an item wait for an answer. An answer counts after that as well."""

REMINDERS: Final = (timedelta(hours=24), timedelta(hours=72))
"""After how long people are reminded: the next day, and when half of the week is over."""

DIGEST: Final = timedelta(hours=24)
"""One person is reminded once in this time, of everything that waits for them."""

MAX_QUESTIONS: Final = 8
"""Questions in one round; more is a form that nobody fills in on a phone."""

MAX_CHOICES: Final = 10
"""Choices of one question."""

MAX_ASKED_TEXT: Final = 2_000
"""Characters of a question: a screenful."""

MAX_LABEL: Final = 200
"""Characters of a choice's label, and of a question's header."""

MAX_DESCRIPTION: Final = 600
"""Characters of what a choice means."""

MAX_SEEN: Final = 500
"""Comments of one round that are remembered as considered; an issue with more is no conversation any more."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer that the agent offers: what is chosen, and what it would mean."""

    label: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """One question as the agent asked it. `id` is unique within the attempt's ask; `default` is the label of a choice.

    Without choices any words are an answer. `several`: more than one choice may be taken.
    """

    id: str
    text: str
    header: str = ""
    choices: tuple[Choice, ...] = ()
    several: bool = False
    default: str | None = None


class QuestionStatus(StrEnum):
    """Expired: nobody answered in time, and an answer still counts. Withdrawn: nobody needs the answer any more."""

    OPEN = "open"
    ANSWERED = "answered"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Question:
    """A question on an issue. `number` is its number there, which people type.

    `deadline` is None while the time stands still (the item is held, the repository paused); `left` is then how many
    seconds there are. `delivered` is the attempt that got the answer: from then on it is not changed. The first
    question of a round remembers which comments were considered (`seen`: comment id and fingerprint) for all of it.
    """

    key: IssueKey
    number: int
    attempt: AttemptId
    asked: AskedQuestion
    asked_at: datetime
    deadline: datetime | None
    left: int = 0
    status: QuestionStatus = QuestionStatus.OPEN
    answer: tuple[str, ...] = ()
    answered_by: Person | None = None
    answered_at: datetime | None = None
    answer_comment: int | None = None
    delivered: AttemptId | None = None
    reminded: int = 0
    reminded_at: datetime | None = None
    comment_id: int | None = None
    seen: tuple[tuple[int, str], ...] = ()
    told_late: bool = False
    revision: int = 0

    @property
    def waits(self) -> bool:
        """Whether an answer is wanted."""
        return self.status in {QuestionStatus.OPEN, QuestionStatus.EXPIRED}

    @property
    def changeable(self) -> bool:
        """Whether an answer still counts: none was given, or nobody works with it yet."""
        return self.waits or (self.status is QuestionStatus.ANSWERED and self.delivered is None)

    @property
    def answer_words(self) -> str:
        """The answer as one text."""
        return ", ".join(self.answer)


@dataclass(frozen=True, slots=True)
class Steer:
    """One sentence for one attempt. `seq` counts within the attempt; `told`: its author knows what became of it.

    `delivered_at` is written where signs of life are heard, and by no decision.
    """

    id: str
    key: IssueKey
    attempt: AttemptId
    seq: int
    text: str
    by: Person
    at: datetime
    comment_id: int | None = None
    delivered_at: datetime | None = None
    told: bool = False


def asked_now(
    key: IssueKey,
    attempt: AttemptId,
    asked: Sequence[AskedQuestion],
    known: Iterable[Question],
    now: datetime,
) -> tuple[Question, ...]:
    """The questions of an attempt as records, with the numbers after those that the item has had."""
    first = max((question.number for question in known), default=0) + 1
    return tuple(
        Question(key, first + index, attempt, question, now, now + PATIENCE) for index, question in enumerate(asked)
    )


def latest_round(questions: Sequence[Question]) -> tuple[Question, ...]:
    """The questions that were asked last, in their order; none when the item never had one."""
    if not questions:
        return ()
    attempt = max(questions, key=lambda question: question.number).attempt
    return tuple(sorted((q for q in questions if q.attempt == attempt), key=lambda question: question.number))


def first_in(round_: Sequence[Question]) -> Question:
    """The question that remembers for its round."""
    return min(round_, key=lambda question: question.number)


def considered(round_: Sequence[Question]) -> frozenset[tuple[int, str]]:
    """Which comments, with which words, were looked at already."""
    return frozenset(first_in(round_).seen) if round_ else frozenset()


def stopped(question: Question, at: datetime) -> Question:
    """The time for an answer stands still from then on."""
    if question.deadline is None:
        return question
    left = max(0, int((question.deadline - max(at, question.asked_at)).total_seconds()))
    return replace(question, deadline=None, left=left)


def running(question: Question, at: datetime) -> Question:
    """The time for an answer runs on from then."""
    if question.deadline is not None:
        return question
    return replace(question, deadline=at + timedelta(seconds=question.left))


def due_reminder(question: Question) -> datetime | None:
    """When people are to be reminded next; None while the time stands still and when all reminders were given."""
    if question.deadline is None or question.reminded >= len(REMINDERS):
        return None
    return question.deadline - PATIENCE + REMINDERS[question.reminded]


# --- as text, so that what was promised can be said after a restart ---------------------------------


def to_text(questions: Sequence[Question]) -> str:
    """What people are asked, as one text."""
    return json.dumps(
        [
            [
                question.number,
                question.asked.text,
                [[choice.label, choice.description] for choice in question.asked.choices],
                question.asked.several,
                question.asked.default,
                question.asked.header,
            ]
            for question in questions
        ],
        ensure_ascii=False,
        separators=(",", ":"),
    )


def from_text(text: str) -> tuple[tuple[int, AskedQuestion], ...]:
    """The numbers and questions that `to_text` wrote; nothing for anything else."""
    try:
        return tuple(
            (
                int(number),
                AskedQuestion(
                    str(number),
                    str(words),
                    str(header),
                    tuple(Choice(str(label), str(description)) for label, description in choices),
                    bool(several),
                    None if default is None else str(default),
                ),
            )
            for number, words, choices, several, default, header in json.loads(text)
        )
    except (ValueError, TypeError):
        return ()


def addressee(item: Item | None, policy: Policy) -> str | None:
    """Who is asked: the person who approved the work, never the author of the issue."""
    approver = item.snapshot.approver if item is not None and item.snapshot is not None else None
    if approver is not None:
        return approver.login
    return None if policy.assignee in {"approver", "none"} else policy.assignee


def numbers_of(questions: Sequence[Question]) -> str:
    """The numbers by which people answer, in one line."""
    return ", ".join(str(question.number) for question in questions)
