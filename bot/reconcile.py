"""The one place where observing, deciding and acting meet: key in, next look out.

Level-triggered: a key says what to look at, never what happened. The same code runs for a webhook, a timer, a sweep
and a restart. Errors are sorted by one table (`bot/domain/failures.py`); whatever happens, the key is looked at
again, and the queue's consumer never dies of it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from bot.apply import Applier
from bot.domain.advance import advance
from bot.domain.failures import Handling, handling, wait_until
from bot.domain.model import IssueKey, Problem, RepoKey, parse_key
from bot.domain.repository import RepoRecord
from bot.errors import Forbidden, GitHubError, Superseded, Suspended
from bot.invariants import InvariantBroken
from bot.look import Look
from bot.metrics import Metrics
from bot.observe import Observer
from bot.policies import policy_of
from bot.protocols.clock import Clock
from bot.protocols.ledger import Ledger, Store
from bot.repo_pass import RepoPass
from bot.saving import StaleDecision
from bot.talk import Talk

TELL_RETRY = timedelta(minutes=10)
"""After a person was told that something is missing, how long until the next try without being woken."""

STALE_TRIES = 5
"""The ledger may change while facts are collected (heartbeats do); decide anew this often at once, then queue."""

log = structlog.get_logger(__name__)


class Reconciler:
    """Turns one key into the next one."""

    def __init__(
        self,
        observer: Observer,
        repos: RepoPass,
        applier: Applier,
        talk: Talk,
        store: Store,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._observer = observer
        self._repos = repos
        self._applier = applier
        self._talk = talk
        self._store = store
        self._clock = clock
        self._metrics = metrics

    async def __call__(self, key_text: str) -> Look:
        """Look at one key. Raises only what shall be tried again with back-off."""
        key = parse_key(key_text)
        with structlog.contextvars.bound_contextvars(key=key_text):
            try:
                match key:
                    case RepoKey():
                        return await self._repos(key)
                    case IssueKey():
                        return await self._item(key)
            except StaleDecision:
                return Look(again=True)
            except Superseded:
                raise  # another process looks at the key now: nothing of this look counts
            except Exception as error:  # noqa: BLE001 - the table sorts every error, and a consumer must not die
                return await self._failed(key, error)

    async def _item(self, key: IssueKey) -> Look:
        late = await self._applier.say_late(key)
        for _ in range(STALE_TRIES):
            facts = await self._observer.item(key)
            if facts is None:
                return Look(at=late)
            late = _sooner(late, await self._talk.mirror(facts))
            policy = policy_of(facts.repo)
            decision = advance(facts, policy, self._clock.now())
            if decision.save.empty and not decision.effects:
                return Look(at=_sooner(late, decision.wake_at))
            try:
                applied = await self._applier.apply(key, decision, facts.repo, policy)
            except StaleDecision:
                continue
            return Look(applied.again, _sooner(late, applied.wake_at))
        return Look(again=True)

    async def _failed(self, key: RepoKey | IssueKey, error: Exception) -> Look:
        match handling(error):
            case Handling.DECIDE_AGAIN:
                log.info("decide_again", error=str(error))
                return Look(at=self._clock.now() + timedelta(seconds=2))
            case Handling.WAIT_UNTIL:
                log.warning("limited", error=str(error))
                return Look(at=wait_until(error))
            case Handling.TELL_PERSON:
                log.warning("person_needed", error=str(error))
                if isinstance(error, Forbidden):
                    await self._missing_permission(key, error)
                return Look(at=self._clock.now() + TELL_RETRY)
            case Handling.GIVE_UP:
                log.error("given_up", error=str(error))
                if isinstance(error, Suspended):
                    await self._store.write(lambda tx: _suspend(tx, key))
                    return Look()
                return Look(at=self._clock.now() + TELL_RETRY)
            case Handling.RETRY:
                if isinstance(error, InvariantBroken):
                    self._metrics.invariant_breaches.inc()
                if not isinstance(error, GitHubError):
                    log.error("unexpected_error", exc_info=error)
                raise error

    async def _missing_permission(self, key: RepoKey | IssueKey, error: Forbidden) -> None:
        """Remember by name what is missing; the set-up issue says it once."""
        repo_key = key.repo_key if isinstance(key, IssueKey) else key
        needs = error.needs or "a permission that GitHub did not name"
        problem = Problem(
            "config.permission",
            f"GitHub refused {error.request or 'a request'}: the App needs `{needs}`",
            "An owner of the account accepts the App's permissions under Settings → GitHub Apps → Configure.",
        )

        def remember(tx: Ledger) -> None:
            repo = tx.repo(repo_key)
            if repo is not None and problem not in repo.preflight_problems:
                after = replace(repo, preflight_ok=False, preflight_problems=(problem,), preflight_at=self._clock.now())
                if tx.save_repo(repo, after):
                    tx.mark(repo_key)

        await self._store.write(remember)


def _sooner(*times: datetime | None) -> datetime | None:
    return min((time for time in times if time is not None), default=None)


def _suspend(tx: Ledger, key: RepoKey | IssueKey) -> None:
    repo_key = key.repo_key if isinstance(key, IssueKey) else key
    repo: RepoRecord | None = tx.repo(repo_key)
    if repo is not None and repo.active:
        tx.save_repo(repo, replace(repo, active=False))
