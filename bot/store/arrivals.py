"""What deliveries leave in the ledger: their rows with what they point at, repositories, intents, changes of
installations; of many deliveries at once in few statements.

This is the hot path, so its statements are compiled once and run on the driver's cursor. A delivery that is known
changes nothing at all; an intent whose natural key is known (the same comment under another delivery id) is ignored.
A delivery that asks for nothing is stored as routed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Insert,
    Select,
    bindparam,
    or_,
    select,
    true,
    update,
)

from bot.domain.intake import InstallationChange, Intake
from bot.domain.model import InstallationId
from bot.store.dialect import (
    DIALECTS,
    Cursor,
    Given,
    QuickRows,
    QuickWrite,
    driver_cursor,
    insert_for,
    insert_new,
)
from bot.store.intents import intent_values
from bot.store.ledger import SqlLedger
from bot.store.seen import Seen, see, see_waiting, seen
from bot.store.seen import written as seen_text
from bot.store.tables import deliveries, installations, intents, repos
from bot.store.touched import written
from bot.store.types import to_micros


@dataclass(frozen=True, slots=True)
class Arrival:
    """One verified delivery, and what its payload was turned into."""

    guid: str
    event: str
    action: str | None
    intake: Intake
    body: bytes | None

    @property
    def to_route(self) -> bool:
        intake = self.intake
        return bool(intake.touches or intake.repos or intake.intents or intake.installation)

    @property
    def only_row(self) -> bool:
        """Whether its row holds all that it says until it is routed."""
        return self.body is None and not self.intake.intents and self.intake.installation is None


def store_rows(ledger: SqlLedger, some: Sequence[Arrival]) -> list[bool]:
    """Writes deliveries that are `only_row`, by a single statement, and to be routed later; whether each was new."""
    return _arrivals(ledger.connection.dialect.name).only_rows(ledger, some)


def store_arrivals(ledger: SqlLedger, some: Sequence[Arrival], *, routed: bool = False) -> list[bool]:
    """Writes them in the running transaction; whether each was new. `routed`: they are routed in the same one."""
    return _arrivals(ledger.connection.dialect.name).store(ledger, some, routed=routed)


class _Arrivals:
    """Writes deliveries into one kind of database (`sqlite` or `postgresql`)."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._deliveries = _deliveries(name)
        self._body = QuickWrite(
            update(deliveries).where(deliveries.c.id == bindparam("of")).values(body=bindparam("body")), name
        )

    def only_rows(self, ledger: SqlLedger, some: Sequence[Arrival]) -> list[bool]:
        """One statement; what they say of repositories waits in their rows for the router."""
        now = to_micros(ledger.clock.now())
        rows = [self._row(one, now, None if one.to_route else now, seen_text(one.intake.repos)) for one in some]
        ids = self._insert(driver_cursor(ledger.connection), rows)
        return [ids.pop(one.guid, None) is not None for one in some]

    def store(self, ledger: SqlLedger, some: Sequence[Arrival], *, routed: bool) -> list[bool]:
        cursor = driver_cursor(ledger.connection)
        now = to_micros(ledger.clock.now())
        ids = self._insert(
            cursor, [self._row(one, now, None if one.to_route and not routed else now, None) for one in some]
        )
        new: list[bool] = []
        fresh: list[tuple[int, Arrival]] = []
        for one in some:
            id_ = ids.pop(one.guid, None)
            new.append(id_ is not None)
            if id_ is not None:
                fresh.append((id_, one))
        self._body.many(cursor, [{"of": id_, "body": one.body} for id_, one in fresh if one.body is not None])
        self._carry_over(ledger, cursor, fresh)
        return new

    def _insert(self, cursor: Cursor, rows: Sequence[Sequence[Any]]) -> dict[str, int]:
        """The numbers of those that are new, by their names."""
        return {guid: id_ for id_, guid in self._deliveries.all(cursor, rows)}

    def _row(self, one: Arrival, now: int, routed_at: int | None, repos_said: str | None) -> tuple[Any, ...]:
        intake = one.intake
        touches = written(intake.touches)
        return one.guid, one.event, one.action, _installation(intake), now, routed_at, touches, repos_said

    def _carry_over(self, ledger: SqlLedger, cursor: Cursor, fresh: Iterable[tuple[int, Arrival]]) -> None:
        """What else the deliveries say."""
        said: list[Seen] = []
        see_waiting(cursor, self._name)
        for id_, one in fresh:
            change = one.intake.installation
            if change is not None:
                # What came before it was seen before it.
                see(cursor, self._name, said)
                change_installation(ledger, change)
                said = [seen(repo) for repo in change.repos_added]
            said += [seen(repo) for repo in one.intake.repos]
            for intent in one.intake.intents:
                insert_new(ledger.connection, intents, {**intent_values(intent), "delivery": id_})
        see(cursor, self._name, said)


