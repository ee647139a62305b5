"""The issues of incidents: made once, edited in place, closed on recovery.

Promises: one issue per cause and repository, also when the process dies between making it and noting its number (the
act is written ahead, and the issue is found by its marker). What GitHub refuses here never stands in the way of the
repository's other work. Race: a failure may be counted while the issue is being closed; closing is noted only if none
was, and the next pass opens it again.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from bot.domain import labels
from bot.domain.facts import IssueFacts
from bot.domain.incidents import Do, Incident, next_step
from bot.domain.memory import shown_digest
from bot.domain.model import IssueKey
from bot.domain.policy_model import Policy
from bot.domain.repository import RepoRecord
from bot.errors import Forbidden, Invalid, NotFound
from bot.outbox import LOOK_FOR, Once, Result, own_issue
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub
from bot.protocols.ledger import Ledger, Store
from bot.texts import incidents as texts
from bot.texts import markers

REFUSED_FOR = timedelta(hours=1)
"""When GitHub refuses the issue (issues are switched off, the right is gone), how long until it is tried again."""

log = structlog.get_logger(__name__)


class IncidentIssues:
    """Keeps the issues of a repository's incidents in line with the ledger."""

    def __init__(self, github: GitHub, store: Store, clock: Clock) -> None:
        self._github = github
        self._store = store
        self._clock = clock
        self._once = Once(store, clock)

    async def show(self, repo: RepoRecord, policy: Policy) -> datetime | None:
        """Do what is due for each incident. When to look again although nothing happens."""
        found = await self._store.read(lambda tx: [x for x in tx.incidents(repo.key) if x.closed_at is None])
        times: list[datetime] = []
        for incident in found:
            try:
                at = await self._one(repo, policy, incident)
            except (Forbidden, Invalid, NotFound) as error:
                log.warning("incident_refused", cause=incident.cause.value, status=error.status)
                at = self._clock.now() + REFUSED_FOR
            times += [at] if at is not None else []
        return min(times, default=None)

    async def _one(self, repo: RepoRecord, policy: Policy, incident: Incident) -> datetime | None:
        now = self._clock.now()
        since = await self._store.read(lambda tx: tx.attempts_since(repo.key, incident.last_at))
        body = texts.body(incident)
        step = next_step(incident, shown_digest(body), since, now, wanted=policy.incidents)
        key = IssueKey(repo.key.installation, repo.key.repo, incident.issue or 0)
        shown = replace(incident, shown=shown_digest(body), shown_at=now)
        match step.do:
            case Do.NOTHING:
                return step.at
            case Do.CREATE:
                return await self._create(repo, incident, body)
            case Do.EDIT:
                await self._github.edit_issue(key, body=body)
                await self._note(repo, incident, shown)
            case Do.REOPEN:
                await self._github.edit_issue(key, body=body, open_=True)
                await self._note(repo, incident, shown)
            case Do.CLOSE:
                if incident.issue is not None and policy.incidents:
                    await self._github.edit_issue(key, body=texts.over(incident), open_=False, reason="completed")
                await self._note(repo, incident, replace(incident, closed_at=now, shown=None, shown_at=now))
        return None

    async def _create(self, repo: RepoRecord, incident: Incident, body: str) -> datetime | None:
        marker = markers.incident(incident.cause.value)

        def record(tx: Ledger, issue: IssueFacts) -> str:
            # What was counted meanwhile stays counted; the number is what must not be lost.
            tx.show_incident(repo.key, incident.cause, issue.key.number, shown_digest(body), self._clock.now())
            return str(issue.key.number)

        done = await self._once.perform(
            f"incident:{repo.key}:{incident.cause.value}",
            "issue",
            repo=repo.key,
            issue=None,
            fence=None,
            may=lambda _tx: True,
            act=lambda: self._github.create_issue(repo.key, texts.title(incident.cause), body, [labels.INCIDENT]),
            find=own_issue(self._github, repo.key, marker),
            record=record,
        )
        return self._clock.now() + LOOK_FOR if done.result is Result.UNSURE else None

    async def _note(self, repo: RepoRecord, before: Incident, after: Incident) -> None:
        def write(tx: Ledger) -> None:
            if not tx.save_incident(repo.key, before, after):
                tx.mark(repo.key)

        await self._store.write(write)
