"""Incidents of a repository, one row per cause; what is counted is counted in the transaction of the failure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import and_, bindparam, select, update
from sqlalchemy.engine import Row

from bot.domain.attempt import Attempt
from bot.domain.incidents import Cause, Incident, Sighting, sighted
from bot.domain.model import IssueKey, RepoKey
from bot.store.attempts import attempt_of
from bot.store.dialect import insert_new
from bot.store.tables import attempts, incidents
from bot.store.verbs import Verbs, given, in_given_repo, in_repo

MANY = 200
"""Attempts looked through for a sign of recovery; the newest are enough."""

_ALL = select(incidents).where(in_given_repo(incidents)).order_by(incidents.c.cause)
_OF_ISSUE = select(incidents.c.cause).where(in_given_repo(incidents), incidents.c.issue == bindparam("number"))


class IncidentVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about incidents."""

    def sight(self, repo: RepoKey, seen: Sighting, at: datetime) -> None:
        known = self._incident(repo, seen.cause)
        after = sighted(known, seen, at)
        if known is None:
            key = {"installation": repo.installation, "repo": repo.repo, "cause": after.cause.value}
            if insert_new(self.connection, incidents, key | _values(after)):
                return
        self.connection.execute(update(incidents).where(_of(repo, seen.cause)).values(**_values(after)))

    def incidents(self, repo: RepoKey) -> list[Incident]:
        return [_incident_of(row) for row in self.connection.execute(_ALL, given(repo))]

    def incident_issue(self, key: IssueKey) -> bool:
        return self.connection.execute(_OF_ISSUE, given(key)).first() is not None

    def show_incident(self, repo: RepoKey, cause: Cause, issue: int, shown: str, at: datetime) -> None:
        values = {"issue": issue, "shown": shown, "shown_at": at}
        self.connection.execute(update(incidents).where(_of(repo, cause)).values(**values))

    def save_incident(self, repo: RepoKey, before: Incident, after: Incident) -> bool:
        same = and_(_of(repo, before.cause), incidents.c.count == before.count, incidents.c.last_at == before.last_at)
        return self.connection.execute(update(incidents).where(same).values(**_values(after))).rowcount == 1

    def attempts_since(self, repo: RepoKey, at: datetime) -> list[Attempt]:
        query = (
            select(attempts)
            .where(in_repo(attempts, repo), attempts.c.claimed_at > at)
            .order_by(attempts.c.claimed_at.desc())
            .limit(MANY)
        )
        return [attempt_of(row) for row in self.connection.execute(query)]

    def _incident(self, repo: RepoKey, cause: Cause) -> Incident | None:
        row = self.connection.execute(select(incidents).where(_of(repo, cause))).one_or_none()
        return None if row is None else _incident_of(row)


def _of(repo: RepoKey, cause: Cause) -> Any:
    return and_(in_repo(incidents, repo), incidents.c.cause == cause)


def _values(incident: Incident) -> dict[str, Any]:
    return {
        "first_at": incident.first_at,
        "last_at": incident.last_at,
        "count": incident.count,
        "numbers": incident.numbers,
        "affected": incident.affected,
        "detail": incident.detail,
        "issue": incident.issue,
        "shown": incident.shown,
        "shown_at": incident.shown_at,
        "closed_at": incident.closed_at,
    }


def _incident_of(row: Row[Any]) -> Incident:
    values = {name: row._mapping[name] for name in _FIELDS}
    return Incident(cause=Cause(row.cause), **values)


_FIELDS = (
    "first_at", "last_at", "count", "numbers", "affected", "detail", "issue", "shown", "shown_at", "closed_at",
)  # fmt: skip
