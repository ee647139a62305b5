"""The context bundle of an attempt: the snapshot that was approved, pinned paths, earlier failures, limits.

The run reads this from the bot and never the live issue, so that an edit after the approval cannot reach the agent.
"""

from __future__ import annotations

from collections.abc import Sequence

from bot.domain.attempt import Attempt
from bot.domain.attempting import HEARTBEAT
from bot.domain.budget import MICRO
from bot.domain.bundle import (
    AgentPart,
    Answer,
    ContextBundle,
    Identity,
    LeasePart,
    OpinionPart,
    PreviousFailure,
    RepositoryPart,
    ResumePart,
    SpecPart,
    ThoughtPart,
)
from bot.domain.carried import Carried
from bot.domain.going_on import hand_answers
from bot.domain.model import Item
from bot.domain.policy_model import Policy
from bot.domain.questions import Question, QuestionStatus
from bot.domain.repository import RepoRecord
from bot.domain.sanitise import for_prompt
from bot.errors import LostClaim
from bot.policies import policy_of
from bot.protocols.github import GitHub
from bot.protocols.ledger import Cost, Ledger, Store
from bot.records import resumable_of

ANSWERS = 30
"""Answers that an attempt is told of, the newest; a longer conversation belongs into the issue's text."""


async def context_bundle(store: Store, github: GitHub, attempt: Attempt, html_url: str) -> ContextBundle:
    """Everything the worker is told. Raises LostClaim when the item has no approved snapshot."""

    def read(tx: Ledger) -> tuple[RepoRecord | None, Item | None, list[Attempt], Cost | None]:
        key = attempt.key
        return tx.repo(key.repo_key), tx.item(key), tx.attempts(key), tx.cost(attempt.id)

    answers, resume = await store.write(lambda tx: _conversation(tx, attempt))
    repo, item, attempts, cost = await store.read(read)
    if repo is None or item is None or item.snapshot is None or attempt.base_sha is None:
        raise LostClaim("the item has no approved text")
    policy = policy_of(repo)
    there = await github.head(repo.key, attempt.branch) if attempt.number > 1 else None
    existing = None if item.fresh else there
    thought = item.thought
    spec = item.spec
    return ContextBundle(
        attempt=attempt.id,
        number=attempt.number,
        fence=attempt.fence,
        issue=item.key.number,
        title=for_prompt(item.snapshot.title),
        body=for_prompt(item.snapshot.body),
        thought=None
        if thought is None
        else ThoughtPart(
            dir=thought.dir,
            plan_path=f"{thought.dir}/plan.md",
            research_path=f"{thought.dir}/research.md",
            plan_sha=thought.plan_sha,
        ),
        repository=RepositoryPart(
            full_name=repo.full_name,
            clone_url=f"{html_url.rstrip('/')}/{repo.full_name}.git",
            default_branch=repo.default_branch,
            private=repo.private,
        ),
        base_sha=attempt.base_sha,
        branch=attempt.branch,
        existing_branch_sha=existing,
        replaced_branch_sha=there if item.fresh else None,
        spec=SpecPart(
            type=spec.type,
            locks=spec.locks,
            depends_on=spec.depends_on,
            acceptance=spec.acceptance,
            automerge=spec.automerge,
            model=spec.model,
            agent=spec.agent,
            base_branch=spec.base_branch,
            max_attempts=spec.max_attempts,
            # What was reserved for this attempt, which is all that it may spend.
            budget_usd=cost.reserved / MICRO if cost is not None and cost.reserved else None,
            needs=spec.needs,
        ),
        acceptance=spec.acceptance,
        agent=AgentPart(
            adapter=spec.agent or policy.agent.adapter,
            command=policy.agent.command,
            model=spec.model or policy.agent.model,
            fallbacks=policy.agent.fallbacks,
            tools=policy.agent.tools,
            max_turns=policy.agent.max_turns,
            timeout_minutes=policy.agent.timeout_minutes,
        ),
        opinion=_opinion(item, policy),
        previous_failures=tuple(
            PreviousFailure(
                number=other.number, reason=other.failure.reason.value, detail=for_prompt(other.failure.detail)
            )
            for other in attempts
            if other.failure is not None and other.id != attempt.id
        )[-3:],
        answers=answers,
        resume=resume,
        notes=for_prompt(item.notes) if item.notes else None,
        protected_paths=policy.protected_paths,
        lease=LeasePart(heartbeat_seconds=HEARTBEAT.total_seconds(), hears=True),
        allow_unisolated=policy.allow_unisolated,
        identity=_identity(repo),
        commands={
            "heartbeat": f"/api/v1/attempts/{attempt.id}/heartbeat",
            "report": f"/api/v1/attempts/{attempt.id}/report",
        },
    )


def _opinion(item: Item, policy: Policy) -> OpinionPart | None:
    """The second look that policy wants at some changes, or the plan at any; None: nobody does."""
    wanted = policy.qa.second_opinion
    if not wanted.paths and not item.spec.second_opinion:
        return None
    return OpinionPart(
        paths=wanted.paths,
        always=item.spec.second_opinion,
        model=wanted.model,
        command=wanted.command,
        max_turns=wanted.max_turns,
        budget_usd=wanted.budget,
    )


def _conversation(tx: Ledger, attempt: Attempt) -> tuple[tuple[Answer, ...], ResumePart | None]:
    """What people answered so far, and the conversation to go on with. From here on these answers are not changed."""
    questions = tx.questions(attempt.key)
    fresh, item = tx.attempt(attempt.id), tx.item(attempt.key)
    if fresh is None or item is None:
        return (), None
    resumable = resumable_of(tx, attempt.key)
    after, delivered = hand_answers(fresh, questions, resumable, fresh=item.fresh)
    if after != fresh:
        tx.save_attempt(fresh, after)
    known = {question.number: question for question in questions}
    for question in delivered:
        tx.save_question(known[question.number], question)
    answers = tuple(_answer(question) for question in questions if question.status is QuestionStatus.ANSWERED)
    return answers[-ANSWERS:], _resume(tx, after, questions)


def _answer(question: Question) -> Answer:
    return Answer(question=for_prompt(question.asked.text), answer=for_prompt(question.answer_words))


def _resume(tx: Ledger, attempt: Attempt, questions: Sequence[Question]) -> ResumePart | None:
    asker = tx.attempt(attempt.resumes) if attempt.resumes is not None else None
    if asker is None or asker.report is None or asker.report.session_id is None:
        return None
    transcript, work = tx.carried(asker.id, Carried.TRANSCRIPT), tx.carried(asker.id, Carried.WORK)
    if transcript is None:
        return None
    return ResumePart(
        session_id=asker.report.session_id,
        transcript_sha256=transcript.sha256,
        transcript_bytes=transcript.size,
        work_sha256=None if work is None else work.sha256,
        answers={
            question.asked.id: tuple(_words(question, words) for words in question.answer)
            for question in questions
            if question.attempt == asker.id and question.status is QuestionStatus.ANSWERED
        },
    )


def _words(question: Question, words: str) -> str:
    """A choice is the agent's own word and goes back as it was; everything else people wrote."""
    own = any(choice.label == words for choice in question.asked.choices)
    return words if own else for_prompt(words)


def _identity(repo: RepoRecord) -> Identity:
    """Commits are by the bot's user, in the form in which GitHub links them to the account."""
    if repo.bot is None:
        return Identity()
    return Identity(name=repo.bot.login, email=f"{repo.bot.id}+{repo.bot.login}@users.noreply.github.com")
