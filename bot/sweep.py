"""Looks at everything again from time to time, so that a lost webhook costs minutes and nothing else.

At the start and then every ten minutes the App's installations and repositories are listed, and each repository is
looked through (`bot/resync.py`): its labels, its items, what people said. Where an attempt is alive that happens every
90 seconds, for there somebody waits. Webhooks that failed are asked for again. Reads are conditional, so a quiet
repository costs no quota. Where several processes share the ledger, each sweeps at its start, to learn who it is, and
later only one of them at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from bot import resync
from bot.domain.model import InstallationId, Person
from bot.domain.redelivery import OFFERED_FOR, redelivery
from bot.domain.repository import RepoRecord
from bot.errors import GitHubError, RateLimited
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub, RepoView
from bot.protocols.ledger import Ledger, Store

SWEEP_EVERY = timedelta(minutes=10)
"""How long a lost webhook may go unnoticed when no timer of the item is due earlier."""

HOT_EVERY = timedelta(seconds=90)
"""The same where an attempt is alive: its end, a stop, or a merge meanwhile should not wait for the great sweep."""

REDELIVERIES = 100
"""Webhooks asked for again in one sweep at most; the rest follows with the next."""

MISSED_AT_START = timedelta(days=1)
"""How far back a ledger that has no bookmark yet looks for webhooks that failed."""

GOOD = "deliveries"
"""The bookmark of the last delivery up to which nothing is open."""

RETRY_SOON = timedelta(seconds=30)
"""When GitHub could not be asked at the start, try again this soon: nothing is known until then."""

OWNER = "app_owner"
"""The bookmark of the account that owns the App."""

TURN = "sweep"
HOT_TURN = "hot"
"""Their names among the things that one process of several does."""

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
        process: str | None = None,
    ) -> None:
        """`process` is this one's name among several; None: it is alone."""
        self._process = process
        self._github = github
        self._store = store
        self._clock = clock
        self._accounts = accounts
        self._sleep = sleep
        self._next: datetime | None = None
        self.bot: Person | None = None
        self.last_success: datetime | None = None

    async def run(self) -> None:
        """Sweep for ever; whatever goes wrong is logged and the next sweep comes sooner.

        A database that is away for a moment must not end it: nothing else finds what lost webhooks told.
        """
        while True:
            try:
                pause = await self.tick()
            except Exception:
                log.exception("sweep_failed")
                self._next = None
                pause = RETRY_SOON
            await self._sleep(pause.total_seconds())

    async def tick(self) -> timedelta:
        """What is due now; how long until something is due again."""
        now = self._clock.now()
        if self._next is None or now >= self._next:
            self._next = now + SWEEP_EVERY
            try:
                if await self._our_turn(TURN, SWEEP_EVERY) or self.last_success is None:
                    await self.once()
            except GitHubError as error:
                log.warning("sweep_failed", error=str(error))
                self._next = now + RETRY_SOON
        elif await self._our_turn(HOT_TURN, HOT_EVERY):
            await self._store.write(lambda tx: mark_hot(tx, now))
        return min(HOT_EVERY, max(self._next - self._clock.now(), timedelta()))

    async def _our_turn(self, name: str, every: timedelta) -> bool:
        """Whether no other process does it; what that one did then counts here."""
        process = self._process
        if process is None:
            return True
        until = self._clock.now() + every

        def ask(tx: Ledger) -> tuple[bool, datetime | None]:
            return tx.take_turn(name, process, until), tx.turn_last_done(TURN)

        ours, done = await self._store.write(ask)
        if done is not None and self.last_success is not None:
            self.last_success = max(done, self.last_success)
        return ours

    async def recall(self) -> None:
        """Whom an earlier process served counts until the first sweep, so that webhooks in between are taken."""
        owner = await self._store.read(lambda tx: tx.bookmark(OWNER))
        if owner is not None:
            self._accounts.owner_is(int(owner))

    async def once(self) -> None:
        """One sweep. Raises GitHubError when the installations cannot be listed; what is known is marked first."""
        await self.find()
        await self._ask_again()
        now = self.last_success = self._clock.now()
        if self._process is not None:
            await self._store.write(lambda tx: tx.turn_done(TURN, now))

    async def find(self) -> None:
        """Mark what is known, then list the installations and their repositories. Raises GitHubError."""
        now = self._clock.now()
        await self._store.write(lambda tx: mark_everything(tx, now))
        owner = await self._github.app_owner()
        if self._accounts.owner_is(owner):
            # Who is served was not known yet when everything was marked.
            await self._store.write(lambda tx: mark_everything(tx, now))
            await self._store.write(lambda tx: tx.set_bookmark(OWNER, str(owner)))
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

    async def _ask_again(self) -> None:
        """Has GitHub send the webhooks again that did not reach us, from the first on of which that is not settled."""
        now = self._clock.now()
        good = int(await self._store.read(lambda tx: tx.bookmark(GOOD)) or 0)
        # Without a bookmark nobody knows what an earlier ledger had taken.
        since = now - (OFFERED_FOR if good else MISSED_AT_START)
        try:
            found = await self._github.deliveries(good, since)
            plan = redelivery(found, good, now, since=since, at_most=REDELIVERIES)
            for delivery in plan.again:
                await self._github.redeliver(delivery)
        except RateLimited:
            raise
        except GitHubError as error:
            log.info("deliveries_not_asked_again", error=str(error))
            return
        if plan.good != good:
            await self._store.write(lambda tx: tx.set_bookmark(GOOD, str(plan.good)))

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


def mark_everything(tx: Ledger, now: datetime) -> None:
    """Marks every active repository, to be looked through, and every item in it that may change without its issue."""
    for repo in tx.repos():
        if not repo.active:
            continue
        resync.ask(tx, repo, now)
        for key in tx.unsettled(repo.key):
            tx.touch(key)


def mark_hot(tx: Ledger, now: datetime) -> None:
    """Marks the repositories with an attempt that is alive."""
    for key in tx.repos_at_work():
        repo = tx.repo(key)
        if repo is not None and repo.active and not repo.archived:
            resync.ask(tx, repo, now)


def _switch_off(tx: Ledger, seen: set[InstallationId]) -> None:
    """Installations that are gone or suspended: nothing of theirs is touched until they are back."""
    for repo in tx.repos():
        if repo.active and repo.key.installation not in seen:
            tx.save_repo(repo, replace(repo, active=False))
