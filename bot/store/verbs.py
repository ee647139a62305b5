"""What all groups of ledger verbs share: the transaction, the clock and the keys marked in it; guarded updates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, Update, and_, bindparam, update

from bot.domain.model import AttemptId, IssueKey, RepoKey
from bot.protocols.clock import Clock
from bot.queue.api import Row


@dataclass(frozen=True, slots=True)
class Marked:
    """A key whose wanted revision was raised; told to the queue after the commit. `row` is what its row is then, if it
    was read with the mark (`bot.queue.api.Row`)."""

    key: str
    priority: int
    at: datetime
    row: Row | None = None


class Verbs:
    """One transaction's view of the ledger. Not to be kept after the unit ends."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self.connection = connection
        self.clock = clock
        self.marked: list[Marked] = []
        self.news: set[RepoKey] = set()
        """Repositories of which something was written that people follow live."""
        self.revoke: set[AttemptId] = set()
        """Attempts whose write token is to be ended by whichever process holds it."""

    def revoke_elsewhere(self, attempt: AttemptId) -> None:
        """Asks the other processes, if there are any, to end the attempt's write token."""
        self.revoke.add(attempt)


CONDITIONS = 128
"""Conditions that are remembered, some kilobytes each: a look asks about one item in several tables, and goes on."""


@lru_cache(maxsize=CONDITIONS)
def in_repo(table: Table, key: RepoKey | IssueKey) -> ColumnElement[bool]:
    """The condition every query of a tenant's data starts with."""
    return and_(table.c.installation == key.installation, table.c.repo == key.repo)


@lru_cache(maxsize=CONDITIONS)
def of_issue(table: Table, key: IssueKey) -> ColumnElement[bool]:
    return and_(in_repo(table, key), table.c.number == key.number)


def in_given_repo(table: Table) -> ColumnElement[bool]:
    """`in_repo` of whichever key is `given` when the statement runs.

    Statements that are made once are understood once by SQLAlchemy; making one costs more than running it, and a look
    at an item runs a dozen.
    """
    return and_(table.c.installation == bindparam("installation"), table.c.repo == bindparam("repo"))


def of_given_issue(table: Table) -> ColumnElement[bool]:
    return and_(in_given_repo(table), table.c.number == bindparam("number"))


def given(key: RepoKey | IssueKey) -> dict[str, int]:
    """The parameters of `in_given_repo`, and of `of_given_issue` for an issue."""
    place = {"installation": int(key.installation), "repo": int(key.repo)}
    return place | {"number": key.number} if isinstance(key, IssueKey) else place


def update_changed(
    connection: Connection,
    table: Table,
    place: Mapping[str, Any],
    revision: int,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> bool:
    """Writes the columns that differ and revision + 1, only while the row still has `revision`; True if it had.

    `place` are the columns that name the row.
    """
    changed = {name: value for name, value in after.items() if before[name] != value}
    values = {f"to_{name}": value for name, value in changed.items()}
    values |= {f"at_{name}": value for name, value in place.items()}
    statement = _update_of(table, tuple(place), tuple(changed))
    return connection.execute(statement, {**values, "at_revision": revision, "to_revision": revision + 1}).rowcount == 1


@lru_cache(maxsize=512)
def _update_of(table: Table, place: tuple[str, ...], changed: tuple[str, ...]) -> Update:
    """Mostly the same few columns change; made once, a statement costs a third of one made each time."""
    where = [table.c[name] == bindparam(f"at_{name}") for name in (*place, "revision")]
    return update(table).where(*where).values({name: bindparam(f"to_{name}") for name in (*changed, "revision")})
