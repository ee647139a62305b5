"""Looks for everything in a repository that a webhook should have told: labels, items, and the words of people.

Promise: nothing depends on a webhook. Labels that ask for something are found by listing, items that are not over are
marked, and a command whose webhook was lost is found by its comment and stored under the key that the webhook would
have given it, so that it runs once. All reads are conditional: where nothing happened they are answered 304 and cost
nothing.

Races: a comment may be listed late, so the list is read from a little before the newest change that was seen; its
webhook may come after the look, and its key is then known.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from bot.domain.commanded import Spoken, overheard
from bot.domain.facts import IssueFacts
from bot.domain.intents import FORGOTTEN_AFTER, Intent
from bot.domain.labels import PROPOSED, READY
from bot.domain.model import IssueKey, RepoKey
from bot.domain.repository import RepoRecord
from bot.errors import GitHubError, RateLimited, Suspended, TooLong, Unavailable
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub
from bot.protocols.ledger import Ledger, Store

LIST_LAG = timedelta(minutes=2)
"""GitHub's lists may show a comment this late."""

STALE_AFTER = timedelta(days=1)
"""After an outage, commands that were written while nobody listened are still carried out, but not for ever."""

LOOK_ANYWAY = timedelta(days=1)
"""What waits is looked at this often even if nothing seems to have changed, in case a list or its times were wrong."""

LOOKED_ANYWAY = 10
"""So many of those in one look at their repository: as many requests, however long the queue."""

FIRST_SECOND = timedelta(seconds=1)
"""GitHub's times are whole seconds: what was written in the second in which we began to listen counts."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Found:
    labelled: tuple[IssueFacts, ...] | None = None
    spoken: tuple[Spoken, ...] = ()
    flooded: bool = False


def ask(tx: Ledger, repo: RepoRecord, now: datetime) -> None:
    """Have everything in this repository looked at; a look that is under way does not count."""
    tx.save_repo(repo, replace(repo, resync_asked_at=now))
    tx.touch(repo.key)


class Resync:
    """Carries it out, as part of the look at the repository."""

    def __init__(self, github: GitHub, store: Store, clock: Clock) -> None:
        self._github = github
        self._store = store
        self._clock = clock

    async def listen(self, repo: RepoRecord) -> RepoRecord:
        """The repository with the moment from which on commands in it count."""
        since = self._clock.now().replace(microsecond=0) - FIRST_SECOND
        while repo.heard_until is None:  # a webhook or another process may have changed the record meanwhile
            repo = await self._save(repo, replace(repo, heard_until=since, listening_since=since))
        return repo

    async def look(self, repo: RepoRecord) -> RepoRecord:
        """Mark what may have changed and store what was said. Raises what shall be tried again."""
        now = self._clock.now()
        heard = repo.heard_until
        assert heard is not None, "it was listened first"
        since = repo.listening_since
        if now - heard > STALE_AFTER:
            since = max(since or heard, now - STALE_AFTER)
        found = await self._read(repo, heard - LIST_LAG, now)
        newest = now if found.flooded else max((spoken.updated_at for spoken in found.spoken), default=heard)
        after = replace(repo, resync_asked_at=None, heard_until=max(heard, newest), listening_since=since)

        def write(tx: Ledger) -> RepoRecord:
            keys = set(tx.unsettled(repo.key))
            if found.labelled is not None:
                keys |= _news(found.labelled, tx.resting(repo.key), repo.key, now)
            for spoken in found.spoken:
                # What was written before anybody listened is nobody's command.
                if spoken.created_at < now - FORGOTTEN_AFTER:
                    continue
                if repo.listening_since is None or spoken.edited or spoken.created_at >= repo.listening_since:
                    keys |= _hear(tx, spoken)
            for key in sorted(keys):
                tx.touch(key)
            if not tx.save_repo(repo, after):
                # It changed meanwhile: what was heard is stored, and the next look begins where this one did.
                tx.mark(repo.key)
            return tx.repo(repo.key) or after

        return await self._store.write(write)

    async def _read(self, repo: RepoRecord, since: datetime, now: datetime) -> _Found:
        """What cannot be read is left to the looks that need it, which say why; a limit ends this one."""
        try:
            labelled = [
                issue
                for label in (READY, PROPOSED)
                for issue in await self._github.issues_with_label(repo.key, label)
                if issue.open
            ]
            spoken = await self._spoken(repo, since, now)
        except (RateLimited, Unavailable, Suspended):
            raise
        except GitHubError as error:
            log.info("not_looked_through", repo=repo.full_name, error=str(error))
            return _Found()
        return _Found(tuple(labelled), tuple(spoken or ()), spoken is None)

    async def _spoken(self, repo: RepoRecord, since: datetime, now: datetime) -> list[Spoken] | None:
        """What was said since then. Of a flood only what is new enough to be carried out, or else nothing (None):
        webhooks tell of it too, and whoever writes very much must not stop all else."""
        for start in (since, max(since, now - STALE_AFTER)):
            try:
                return await self._github.comments_in(repo.key, start)
            except TooLong as error:
                log.warning("too_much_was_said", repo=repo.full_name, since=start, error=str(error))
        return None

    async def _save(self, before: RepoRecord, after: RepoRecord) -> RepoRecord:
        def write(tx: Ledger) -> RepoRecord:
            if not tx.save_repo(before, after):
                tx.mark(before.key)
            return tx.repo(before.key) or after

        return await self._store.write(write)


def _news(
    labelled: Iterable[IssueFacts], resting: Mapping[int, datetime | None], repo: RepoKey, now: datetime
) -> set[IssueKey]:
    """Issues that are no items yet, items that their issue has changed since something pointed at it, and a few that
    nothing has pointed at for long.

    A long queue is not looked at one by one: that would be a request for each item, every ten minutes. What is listed
    nowhere has lost its label. Our clock and GitHub's agree, or GitHub would not let us in.
    """
    there = {issue.key.number: issue for issue in labelled}
    found = {number for number in resting if number not in there}
    for number, issue in there.items():
        touched = resting.get(number)
        if touched is None or issue.updated_at + LIST_LAG > touched:
            found.add(number)
    old = sorted((at, number) for number, at in resting.items() if at is not None and at < now - LOOK_ANYWAY)
    found.update(number for _, number in old[:LOOKED_ANYWAY])
    return {IssueKey(repo.installation, repo.repo, number) for number in found}


def _hear(tx: Ledger, spoken: Spoken) -> set[IssueKey]:
    """Stores the commands of a comment that are not known; the issues to look at because of them."""
    new = [intent for intent in overheard(spoken, _known(tx, spoken.id)) if tx.put_intent(intent)]
    if not new:
        return set()
    log.info("command_found", comment=spoken.id, number=spoken.key.number)
    item = tx.item_of_pull(spoken.key.repo_key, spoken.key.number)
    return {spoken.key} if item is None else {spoken.key, item}


def _known(tx: Ledger, comment: int) -> list[Intent]:
    """The intents of a comment that are stored, in their order."""
    found: list[Intent] = []
    while (known := tx.intent(f"comment:{comment}:{len(found)}")) is not None:
        found.append(known[0])
    edited = tx.intent(f"comment:{comment}:edited")
    return found if edited is None else [*found, edited[0]]
