"""The acts of one item on GitHub: take the ready label, dispatch, cancel, open and merge the pull request.

Each checks the attempt's fence against the ledger right before it acts, and goes through the outbox when it must not
happen twice. A refusal by GitHub that no retry mends is written to the attempt as a report with a typed reason, so
that the item's rules decide what follows; nothing is decided here.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from cachetools import TTLCache

from bot.claim_acts import ClaimActs, current_attempt
from bot.domain.attempt import AttemptPhase, WorkerReport
from bot.domain.attempting import ACTIVATION_LIMIT, CANCEL_LOOK, DISPATCH_LOOK
from bot.domain.effects import (
    CancelRun,
    Dispatch,
    MergePull,
    OpenPull,
    RevokeToken,
    Say,
    TakeReadyLabel,
)
from bot.domain.facts import PullFacts
from bot.domain.intents import API_INTENT
from bot.domain.labels import READY
from bot.domain.model import AttemptId, FailureReason, PullLink
from bot.domain.notes import NoteCode, note, to_json
from bot.domain.policy_model import Policy
from bot.errors import Conflict, Forbidden, GitHubError, Invalid, NotFound, RateLimited, Unavailable
from bot.kept import Kept
from bot.outbox import Once, Result
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub, Secret
from bot.protocols.ledger import Ledger, OutboxRow, Store
from bot.texts import markers
from bot.texts.pull_request import PullInput, pull_body, pull_title
from bot.words import Words

MERGE_TRIES = "merge_refused"

MAX_CANCELLED = 1_000
"""Runs whose cancel is remembered; when more are being ended at once, some are asked twice."""

NOT_KNOWN_YET = frozenset({Result.UNSURE, Result.KNOWN})
"""The act may have happened, or did, and GitHub does not show it yet: looking again at once would only spin."""

log = structlog.get_logger(__name__)


class WriteTokens:
    """The write tokens that this process minted and that are still alive, one per attempt. Never stored.

    Race: a job may ask again while its first question is being answered; both get the same token.
    """

    def __init__(self) -> None:
        self._tokens: dict[AttemptId, tuple[Secret, datetime]] = {}
        self._asking: defaultdict[AttemptId, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def of(
        self, attempt: AttemptId, mint: Callable[[], Awaitable[tuple[Secret, datetime]]]
    ) -> tuple[Secret, datetime]:
        """The attempt's token and its end of life; minted if this process has none. Raises what `mint` raises."""
        async with self._asking[attempt]:
            if attempt not in self._tokens:
                self._tokens[attempt] = await mint()
            return self._tokens[attempt]

    def take(self, attempt: AttemptId) -> Secret | None:
        """The token, to be revoked; it is forgotten here."""
        self._asking.pop(attempt, None)
        found = self._tokens.pop(attempt, None)
        return None if found is None else found[0]


