"""The life of a question: asked by an attempt, answered by people, handed to the next attempt, not wanted any more.

Promises: only people with the role answer, and in words that surely are an answer; what they wrote last counts until
an attempt got it, and whoever changes it later is told once that it came too late. An answered item goes on before
others of its kind. Every comment is considered once for each of its wordings, so a repeated look says nothing twice.

Known race: a comment may be changed between the look at it and the start of the next attempt. The look that starts the
attempt reads the comments again; what was changed after it is the late case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bot.domain.approval import ROLE_RETRY, role_name
from bot.domain.attempt import Attempt, AttemptPhase, Outcome, Proof, WorkerReport
from bot.domain.draft import BOT, Draft
from bot.domain.effects import React
from bot.domain.facts import Reply
from bot.domain.going_on import hand_answers
from bot.domain.lifecycle import ItemEvent
from bot.domain.model import Item, ItemState, Person
from bot.domain.notes import Note, NoteCode, note
from bot.domain.patience import mind_time
from bot.domain.permissions import Capability, Denied, decide
from bot.domain.policy_model import Policy
from bot.domain.questions import (
    MAX_SEEN,
    AskedQuestion,
    Question,
    QuestionStatus,
    addressee,
    asked_now,
    due_reminder,
    first_in,
    latest_round,
    numbers_of,
    to_text,
)
from bot.domain.replies import read_reply, read_words

SEEN = "eyes"
REFUSED = "confused"

ANSWERABLE = frozenset({ItemState.NEEDS_INPUT, ItemState.READY, ItemState.IN_PROGRESS})
"""States in which comments are read for answers, or for changes of answers."""


# --- asking -----------------------------------------------------------------------------------------


def put_questions(
    draft: Draft, policy: Policy, attempt: Attempt, questions: Sequence[AskedQuestion]
) -> tuple[Question, ...]:
    """Put the attempt's questions to people; those that it asked while it ran are not asked again."""
    known = {question.asked for question in draft.questions if question.attempt == attempt.id}
    new = [asked for asked in questions if asked not in known]
    fresh = asked_now(draft.facts.key, attempt.id, new, draft.questions, draft.now)
    for question in fresh:
        draft.put_question(question)
    if fresh:
        draft.say(f"ask:{attempt.id}:{fresh[0].number}", question_note(draft, policy, fresh))
    return fresh


def too_many(draft: Draft, policy: Policy, attempt: Attempt) -> bool:
    """Whether the item has asked as often as it may."""
    rounds = {question.attempt for question in draft.questions} - {attempt.id}
    return len(rounds) >= policy.questions.max_rounds


def await_answer(draft: Draft, policy: Policy, attempt: Attempt, report: WorkerReport) -> None:
    """The attempt ends with its questions: nothing is used up, and its place is free while people think."""
    item = draft.item
    assert item is not None
    put_questions(draft, policy, attempt, report.asked)
    numbers = [str(question.number) for question in draft.questions if question.attempt == attempt.id]
    draft.end(Outcome.ASKED, proof=Proof.WORKER_REPORTED)
    draft.free_locks = not policy.keep_locks
    draft.move(
        ItemEvent.ASKED,
        actor=attempt.worker.name,
        cause=f"question {', '.join(numbers)}",
        not_before=None,
        fresh=False,
        answered=False,
        waiting=(),
        position=None,
    )
    waiting = [question for question in latest_round(draft.questions) if question.waits]
    # People may have answered already, while the worker waited.
    draft.at(due_reminder(first_in(waiting)) if waiting else draft.now)


def question_note(draft: Draft, policy: Policy, questions: Sequence[Question]) -> Note:
    """What is said where a question is asked."""
    deadline = questions[0].deadline
    return note(
        NoteCode.QUESTION,
        approver=addressee(draft.item, policy),
        attempt=questions[0].attempt,
        questions=to_text(questions),
        until=deadline.isoformat() if deadline is not None else None,
    )


# --- answers ----------------------------------------------------------------------------------------


