"""Looks at everything again from time to time, so that a lost webhook costs minutes and nothing else.

At the start and then periodically: the App's installations and repositories are listed; every repository, every item
that is not over and every open issue that wears the ready label is marked, so that also the label whose webhook was
lost is found. Reads are conditional, so a quiet repository costs no quota.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from bot.domain.labels import READY
from bot.domain.model import InstallationId, IssueKey, Person
from bot.domain.repository import RepoRecord
from bot.errors import GitHubError, RateLimited
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub, RepoView
from bot.protocols.ledger import Ledger, Store

SWEEP_EVERY = timedelta(minutes=10)
"""How long a lost webhook may go unnoticed when no timer of the item is due earlier."""

MISSED_AT_START = timedelta(days=1)
"""After an outage, commands that were written while nobody listened are still carried out, but not for ever."""

REDELIVERIES = 100
"""Webhooks asked for again in one sweep at most; the rest follows with the next."""

RETRY_SOON = timedelta(seconds=30)
"""When GitHub could not be asked at the start, try again this soon: nothing is known until then."""

log = structlog.get_logger(__name__)


class Accounts:
    """Which accounts are served: those that were named, else the App's owner once it is known."""

    def __init__(self, allowed: frozenset[int]) -> None:
        self._allowed = allowed
        self._owner: int | None = None

    def owner_is(self, account: int) -> bool:
        """Remember the App's owner; whether that is news."""
        news, self._owner = account != self._owner, account
        return news

    def serves(self, account: int) -> bool:
        """Fails closed: while the owner is not known and nobody was named, nobody is served."""
        return account in self._allowed if self._allowed else account == self._owner


class Sweep:
    """The periodic look at everything."""

    def __init__(
        self,
        github: GitHub,
        store: Store,
        clock: Clock,
        accounts: Accounts,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._github = github
        self._store = store
        self._clock = clock
        self._accounts = accounts
        self._sleep = sleep
        self.bot: Person | None = None
        self.last_success: datetime | None = None

    async def run(self) -> None:
        """Sweep for ever; an error is logged and the next sweep comes sooner."""
        while True:
            pause = SWEEP_EVERY
            try:
                await self.once()
            except GitHubError as error:
                log.warning("sweep_failed", error=str(error))
                pause = RETRY_SOON
            await self._sleep(pause.total_seconds())

    async def once(self) -> None:
        """One sweep. Raises GitHubError when the installations cannot be listed; what is known is marked first."""
        await self._store.write(mark_everything)
        if self._accounts.owner_is(await self._github.app_owner()):
            # Who is served was not known yet when everything was marked.
            await self._store.write(mark_everything)
        # The same account for every installation: from here on our own events wake nobody.
        self.bot = await self._github.bot_user(InstallationId(0))
        seen: set[InstallationId] = set()
        for installation, account, login, suspended, permissions in await self._github.installations():
            if suspended or not self._accounts.serves(account):
                continue
            seen.add(installation)
            repos = await self._github.installation_repos(installation)
            await self._store.write(self._taker(installation, repos, dict(permissions)))
            log.debug("installation_seen", installation=installation, account=login, repositories=len(repos))
        await self._store.write(lambda tx: _switch_off(tx, seen))
        await self._find_labelled()
        await self._ask_again()
        self.last_success = self._clock.now()

    async def _ask_again(self) -> None:
        """Has GitHub send the webhooks again that did not reach us: looking finds states, but not what was said."""
        now = self._clock.now()
        since = self.last_success - SWEEP_EVERY if self.last_success is not None else now - MISSED_AT_START
        try:
            for delivery in (await self._github.failed_deliveries(since))[:REDELIVERIES]:
                await self._github.redeliver(delivery)
        except RateLimited:
            raise
        except GitHubError as error:
            log.info("deliveries_not_asked_again", error=str(error))

    async def _find_labelled(self) -> None:
        """Marks the open issues that wear the ready label. A repository that cannot be read is left to its own pass,
        which says why; a limit ends the sweep."""
        repos = await self._store.read(lambda tx: [r for r in tx.repos() if r.active and not r.archived])
        for repo in repos:
            try:
                labelled = [i.key for i in await self._github.issues_with_label(repo.key, READY) if i.open]
            except RateLimited:
                raise
            except GitHubError as error:
                log.info("labels_not_read", repo=repo.full_name, error=str(error))
                continue
            if labelled:
                await self._store.write(_toucher(labelled))

    def _taker(
        self, installation: InstallationId, repos: list[RepoView], permissions: Mapping[str, str]
    ) -> Callable[[Ledger], None]:
        bot = self.bot

        def take(tx: Ledger) -> None:
            for view in repos:
                known = tx.repo(view.key)
                if known is None:
                    tx.put_repo(
                        RepoRecord(
                            view.key,
                            view.full_name,
                            view.owner_id,
                            view.default_branch,
                            view.private,
                            archived=view.archived,
                            permissions=tuple(sorted(permissions.items())),
                            bot=bot,
                        )
                    )
                    tx.mark(view.key)
                elif not known.active:
                    tx.save_repo(known, replace(known, active=True, preflight_at=None))
                    tx.mark(view.key)
            here = {view.key for view in repos}
            for known in tx.repos(installation):
                if known.key not in here and known.active:
                    tx.save_repo(known, replace(known, active=False))

        return take


def mark_everything(tx: Ledger) -> None:
    """Marks every active repository and every item in it that is not over."""
    for repo in tx.repos():
        if not repo.active:
            continue
        tx.touch(repo.key)
        for item in tx.items(repo.key):
            if not item.terminal or (item.pull is not None and not item.branch_deleted):
                tx.touch(item.key)


def _toucher(keys: Sequence[IssueKey]) -> Callable[[Ledger], None]:
    def touch(tx: Ledger) -> None:
        for key in keys:
            tx.touch(key)

    return touch


def _switch_off(tx: Ledger, seen: set[InstallationId]) -> None:
    """Installations that are gone or suspended: nothing of theirs is touched until they are back."""
    for repo in tx.repos():
        if repo.active and repo.key.installation not in seen:
            tx.save_repo(repo, replace(repo, active=False))
