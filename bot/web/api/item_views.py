"""Items, attempts, questions and history as people see them over HTTP."""

from __future__ import annotations

from collections.abc import Sequence

from bot.backlog import Listed
from bot.domain.attempt import Attempt
from bot.domain.model import Item
from bot.domain.questions import Question
from bot.domain.repository import RepoRecord
from bot.domain.timestamps import iso
from bot.protocols.ledger import Audit
from bot.web.api.item_forms import (
    AttemptView,
    FoundProblem,
    HistoryLine,
    ItemView,
    OfferedChoice,
    QuestionView,
)


def attempt_view(attempt: Attempt, repo: RepoRecord) -> AttemptView:
    """One attempt as people see it."""
    failure = attempt.failure
    return AttemptView(
        id=attempt.id,
        repo=repo.full_name,
        issue=attempt.key.number,
        number=attempt.number,
        fence=attempt.fence,
        kind=attempt.kind.value,
        phase=attempt.phase.value,
        live=attempt.live,
        worker=attempt.worker.name,
        worker_kind=attempt.worker.kind.value,
        branch=attempt.branch,
        base_sha=attempt.base_sha,
        run_id=attempt.run_id,
        claimed_at=attempt.claimed_at,
        started_at=attempt.started_at,
        lease_until=attempt.lease_until,
        ended_at=attempt.ended_at,
        outcome=attempt.outcome.value if attempt.outcome is not None else None,
        reason=failure.reason.value if failure is not None else None,
        detail=failure.detail if failure is not None else None,
        progress=attempt.progress.text if attempt.progress is not None else None,
    )


def _question(question: Question) -> QuestionView:
    asked = question.asked
    return QuestionView(
        number=question.number,
        header=asked.header,
        text=asked.text,
        choices=[OfferedChoice(label=choice.label, description=choice.description) for choice in asked.choices],
        several=asked.several,
        default=asked.default,
        status=question.status,
        asked_at=iso(question.asked_at),
        deadline=iso(question.deadline),
        attempt=question.attempt,
        comment_id=question.comment_id,
        answer=list(question.answer),
        answered_by=question.answered_by.login if question.answered_by is not None else None,
        answered_at=iso(question.answered_at),
    )


def item_view(item: Item, line: Listed, questions: Sequence[Question]) -> ItemView:
    """One item with everything that is known of it."""
    return ItemView(
        **line,
        since=iso(item.since),
        not_before=iso(item.not_before),
        type=item.spec.type,
        locks=list(item.spec.locks),
        depends_on=list(item.spec.depends_on),
        needs=list(item.spec.needs),
        held_by=item.held_by,
        approved_by=item.approver.login if item.approver else None,
        approved_at=iso(item.snapshot.approved_at) if item.snapshot is not None else None,
        last_failure=item.last_failure.reason.value if item.last_failure is not None else None,
        findings=[FoundProblem(code=f.code, what=f.what, remedy=f.remedy) for f in item.findings],
        questions=[_question(question) for question in questions],
    )


def history_line(line: Audit) -> HistoryLine:
    """One line of the history."""
    return HistoryLine(
        at=iso(line.at),
        kind=line.kind,
        actor=line.actor,
        cause=line.cause,
        from_state=line.from_state,
        to_state=line.to_state,
        attempt=line.attempt,
        fence=line.fence,
    )
