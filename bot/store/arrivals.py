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
    Select,
    and_,
    bindparam,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
    update,
)

from bot.domain.intake import InstallationChange, Intake, SeenRepo
from bot.domain.model import InstallationId, RepoKey
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
        return bool(self.intake.touches or self.intake.intents or self.intake.installation)


def store_arrivals(ledger: SqlLedger, some: Sequence[Arrival], *, routed: bool = False) -> list[bool]:
    """Writes them in the running transaction; whether each was new. `routed`: they are routed in the same one."""
    return _arrivals(ledger.connection.dialect.name).store(ledger, some, routed=routed)


class _Arrivals:
    """Writes deliveries into one kind of database (`sqlite` or `postgresql`)."""

    def __init__(self, name: str) -> None:
        self._deliveries = _deliveries(name)
        self._repos = _repos(name)
        self._body = QuickWrite(
            update(deliveries).where(deliveries.c.id == bindparam("of")).values(body=bindparam("body")), name
        )

    def store(self, ledger: SqlLedger, some: Sequence[Arrival], *, routed: bool) -> list[bool]:
        cursor = driver_cursor(ledger.connection)
        now = to_micros(ledger.clock.now())
        rows = [
            (
                one.guid,
                one.event,
                one.action,
                _installation(one.intake),
                now,
                None if one.to_route and not routed else now,
                written(one.intake.touches),
            )
            for one in some
        ]
        ids = {guid: id_ for id_, guid in self._deliveries.all(cursor, rows)}
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

    def _carry_over(self, ledger: SqlLedger, cursor: Cursor, fresh: Iterable[tuple[int, Arrival]]) -> None:
        """What else the deliveries say."""
        seen: list[SeenRepo] = []
        for id_, one in fresh:
            change = one.intake.installation
            if change is not None:
                # What came before it was seen before it.
                self._see(cursor, seen)
                change_installation(ledger, change)
                seen = [*change.repos_added]
            seen += one.intake.repos
            for intent in one.intake.intents:
                insert_new(ledger.connection, intents, {**intent_values(intent), "delivery": id_})
        self._see(cursor, seen)

    def _see(self, cursor: Cursor, seen: Iterable[SeenRepo]) -> None:
        told: dict[RepoKey, list[SeenRepo]] = {}
        for repo in seen:
            of_one = told.setdefault(repo.key, [])
            if repo not in of_one[-1:]:
                of_one.append(repo)
        while told:
            # One statement changes a row once; what was said of it later is said again.
            self._repos.run(cursor, [_seen(of_one[0]) for of_one in told.values()])
            told = {key: of_one[1:] for key, of_one in told.items() if of_one[1:]}


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


def _seen(repo: SeenRepo) -> tuple[Any, ...]:
    key = repo.key
    return (
        key.installation,
        key.repo,
        repo.full_name,
        repo.owner_id,
        repo.private,
        repo.default_branch or None,
        repo.archived,
    )


def _deliveries(name: str) -> QuickRows:
    """Inserts those that are not known yet, of several with one name the first; their numbers and names."""
    columns = ("guid", "event", "action", "installation", "received_at", "routed_at", "touches")
    given = Given(name, {column: deliveries.c[column].type for column in columns})
    insert = insert_for(DIALECTS[name], deliveries).from_select(columns, _all_of(given))
    known = insert.on_conflict_do_nothing(index_elements=["guid"])
    return QuickRows(known.returning(deliveries.c.id, deliveries.c.guid), name)


def _all_of(given: Given) -> Select[Any]:
    """The rows that are given. SQLite needs a condition, or it takes a conflict that is named next for a join."""
    return select(*given.columns.values()).select_from(given.rows).where(true())


def _repos(name: str) -> QuickRows:
    """Inserts repositories that are new, with the state and permissions of their installation; of a known one only what
    the payload says otherwise is changed. A repository that was taken out stays out when a late webhook mentions it.
    """
    columns = ("installation", "repo", "full_name", "owner_id", "private", "default_branch", "archived")
    given = Given(name, {column: repos.c[column].type for column in columns})
    said = {column: given[column] for column in columns} | {
        "default_branch": func.coalesce(given["default_branch"], repos.c.default_branch, literal_column("''")),
        "archived": func.coalesce(given["archived"], repos.c.archived, false()),
    }
    at_first = {
        "revision": literal_column("0"),
        "active": func.coalesce(installations.c.active, true()),
        "permissions": func.coalesce(installations.c.permissions, literal_column("'[]'")),
        "policy_hash": literal_column("''"),
        "policy_problems": literal_column("'[]'"),
        "preflight_ok": false(),
        "preflight_problems": literal_column("'[]'"),
        "mirror_decided": false(),
    }
    facts = [column for column in columns if column not in ("installation", "repo")]
    rows = (
        select(*said.values(), *at_first.values())
        .select_from(given.rows)
        .outerjoin(repos, and_(repos.c.installation == given["installation"], repos.c.repo == given["repo"]))
        .outerjoin(installations, installations.c.installation == given["installation"])
        .where(or_(repos.c.repo.is_(None), *(repos.c[fact] != said[fact] for fact in facts)))
    )
    statement = insert_for(DIALECTS[name], repos).from_select((*said, *at_first), rows)
    new = {fact: statement.excluded[fact] for fact in facts}
    return QuickRows(
        statement.on_conflict_do_update(
            index_elements=["installation", "repo"],
            set_={**new, "revision": repos.c.revision + literal_column("1")},
        ),
        name,
    )


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
