"""Questions of agents, and what attempts leave for the next. Saved only on the revision that was decided on."""

from __future__ import annotations

import zlib
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, bindparam, delete, select, update

from bot.domain.carried import Carried
from bot.domain.model import AttemptId, IssueKey, RepoKey
from bot.domain.questions import Question, QuestionStatus, Steer
from bot.protocols.ledger import CarriedRow
from bot.store.dialect import insert_new
from bot.store.items import issue_key_of
from bot.store.tables import carried, questions, steers
from bot.store.verbs import Verbs, given, in_given_repo, of_given_issue, of_issue, update_changed


def question_values(question: Question) -> dict[str, Any]:
    """The columns of a record, without its key, number and revision."""
    return {
        "attempt": question.attempt,
        "asked": question.asked,
        "asked_at": question.asked_at,
        "deadline": question.deadline,
        "seconds_left": question.left,
        "status": question.status,
        "answer": question.answer,
        "answered_by": question.answered_by,
        "answered_at": question.answered_at,
        "answer_comment": question.answer_comment,
        "delivered": question.delivered,
        "reminded": question.reminded,
        "reminded_at": question.reminded_at,
        "comment_id": question.comment_id,
        "seen": question.seen,
        "told_late": question.told_late,
    }


def question_of(row: Row[Any]) -> Question:
    """The record of a row."""
    return Question(
        key=issue_key_of(row),
        number=row.ordinal,
        attempt=AttemptId(row.attempt),
        asked=row.asked,
        asked_at=row.asked_at,
        deadline=row.deadline,
        left=row.seconds_left,
        status=row.status,
        answer=row.answer,
        answered_by=row.answered_by,
        answered_at=row.answered_at,
        answer_comment=row.answer_comment,
        delivered=row.delivered,
        reminded=row.reminded,
        reminded_at=row.reminded_at,
        comment_id=row.comment_id,
        seen=row.seen,
        told_late=row.told_late,
        revision=row.revision,
    )


_QUESTIONS = select(questions).where(of_given_issue(questions)).order_by(questions.c.ordinal)
_WAITING = (
    select(questions)
    .where(in_given_repo(questions), questions.c.status.in_([QuestionStatus.OPEN, QuestionStatus.EXPIRED]))
    .order_by(questions.c.number, questions.c.ordinal)
)
_STEERS = select(steers).where(of_given_issue(steers)).order_by(steers.c.at, steers.c.attempt, steers.c.seq)
_UNHEARD = (
    select(steers).where(steers.c.attempt == bindparam("of"), steers.c.delivered_at.is_(None)).order_by(steers.c.seq)
)


class QuestionVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about questions."""

    def questions(self, key: IssueKey) -> list[Question]:
        return [question_of(row) for row in self.connection.execute(_QUESTIONS, given(key))]

    def waiting_questions(self, repo: RepoKey) -> list[Question]:
        return [question_of(row) for row in self.connection.execute(_WAITING, given(repo))]

    def insert_question(self, question: Question) -> bool:
        return insert_new(
            self.connection,
            questions,
            {
                "installation": question.key.installation,
                "repo": question.key.repo,
                "number": question.key.number,
                "ordinal": question.number,
                "revision": question.revision,
                **question_values(question),
            },
        )

    def save_question(self, before: Question, after: Question) -> bool:
        if (before.key, before.number) != (after.key, after.number):
            raise ValueError(f"question {before.number} of {before.key} cannot be saved under another number")
        place = {**given(before.key), "ordinal": before.number}
        return update_changed(
            self.connection, questions, place, before.revision, question_values(before), question_values(after)
        )

    def note_question_comment(self, key: IssueKey, attempt: AttemptId, comment_id: int) -> None:
        """Beside the revision: where a question stands is no part of any decision about it."""
        self.connection.execute(
            update(questions)
            .where(of_issue(questions, key), questions.c.attempt == attempt, questions.c.comment_id.is_(None))
            .values(comment_id=comment_id)
        )


class SteerVerbs(Verbs):
    """The verbs about words of people to agents."""

    def steers(self, key: IssueKey) -> list[Steer]:
        return [_steer_of(row) for row in self.connection.execute(_STEERS, given(key))]

    def put_steer(self, steer: Steer) -> bool:
        return insert_new(
            self.connection,
            steers,
            {
                "id": steer.id,
                "installation": steer.key.installation,
                "repo": steer.key.repo,
                "number": steer.key.number,
                "attempt": steer.attempt,
                "seq": steer.seq,
                "text": steer.text,
                "by": steer.by,
                "at": steer.at,
                "comment_id": steer.comment_id,
                "delivered_at": steer.delivered_at,
                "told": steer.told,
            },
        )

    def tell_steer(self, id_: str) -> None:
        self.connection.execute(update(steers).where(steers.c.id == id_).values(told=True))

    def unheard(self, attempt: AttemptId) -> list[Steer]:
        return [_steer_of(row) for row in self.connection.execute(_UNHEARD, {"of": attempt})]

    def note_heard(self, attempt: AttemptId, up_to: int, at: datetime) -> int:
        new = and_(steers.c.attempt == attempt, steers.c.seq <= up_to, steers.c.delivered_at.is_(None))
        return self.connection.execute(update(steers).where(new).values(delivered_at=at)).rowcount


def _steer_of(row: Row[Any]) -> Steer:
    return Steer(
        id=row.id,
        key=issue_key_of(row),
        attempt=AttemptId(row.attempt),
        seq=row.seq,
        text=row.text,
        by=row.by,
        at=row.at,
        comment_id=row.comment_id,
        delivered_at=row.delivered_at,
        told=row.told,
    )


class CarriedVerbs(Verbs):
    """The verbs about what attempts leave for the next. The bytes are compressed: a conversation repeats itself."""

    def put_carried(self, row: CarriedRow, data: bytes) -> None:
        self.connection.execute(delete(carried).where(carried.c.attempt == row.attempt, carried.c.kind == row.kind))
        values = {"sha256": row.sha256, "size": row.size, "data": zlib.compress(data, 6), "at": row.at}
        insert_new(self.connection, carried, {"attempt": row.attempt, "kind": row.kind, **values})

    def carried(self, attempt: AttemptId, kind: Carried) -> CarriedRow | None:
        columns = (carried.c.attempt, carried.c.kind, carried.c.sha256, carried.c.size, carried.c.at)
        query = select(*columns).where(carried.c.attempt == attempt, carried.c.kind == kind)
        row = self.connection.execute(query).one_or_none()
        return None if row is None else CarriedRow(AttemptId(row.attempt), row.kind, row.sha256, row.size, row.at)

    def carried_bytes(self, attempt: AttemptId, kind: Carried) -> bytes | None:
        query = select(carried.c.data).where(carried.c.attempt == attempt, carried.c.kind == kind)
        data = self.connection.execute(query).scalar_one_or_none()
        return None if data is None else zlib.decompress(data)

    def drop_carried(self, before: datetime, limit: int) -> int:
        """Forgets what is older, at most so many; how many went."""
        query = select(carried.c.attempt, carried.c.kind).where(carried.c.at < before).limit(limit)
        old = self.connection.execute(query).all()
        for row in old:
            self.connection.execute(delete(carried).where(carried.c.attempt == row.attempt, carried.c.kind == row.kind))
        return len(old)