def mind_questions(draft: Draft, policy: Policy) -> None:
    """Take what people answered, go on when nothing is open any more, and let time do its part."""
    item = draft.item
    round_ = latest_round(draft.questions)
    if item is None or not round_ or item.state not in ANSWERABLE:
        return
    for reply in sorted(draft.facts.replies, key=lambda reply: (reply.at, reply.id)):
        _consider(draft, policy, reply, round_)
        round_ = latest_round(draft.questions)
    _hand_over(draft)
    if item.state is ItemState.NEEDS_INPUT and item.withheld is None:
        _go_on(draft, round_)
    if any(question.waits for question in latest_round(draft.questions)):
        mind_time(draft, policy)


def _consider(draft: Draft, policy: Policy, reply: Reply, round_: tuple[Question, ...]) -> None:
    # A comment that has answered before is read anew, as if its questions were open.
    own = {question.number for question in round_ if question.answer_comment == reply.id}
    reading = read_reply(reply.body, [replace(q, status=QuestionStatus.OPEN) if q.number in own else q for q in round_])
    if reading.answers or reading.unclear:
        if reply.role is None:
            draft.at(draft.now + ROLE_RETRY)
            return
        verdict = decide(Capability.ANSWER, reply.role, policy.roles)
        if isinstance(verdict, Denied):
            # Whoever may not answer may talk here; only an answer is refused in words, once.
            if reading.answers:
                _refuse(draft, reply, round_, verdict)
        elif reading.answers:
            _take(draft, reply, round_, reading.answers, unclear=reading.unclear)
        elif any(question.waits or (question.changeable and question.number in own) for question in round_):
            _unclear(draft, reply, round_)
    _remember(draft, reply)


def _remember(draft: Draft, reply: Reply) -> None:
    first = first_in(latest_round(draft.questions))
    seen = (*(entry for entry in first.seen if entry[0] != reply.id), (reply.id, reply.digest))
    draft.put_question(replace(first, seen=seen[-MAX_SEEN:]))


def _refuse(draft: Draft, reply: Reply, round_: tuple[Question, ...], verdict: Denied) -> None:
    first = first_in(round_)
    draft.words.append(React(draft.facts.key, reply.id, REFUSED))
    draft.say(
        f"answer-denied:{first.attempt}:{first.number}:{reply.author.id}",
        note(
            NoteCode.DENIED,
            verb="answer",
            actor=reply.author.login,
            needs=role_name(verdict.needs),
            has=role_name(verdict.has),
        ),
    )


def _unclear(draft: Draft, reply: Reply, round_: tuple[Question, ...]) -> None:
    """One polite reply to each person in a round; people may also just talk."""
    first = first_in(round_)
    waiting = [question for question in round_ if question.waits] or list(round_)
    draft.say(
        f"answer-unclear:{first.attempt}:{first.number}:{reply.author.id}",
        note(NoteCode.ANSWER_UNCLEAR, actor=reply.author.login, questions=to_text(waiting)),
    )


def _take(
    draft: Draft,
    reply: Reply,
    round_: tuple[Question, ...],
    answers: tuple[tuple[int, tuple[str, ...]], ...],
    *,
    unclear: bool,
) -> None:
    by_number = {question.number: question for question in round_}
    taken: list[Question] = []
    late: list[Question] = []
    for number, words in answers:
        question = by_number[number]
        if question.answer == words and question.answer_comment == reply.id:
            continue
        if question.changeable:
            taken.append(_answered(draft, question, words, reply.author, reply.id))
        else:
            late.append(question)
    if taken:
        draft.words.append(React(draft.facts.key, reply.id, SEEN))
        draft.say(f"answer:{reply.id}:{reply.digest[:12]}", taken_note(draft, taken, reply.author.login))
    elif late:
        _too_late(draft, late, reply.author.login)
    if unclear and not late:
        _unclear(draft, reply, latest_round(draft.questions))


def _answered(
    draft: Draft, question: Question, words: tuple[str, ...], by: Person, comment: int | None = None
) -> Question:
    """The question with this answer; an attempt that waits for it gets it as it is."""
    live = draft.live
    after = replace(
        question,
        status=QuestionStatus.ANSWERED,
        answer=words,
        answered_by=by,
        answered_at=draft.now,
        answer_comment=comment,
        delivered=live.id if live is not None and live.id == question.attempt else None,
    )
    draft.put_question(after)
    if after.delivered is not None:
        # Whoever waits for it hears when the repository moves.
        draft.wake(draft.facts.key.repo_key)
    draft.note_history("question.answered", actor=by.login, cause=f"question {question.number}")
    return after


