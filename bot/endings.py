"""The end of an attempt whose worker speaks for itself: a person's session, or a pull worker.

Promises: work counts only as far as GitHub shows it (a branch with commits, and the plan's `implementation.md`); what
is missing is named, nothing is lost by the refusal, and the call may be repeated. A person who may merge can say
instead that no code is needed. Repeating a call whose answer was lost gives the same answer. Races: an attempt that
has ended or is being stopped takes no word any more; between the look at GitHub and the decision the branch may move,
so the item's own pass looks again at the reported commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import assert_never

from bot.backlog import Listed, listed
from bot.claim_tokens import holder_of
from bot.domain.attempt import Attempt, WorkerKind, WorkerReport
from bot.domain.attempting import handed_in
from bot.domain.failures import bounded_reset
from bot.domain.model import FailureReason, Item, ItemState, Role
from bot.domain.permissions import Capability, needed
from bot.domain.repository import RepoRecord
from bot.domain.usage import Usage
from bot.errors import Forbidden, LostClaim, NotFound, Refused, UserError
from bot.policies import policy_of
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub
from bot.protocols.ledger import Ledger, Store
from bot.texts import endings as words

ANSWER_WITHIN = timedelta(seconds=10)
"""How long the decision is awaited before the caller is told to look at the issue."""

LOOK_EVERY = timedelta(milliseconds=50)
"""How often the ledger is looked at while somebody waits; a look is one read of two rows."""

LOST = "This claim is not current any more. Stop, change nothing, and ask for the next item."

NOT_FOR_WORKERS = frozenset({FailureReason.LOST, *(r for r in FailureReason if r.value.startswith("cancelled."))})
"""Reasons that only the bot finds: silence, and what people do."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the item. `due_at`: a retry starts no earlier."""

    item: Listed
    text: str
    due_at: datetime | None