@lru_cache(maxsize=2)
def _arrivals(name: str) -> _Arrivals:
    return _Arrivals(name)


def _installation(intake: Intake) -> InstallationId | None:
    if intake.installation is not None:
        return intake.installation.installation
    if intake.touches:
        return intake.touches[0].installation
    if intake.repos:
        return intake.repos[0].key.installation
    return intake.intents[0].key.installation if intake.intents else None


def _deliveries(name: str) -> QuickRows:
    """Inserts those that are not known yet, of several with one name the first; their numbers and names."""
    columns = ("guid", "event", "action", "installation", "received_at", "routed_at", "touches", "seen")

    def insert(given: Given) -> Insert:
        every = insert_for(DIALECTS[name], deliveries).from_select(columns, _all_of(given))
        unknown = every.on_conflict_do_nothing(index_elements=["guid"])
        return unknown.returning(deliveries.c.id, deliveries.c.guid)

    return QuickRows(name, {column: deliveries.c[column].type for column in columns}, insert)


def _all_of(given: Given) -> Select[Any]:
    """The rows that are given. SQLite needs a condition, or it takes a conflict that is named next for a join."""
    return select(*given.columns.values()).select_from(given.rows).where(true())


def _bring_back(ledger: SqlLedger, change: InstallationChange) -> None:
    """Repositories that were added to the installation after they had been taken out of it."""
    for repo in change.repos_added:
        ledger.connection.execute(
            update(repos)
            .where(
                repos.c.installation == repo.key.installation,
                repos.c.repo == repo.key.repo,
                repos.c.removed_at.is_not(None),
            )
            .values(active=True, removed_at=None, revision=repos.c.revision + 1)
        )


def change_installation(ledger: SqlLedger, change: InstallationChange) -> None:
    """Remembers the installation and carries its state over to its repositories, all in the running transaction."""
    connection = ledger.connection
    now = ledger.clock.now()
    active = change.active and not change.removed
    facts: dict[str, Any] = {
        "account_id": change.account_id,
        "account_login": change.account_login,
        "active": active,
        "removed_at": now if change.removed else None,
    }
    if change.permissions is not None:
        facts["permissions"] = change.permissions
    statement = insert_for(connection.dialect, installations).values(
        installation=change.installation, **{"permissions": (), **facts}
    )
    connection.execute(statement.on_conflict_do_update(index_elements=["installation"], set_=facts))
    for repo_id in change.repos_removed:
        connection.execute(
            update(repos)
            .where(repos.c.installation == change.installation, repos.c.repo == repo_id, repos.c.removed_at.is_(None))
            .values(active=False, removed_at=now, revision=repos.c.revision + 1)
        )
    if active:
        _bring_back(ledger, change)
    current: dict[str, Any] = {"active": active}
    if change.permissions is not None:
        current["permissions"] = change.permissions
    listed = repos.c.removed_at.is_(None)
    differs = or_(*(repos.c[name] != value for name, value in current.items()))
    connection.execute(
        update(repos)
        .where(repos.c.installation == change.installation, listed, differs)
        .values(**current, revision=repos.c.revision + 1)
    )
