"""Asking people while the work goes on: a worker puts its questions and waits a while for the answers.

Promises: whoever asks the same again waits on and is not heard twice; the wait ends with the last answer, with the
caller's connection, or when policy says. It costs the database nothing while nothing moves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from bot.bell import Bell
from bot.claim_tokens import current
from bot.domain.attempt import Attempt
from bot.domain.attempting import lease_of
from bot.domain.questions import MAX_QUESTIONS, AskedQuestion, Question, QuestionStatus
from bot.errors import LostClaim, Refused
from bot.policies import policy_of
from bot.protocols.clock import Clock
from bot.protocols.ledger import Ledger, Store

ASK_LOOK = 2.0
"""Seconds after which whoever waits for an answer looks again, whatever was heard: another process may have it."""


class InlineAsking:
    """Takes questions of live attempts, and gives what people answered meanwhile."""

    def __init__(self, store: Store, clock: Clock, bell: Bell) -> None:
        self._store = store
        self._clock = clock
        self._bell = bell

    async def ask(
        self, attempt_id: str, fence: int, asked: Sequence[AskedQuestion], wait: float, gone: Callable[[], bool]
    ) -> list[Question]:
        """Put questions to people while the work goes on, and wait for the answers at most `wait` seconds.

        The questions as they stand then, in their order; whoever asks the same again waits on. Raises LostClaim,
        and Refused when the item has asked too often.
        """
        now = self._clock.now()

        def write(tx: Ledger) -> tuple[Attempt, float]:
            attempt = current(tx, attempt_id, fence)
            repo = tx.repo(attempt.key.repo_key)
            assert repo is not None
            limits = policy_of(repo).questions
            if attempt.report is not None or attempt.gate_report is not None or attempt.cancel_requested_at is not None:
                raise LostClaim("the attempt has ended, or is being stopped")
            known = attempt.asking
            new = tuple(question for question in asked if question not in known)
            rounds = {question.attempt for question in tx.questions(attempt.key)} - {attempt.id}
            if new and (len(rounds) >= limits.max_rounds or len(known) + len(new) > MAX_QUESTIONS):
                raise Refused("This item has asked people often enough.", "Decide, or report why you cannot.")
            after = replace(attempt, asking=(*attempt.asking, *new), lease_until=now + lease_of(attempt.worker.kind))
            if not tx.save_attempt(attempt, after):
                raise LostClaim("the attempt changed meanwhile")
            if new:
                tx.mark(attempt.key)
            return after, min(wait, float(limits.inline_wait))

        attempt, patience = await self._store.write(write)
        loop = asyncio.get_running_loop()
        end = loop.time() + patience
        while True:
            rung = self._bell.count(attempt.key.repo_key)
            questions = await self._store.read(lambda tx: tx.questions(attempt.key))
            mine = {q.asked: q for q in questions if q.attempt == attempt.id}
            found = [mine[question] for question in asked if question in mine]
            done = len(found) == len(asked) and all(question.status is QuestionStatus.ANSWERED for question in found)
            # Who does not wait hears at least the numbers by which people answer.
            if done or loop.time() >= end or gone():
                return found
            await self._bell.wait(attempt.key.repo_key, rung, min(end - loop.time(), ASK_LOOK))