class Acts:
    """Carries out the acts of items."""

    def __init__(
        self, github: GitHub, store: Store, clock: Clock, tokens: WriteTokens, html_url: str, kept: Kept, words: Words
    ) -> None:
        self._github = github
        self._store = store
        self._clock = clock
        self._once = Once(store, clock)
        self._tokens = tokens
        self._html_url = html_url
        self._kept = kept
        self._words = words
        self.claims = ClaimActs(github, store)
        self._cancelled: TTLCache[tuple[int, bool], bool] = TTLCache(
            MAX_CANCELLED, CANCEL_LOOK.total_seconds(), timer=lambda: clock.now().timestamp()
        )

    # --- claiming ----------------------------------------------------------------------------------

    async def take_ready(self, act: TakeReadyLabel) -> bool:
        """Delete the ready label. False: it was not there, so somebody may have withdrawn it; look before going on."""
        if not await self._current(act.attempt, act.fence):
            return False
        removed = await self._github.remove_label(act.key, READY)
        if not removed:
            return False

        def record(tx: Ledger) -> None:
            live = current_attempt(tx, act.attempt, act.fence)
            if live is not None:
                tx.save_attempt(live, replace(live, ready_removed=True))

        await self._store.write(record)
        return True

    async def dispatch(self, act: Dispatch) -> datetime | None:
        """Start the run at most once. The time of the next look when it is not known whether it started."""
        repo = act.key.repo_key

        def may(tx: Ledger) -> bool:
            live = current_attempt(tx, act.attempt, act.fence)
            if live is None or live.run_id is not None:
                return False
            now = self._clock.now()
            if live.phase is AttemptPhase.CLAIMED:
                tx.save_attempt(live, replace(live, phase=AttemptPhase.DISPATCHING, dispatched_at=now))
            elif live.dispatched_at is None:
                tx.save_attempt(live, replace(live, dispatched_at=now))
            return True

        async def start() -> int:
            run = await self._github.dispatch(repo, act.workflow, act.ref, dict(act.inputs))
            if run is None:
                # Accepted, but GitHub named no run: it is found by its name.
                raise Unavailable("the dispatch named no run", uncertain=True)
            return run

        async def find(row: OutboxRow) -> int | None:
            since = row.planned_at - timedelta(minutes=1)
            runs = await self._github.runs_named(repo, act.workflow, act.attempt, since)
            return min((run.id for run in runs), default=None)

        def record(tx: Ledger, run: int) -> str:
            live = current_attempt(tx, act.attempt, act.fence)
            if live is not None and live.run_id is None:
                tx.save_attempt(live, replace(live, run_id=run))
                # Nothing is to be done until the run reports; this is when to look although it did not.
                tx.mark(act.key, at=self._clock.now() + ACTIVATION_LIMIT)
            return str(run)

        try:
            done = await self._once.perform(
                act.once,
                "dispatch",
                repo=repo,
                issue=act.key,
                fence=act.fence,
                may=may,
                act=start,
                find=find,
                record=record,
            )
        except (RateLimited, Unavailable) as error:
            if isinstance(error, Unavailable) and error.uncertain:
                return self._clock.now() + DISPATCH_LOOK
            raise
        except (Forbidden, NotFound, Invalid, Conflict) as error:
            await self._refused(act.attempt, act.fence, _dispatch_reason(error), error)
            return None
        return self._clock.now() + DISPATCH_LOOK if done.result is Result.UNSURE else None

    async def _refused(self, attempt: AttemptId, fence: int, reason: FailureReason, error: GitHubError) -> None:
        """GitHub refused for good: the attempt's own rules decide what that means."""
        report = WorkerReport(False, self._clock.now(), reason, error.message)

        def record(tx: Ledger) -> None:
            live = current_attempt(tx, attempt, fence)
            if live is not None and live.report is None:
                tx.save_attempt(live, replace(live, report=report))
                tx.mark(live.key)

        await self._store.write(record)

    async def cancel_run(self, act: CancelRun) -> None:
        """Ask GitHub to end the run; a run that takes its time is not asked again with every look at its item."""
        if (act.run_id, act.force) not in self._cancelled:
            await self._github.cancel_run(act.key.repo_key, act.run_id, force=act.force)
            self._cancelled[act.run_id, act.force] = True

    async def revoke(self, act: RevokeToken) -> None:
        """End the write token, here or where it is held; if that process is gone it ends by itself within the hour."""
        if not await self.revoke_here(act.attempt):
            await self._store.write(lambda tx: tx.revoke_elsewhere(act.attempt))

    async def revoke_here(self, attempt_id: AttemptId) -> bool:
        """End the write token if this process holds it; whether it does."""
        token = self._tokens.take(attempt_id)
        if token is None:
            return False
        try:
            await self._github.revoke(token)
        except GitHubError as error:
            log.warning("token_not_revoked", attempt=attempt_id, error=error.message)
            return True

        def record(tx: Ledger) -> None:
            attempt = tx.attempt(attempt_id)
            if attempt is not None:
                tx.save_attempt(attempt, replace(attempt, write_token_until=None))

        await self._store.write(record)
        return True

    # --- pull request ------------------------------------------------------------------------------

    async def open_pull(self, act: OpenPull, policy: Policy) -> datetime | None:
        """Open it at most once. When to look again if it is not known whether it was opened."""
        repo = act.key.repo_key
        found = await self._store.read(lambda tx: (tx.item(act.key), tx.attempt(act.attempt), tx.repo(repo)))
        item, attempt, record_ = found
        if item is None or attempt is None or record_ is None:
            return None
        view = PullInput(record_, item, attempt, policy, self._html_url)

        async def create() -> PullFacts:
            # An earlier attempt's pull request is still open on the same branch: it now shows the new work.
            known = await self._open_pull_of(act) if attempt.number > 1 else None
            if known is not None:
                return known
            return await self._github.open_pull(
                repo, head=act.branch, base=act.base, title=pull_title(view), body=pull_body(view)
            )

        async def find(_row: OutboxRow) -> PullFacts | None:
            # What somebody has closed or merged since was opened all the same.
            return await self._open_pull_of(act, marker=markers.pull(act.key.number, act.fence))

        def record(tx: Ledger, pull: PullFacts) -> str:
            fresh = tx.item(act.key)
            if fresh is not None and current_attempt(tx, act.attempt, act.fence) is not None:
                link = PullLink(pull.number, pull.node_id, act.branch, act.head_sha, act.fence, self._clock.now())
                tx.save_item(fresh, replace(fresh, pull=link, branch_deleted=False))
            tx.mark(act.key)
            return str(pull.number)

        try:
            done = await self._once.perform(
                act.once,
                "pull",
                repo=repo,
                issue=act.key,
                fence=act.fence,
                may=lambda tx: current_attempt(tx, act.attempt, act.fence) is not None,
                act=create,
                find=find,
                record=record,
            )
            if done.value is not None:
                self._kept.read_pull(act.key, done.value, self._clock.now())
        except (Forbidden, Invalid, NotFound) as error:
            reason = (
                FailureReason.CONFIG_PERMISSION if isinstance(error, Forbidden) else FailureReason.AGENT_NO_EVIDENCE
            )
            await self._pull_refused(act, reason, error)
            return None
        return self._clock.now() + DISPATCH_LOOK if done.result in NOT_KNOWN_YET else None

    async def _pull_refused(self, act: OpenPull, reason: FailureReason, error: GitHubError) -> None:
        def record(tx: Ledger) -> None:
            live = current_attempt(tx, act.attempt, act.fence)
            if live is not None:
                report = WorkerReport(False, self._clock.now(), reason, error.message)
                tx.save_attempt(live, replace(live, report=report))
                tx.mark(act.key)

        await self._store.write(record)

    async def _open_pull_of(self, act: OpenPull, marker: str | None = None) -> PullFacts | None:
        """The pull request of the branch that our bot opened and that is open, or carries the marker; anybody else's is
        not the item's."""
        repo = await self._store.read(lambda tx: tx.repo(act.key.repo_key))
        bot = repo.bot if repo is not None else None
        for pull in await self._github.pulls_of_branch(act.key.repo_key, act.branch):
            ours = bot is not None and pull.author.id == bot.id and pull.head_repo_id == pull.base_repo_id
            made = marker is not None and markers.carries(pull.body, marker)
            if ours and ((pull.open and not pull.merged) or made):
                return pull
        return None

    async def merge(self, act: MergePull) -> datetime | None:
        """Merge with the expected head, and answer the command that asked for it.

        When to look again if it is not known whether it was merged.
        """
        repo = act.key.repo_key

        async def find(_row: OutboxRow) -> str | None:
            pull = await self._github.pull(repo, act.number)
            return (pull.merge_commit_sha or pull.head_sha) if pull is not None and pull.merged else None

        def record(tx: Ledger, sha: str) -> str:
            if act.intent is not None:
                tx.settle_intent(act.intent, "merged", self._clock.now())
            tx.mark(act.key)
            return sha

        item = await self._store.read(lambda tx: tx.item(act.key))
        title = f"{item.title} (#{act.number})" if item is not None else f"Merge pull request #{act.number}"
        try:
            done = await self._once.perform(
                act.once,
                "merge",
                repo=repo,
                issue=act.key,
                fence=None,
                may=lambda tx: True,
                act=lambda: self._github.merge_pull(
                    repo, act.number, expected_head=act.expected_head, method=act.method, title=title
                ),
                find=find,
                record=record,
            )
        except (Conflict, Forbidden, Invalid, NotFound) as error:
            await self._merge_refused(act, error)
            return None
        if done.result in NOT_KNOWN_YET:
            return self._clock.now() + DISPATCH_LOOK
        if act.comment_id is not None:
            # The time line shows the merge; words would only repeat it.
            await self._github.react(repo, act.comment_id, "rocket")
        return None

    async def _merge_refused(self, act: MergePull, error: GitHubError) -> None:
        log.info("merge_refused", pull=act.number, status=error.status)
        if act.intent is None:
            return
        why = note(NoteCode.MERGE_REFUSED, why="github", message=error.message, pull=act.number)
        intent = act.intent
        if intent.startswith(API_INTENT):
            await self._store.write(lambda tx: tx.settle_intent(intent, MERGE_TRIES, self._clock.now(), to_json(why)))
            return
        repo = await self._store.read(lambda tx: tx.repo(act.key.repo_key))
        if repo is not None:
            await self._words.say(Say(act.key, f"intent:{intent}", why), repo, Policy())
        await self._store.write(lambda tx: tx.settle_intent(intent, MERGE_TRIES, self._clock.now()))

    async def _current(self, attempt: AttemptId, fence: int) -> bool:
        return await self._store.read(lambda tx: current_attempt(tx, attempt, fence) is not None)


def _dispatch_reason(error: GitHubError) -> FailureReason:
    match error:
        case Forbidden():
            return FailureReason.CONFIG_PERMISSION
        case NotFound() | Invalid():
            return FailureReason.CONFIG_WORKFLOW_MISSING
        case _:
            return FailureReason.INFRA_DISPATCH