def _too_late(draft: Draft, late: Sequence[Question], actor: str) -> None:
    """The agent works with the answer that it got; said once for each question."""
    news = [question for question in late if not question.told_late]
    for question in news:
        draft.put_question(replace(question, told_late=True))
    if news:
        draft.say(
            f"answer-late:{news[0].attempt}:{news[0].number}",
            note(NoteCode.ANSWER_LATE, actor=actor, questions=numbers_of(news), answer=news[0].answer_words),
        )


def answer_by_command(draft: Draft, number: int, words: str, by: Person) -> Note | None:
    """`/tgs answer`: the outcome, or None when the item has no question of that number."""
    question = next((question for question in draft.questions if question.number == number), None)
    if question is None or question.status is QuestionStatus.WITHDRAWN:
        return None
    if not question.changeable or draft.state not in ANSWERABLE:
        return note(NoteCode.ANSWER_LATE, actor=by.login, questions=str(number), answer=question.answer_words)
    answer = read_words(question.asked, words)
    if answer is None:
        return note(NoteCode.ANSWER_UNCLEAR, actor=by.login, questions=to_text([question]))
    return taken_note(draft, [_answered(draft, question, answer, by)], by.login)


def taken_note(draft: Draft, taken: Sequence[Question], actor: str) -> Note:
    """The outcome of an answer: what was understood, and what is still open."""
    open_ = [question for question in latest_round(draft.questions) if question.waits]
    return note(
        NoteCode.ANSWERED,
        actor=actor,
        taken=to_text([replace(question, asked=replace(question.asked, choices=())) for question in taken]),
        answers="\x1f".join(question.answer_words for question in taken),
        open=numbers_of(open_),
    )


def _go_on(draft: Draft, round_: tuple[Question, ...]) -> None:
    """Every question has its answer: the item is next of its kind."""
    if any(question.status is not QuestionStatus.ANSWERED for question in round_):
        return
    by = {question.answered_by.login: None for question in round_ if question.answered_by is not None}
    draft.move(
        ItemEvent.ANSWERED,
        actor=", ".join(by) or BOT,
        cause=f"question {numbers_of(round_)}",
        answered=True,
        not_before=None,
    )


def _hand_over(draft: Draft) -> None:
    live = draft.live
    if live is None or live.phase not in {AttemptPhase.CLAIMED, AttemptPhase.DISPATCHING, AttemptPhase.RUNNING}:
        return
    assert draft.item is not None
    after, delivered = hand_answers(live, draft.questions, draft.facts.resumable, fresh=draft.item.fresh)
    if after != live:
        draft.step(resumes=after.resumes)
    for question in delivered:
        draft.put_question(question)


# --- the end ----------------------------------------------------------------------------------------


def withdraw_questions(draft: Draft) -> None:
    """An item that ended, or was sent back, waits for no answer; neither does an attempt that went on without one."""
    item = draft.item
    if item is not None and item.state in {ItemState.READY, ItemState.IN_PROGRESS, ItemState.IN_REVIEW}:
        for question in draft.questions:
            if question.waits and (draft.live is None or draft.live.id != question.attempt):
                draft.put_question(replace(question, status=QuestionStatus.WITHDRAWN, deadline=None))
    if item is None or not (item.terminal or item.state is ItemState.PROPOSED):
        return
    if item.answered:
        draft.change(answered=False)
    for question in draft.questions:
        if question.changeable:
            draft.put_question(replace(question, status=QuestionStatus.WITHDRAWN, deadline=None))
            if item.pull is None and draft.live is None:
                draft.free_locks = True


def reads_replies(item: Item, questions: Sequence[Question]) -> bool:
    """Whether comments may hold an answer, or a change of one, that this item still cares for."""
    round_ = latest_round(questions)
    return item.state in ANSWERABLE and any(question.status is not QuestionStatus.WITHDRAWN for question in round_)
