"""The one set-up issue of a repository: what was found, what is missing, what to decide. Created once, then edited.

It is the only thing an installation writes. It is edited when its content changes; a person who closes it is not
contradicted until something new goes wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from bot.domain.facts import IssueFacts, Presence
from bot.domain.memory import shown_digest
from bot.domain.mirror import Listed
from bot.domain.model import IssueKey
from bot.domain.policy_model import Policy
from bot.domain.repository import RepoRecord
from bot.outbox import LOOK_FOR, Once, Result, own_issue
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub
from bot.protocols.ledger import Ledger, Store
from bot.texts import markers
from bot.texts.setup import SETUP_TITLE, SetUpInput, setup_body


class SetUpIssue:
    """Keeps the set-up issue of a repository in line with what was found."""

    def __init__(self, github: GitHub, store: Store, clock: Clock, html_url: str) -> None:
        self._github = github
        self._store = store
        self._clock = clock
        self._once = Once(store, clock)
        self._html_url = html_url

    async def show(self, repo: RepoRecord, listed: Sequence[Listed], policy: Policy) -> datetime | None:
        """Create or edit it when its content is not what it should say. When to look again if it is not known
        whether it was created."""
        body = setup_body(SetUpInput(repo, tuple(listed), policy, self._html_url))
        digest = shown_digest(body)
        if repo.setup_hash == digest:
            return None
        # Something new went wrong: a closed issue is opened again, so that somebody sees it.
        wrong = bool(repo.preflight_problems or repo.policy_problems)
        if repo.setup_issue is None:
            return await self._create(repo, body, digest)
        key = IssueKey(repo.key.installation, repo.key.repo, repo.setup_issue)
        presence, issue = await self._github.issue(key)
        if presence is not Presence.HERE or issue is None:
            # Somebody deleted it: they do not want it; remember what was said and stay silent.
            await self._remember(repo, repo.setup_issue, digest)
            return None
        await self._github.edit_issue(key, body=body, open_=True if wrong and not issue.open else None)
        await self._remember(repo, repo.setup_issue, digest)
        return None

    async def _create(self, repo: RepoRecord, body: str, digest: str) -> datetime | None:
        def record(tx: Ledger, issue: IssueFacts) -> str:
            _store(tx, repo, issue.key.number, digest)
            return str(issue.key.number)

        done = await self._once.perform(
            f"setup:{repo.key}",
            "issue",
            repo=repo.key,
            issue=None,
            fence=None,
            may=lambda _tx: True,
            act=lambda: self._github.create_issue(repo.key, SETUP_TITLE, body, []),
            find=own_issue(self._github, repo.key, markers.SETUP),
            record=record,
        )
        return self._clock.now() + LOOK_FOR if done.result is Result.UNSURE else None

    async def _remember(self, repo: RepoRecord, number: int, digest: str) -> None:
        await self._store.write(lambda tx: _store(tx, repo, number, digest))


def _store(tx: Ledger, repo: RepoRecord, number: int, digest: str) -> None:
    fresh = tx.repo(repo.key)
    if fresh is not None:
        tx.save_repo(fresh, replace(fresh, setup_issue=number, setup_hash=digest))