class Endings:
    """Takes the last word of sessions and pull workers."""

    def __init__(self, store: Store, github: GitHub, clock: Clock, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._store = store
        self._github = github
        self._clock = clock
        self._sleep = sleep

    async def complete(self, attempt_id: str, token: str, fence: int, evidence: str | None = None) -> Settled:
        """The work is done. Raises LostClaim, and Refused that names what is missing.

        `evidence` is a person's word that no code is needed.
        """
        attempt, item, repo = await self._store.read(lambda tx: self._mine(tx, attempt_id, token, fence))
        if not attempt.live:
            if attempt.report is None or not attempt.report.succeeded:
                raise LostClaim(LOST)
            return await self._settled(attempt)
        if attempt.report is None:
            report = await self._judge(attempt, item, repo, evidence)
            if report is None:
                return await self._say(attempt, words.PUBLISHING)
            await self._report(attempt, report)
        elif not attempt.report.succeeded:
            raise LostClaim("A failure was reported for this attempt already.")
        return await self._settled(attempt)

    async def fail(
        self,
        attempt_id: str,
        token: str,
        fence: int,
        reason: str,
        message: str,
        *,
        retryable: bool | None = None,
        log: str | None = None,
        usage: Usage | None = None,
        retry_at: datetime | None = None,
        session_id: str | None = None,
    ) -> Settled:
        """The work failed. `retryable` None: the reason decides; `retry_at`: when a spent quota is filled again;
        `session_id`: the conversation that was left for the next attempt.

        Raises LostClaim, UserError for an unknown reason.
        """
        attempt, _, _ = await self._store.read(lambda tx: self._mine(tx, attempt_id, token, fence))
        why = _reason(reason)
        if attempt.report is not None and attempt.report.succeeded:
            raise LostClaim("Success was reported for this attempt already.")
        if not attempt.live and attempt.report is None:
            raise LostClaim(LOST)
        if attempt.report is None:
            now = self._clock.now()
            report = WorkerReport(
                False,
                now,
                why,
                detail=message,
                retryable=retryable,
                usage=usage,
                retry_at=bounded_reset(retry_at, now),
                session_id=session_id,
            )
            await self._report(attempt, report, log)
        return await self._settled(attempt)

    # --- what counts -------------------------------------------------------------------------------

    async def _judge(self, attempt: Attempt, item: Item, repo: RepoRecord, evidence: str | None) -> WorkerReport | None:
        """The report that the facts bear out; None when a run is to publish first. Raises Refused."""
        match attempt.worker.kind:
            case WorkerKind.ACTIONS | WorkerKind.EXTERNAL:
                raise Refused(*words.NOT_A_RUN)
            case WorkerKind.PULL:
                if evidence is not None:
                    raise Refused(*words.NOBODY_SAID_SO)
                if not handed_in(attempt):
                    raise Refused(*words.NO_BUNDLE)
                return None
            case WorkerKind.INTERACTIVE:
                if evidence is not None:
                    return await self._no_code(attempt, repo, evidence)
                return await self._published(attempt, item)
            case _:
                assert_never(attempt.worker.kind)

    async def _published(self, attempt: Attempt, item: Item) -> WorkerReport:
        key = attempt.key.repo_key
        head = await self._github.head(key, attempt.branch)
        if head is None:
            raise Refused(*words.no_branch(attempt.branch))
        if attempt.base_sha is None or not await self._github.commits_beyond(key, attempt.base_sha, head):
            raise Refused(*words.no_commits(attempt.branch))
        if item.thought is not None:
            try:
                file = await self._github.file(key, f"{item.thought.dir}/implementation.md", head)
            except NotFound:
                file = None
            if file is None:
                raise Refused(*words.no_implementation(item.thought.dir, attempt.branch))
        return WorkerReport(True, self._clock.now(), head_sha=head)

    async def _no_code(self, attempt: Attempt, repo: RepoRecord, evidence: str) -> WorkerReport:
        person = attempt.worker.person
        if person is None:
            raise Refused(*words.NOBODY_SAID_SO)
        needs = needed(Capability.MERGE, policy_of(repo).roles)
        try:
            role = await self._github.role(repo.key, person)
        except (Forbidden, NotFound):
            role = Role.NONE
        if role < needs:
            raise Refused(*words.may_not_say(person.login, needs.name.lower()))
        return WorkerReport(True, self._clock.now(), no_code=evidence, by=person.login)

    # --- the ledger --------------------------------------------------------------------------------

    def _mine(self, tx: Ledger, attempt_id: str, token: str, fence: int) -> tuple[Attempt, Item, RepoRecord]:
        """The attempt that the token was given to, also when it has ended. Raises LostClaim."""
        attempt = holder_of(tx, attempt_id, token, self._clock.now())
        item, repo = tx.item(attempt.key), tx.repo(attempt.key.repo_key)
        if item is None or repo is None or not repo.active or not attempt.fence == item.fence == fence:
            raise LostClaim(LOST)
        return attempt, item, repo

    async def _report(self, attempt: Attempt, report: WorkerReport, log: str | None = None) -> None:
        def write(tx: Ledger) -> None:
            fresh = tx.attempt(attempt.id)
            if fresh is None or not fresh.live or fresh.fence != attempt.fence:
                raise LostClaim(LOST)
            if fresh.cancel_requested_at is not None and report.succeeded:
                raise LostClaim("The attempt is being stopped. What you pushed stays on its branch.")
            if fresh.report is None:
                tx.save_attempt(fresh, replace(fresh, report=report))
            if log:
                tx.put_log(fresh.id, log, self._clock.now())
            tx.mark(fresh.key, priority=1)

        await self._store.write(write)

    async def _settled(self, attempt: Attempt) -> Settled:
        """What became of it, once it is decided."""
        for _ in range(ANSWER_WITHIN // LOOK_EVERY):
            found = await self._store.read(lambda tx: tx.attempt(attempt.id))
            if found is None or not found.live:
                return await self._say(attempt)
            await self._sleep(LOOK_EVERY.total_seconds())
        return await self._say(attempt, words.UNDER_WAY)

    async def _say(self, attempt: Attempt, text: str | None = None) -> Settled:
        item, attempts = await self._store.read(lambda tx: (tx.item(attempt.key), tx.attempts(attempt.key)))
        assert item is not None
        due = item.not_before if item.state is ItemState.IN_PROGRESS else None
        failure = next((a.failure for a in attempts if a.id == attempt.id), None)
        reason = failure.reason if failure is not None else None
        pull = item.pull.number if item.pull is not None else None
        said = text or words.state_of(item.state, pull=pull, due_at=due, reason=reason)
        # Its place in the queue is decided by the next look at the repository, which may have been or not.
        return Settled(listed(replace(item, position=None, waiting=()), attempts), said, due)


def _reason(text: str) -> FailureReason:
    known = [reason for reason in FailureReason if reason not in NOT_FOR_WORKERS]
    found = next((reason for reason in known if reason.value == text), None)
    if found is None:
        raise UserError(f"`{text}` is no reason that a worker can give.", f"Known: {', '.join(known)}.")
    return found
