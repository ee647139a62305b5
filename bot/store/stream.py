"""History and conversations as streams: read forward by id, any number of repositories at once.

An id is given when a row is written, and rows are committed in the order of their ids because one thread writes; so
whoever remembers the last id it saw misses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, func, or_, select

from bot.domain.model import InstallationId, IssueKey, RepoId, RepoKey
from bot.protocols.ledger import Recorded
from bot.store.outbox import audit_of
from bot.store.tables import events
from bot.store.verbs import Verbs, in_repo


class StreamVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about following what happens."""

    def events_after(
        self, repos: Sequence[RepoKey], after: int, limit: int, number: int | None = None
    ) -> list[Recorded]:
        """The next `limit` lines of history of these repositories, oldest first; with `number` of that issue only."""
        if not repos:
            return []
        query = select(events).where(*next_of(events, repos, after, number)).order_by(events.c.id).limit(limit)
        found = []
        for row in self.connection.execute(query):
            repo = RepoKey(InstallationId(row.installation), RepoId(row.repo))
            key = repo if row.number is None else IssueKey(repo.installation, repo.repo, row.number)
            found.append(Recorded(row.id, audit_of(row, key)))
        return found

    def last_event(self) -> int:
        """The id of the newest line of history, of whomever; 0 when there is none."""
        newest: int | None = self.connection.execute(select(func.max(events.c.id))).scalar_one()
        return newest or 0


def next_of(table: Table, repos: Sequence[RepoKey], after: int, number: int | None) -> list[ColumnElement[Any]]:
    """The condition of what a follower of these repositories reads next."""
    found: list[ColumnElement[Any]] = [or_(*(in_repo(table, repo) for repo in repos)), table.c.id > after]
    if number is not None:
        found.append(table.c.number == number)
    return found
