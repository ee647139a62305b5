"""The intake's door: delivery, repositories, installation change, intents and touches in one unit.

This is the hot path, so its INSERTs are compiled once and run on the driver's cursor. A delivery that is known
changes nothing at all; an intent whose natural key is known (the same comment under another delivery id) is ignored.
A delivery that asks for nothing is stored as routed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Dialect,
    bindparam,
    case,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
    update,
)

from bot.domain.intake import InstallationChange, Intake, SeenRepo, Touch, TouchKind
from bot.domain.model import InstallationId
from bot.store.dialect import QuickInsert, driver_cursor, insert_for
from bot.store.errors import StoreClosed, StoreUnavailable
from bot.store.intents import intent_values
from bot.store.ledger import SqlLedger, Writes
from bot.store.tables import deliveries, installations, intents, repos, touches
from bot.store.types import to_micros

# Touch kinds whose value is a number; the router joins on integers.
_NUMBERED = frozenset({TouchKind.ISSUE, TouchKind.RUN, TouchKind.PULL})

# Deliveries in one unit: enough that a server's answers are waited for once, few enough that a failure is cheap.
TOGETHER = 64

# The largest integer both databases hold.
_MAX_BIGINT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class _Statements:
    """The INSERTs of the hot path, compiled for one database."""

    delivery: QuickInsert
    touch: QuickInsert
    repo: QuickInsert

    @staticmethod
    @lru_cache(maxsize=2)
    def compiled(dialect: Dialect) -> _Statements:
        delivery = insert_for(dialect, deliveries).values(
            guid="", event="", action="", installation=0, received_at=0, routed_at=0, body=b""
        )
        touch = insert_for(dialect, touches).values(
            delivery=0, kind="issue", installation=0, repo=0, value="", number=0, hint=""
        )
        return _Statements(
            delivery=QuickInsert(delivery.on_conflict_do_nothing().returning(deliveries.c.id), dialect),
            touch=QuickInsert(touch, dialect),
            repo=_see_repo(dialect),
        )


def _number(touch: Touch) -> int | None:
    if touch.kind not in _NUMBERED or not (touch.value.isascii() and touch.value.isdigit()):
        return None
    number = int(touch.value)
    return number if number <= _MAX_BIGINT else None


def _installation(intake: Intake) -> InstallationId | None:
    if intake.installation is not None:
        return intake.installation.installation
    named = (
        *(touch.installation for touch in intake.touches),
        *(repo.key.installation for repo in intake.repos),
        *(intent.key.installation for intent in intake.intents),
    )
    return next(iter(named), None)


@dataclass(slots=True)
class _Arrived:
    """One delivery that waits to be stored, and where its caller waits."""

    row: dict[str, Any]
    intake: Intake
    to_route: bool
    stored: asyncio.Future[bool]


class SqlInbox:
    """`bot.protocols.ledger.Inbox` on the store.

    What arrives while a commit is under way is stored together by the next one. When that fails because of one of
    them, each is stored by itself. `nudge` is called, in the event loop, after each commit that left something to
    route.
    """

    def __init__(self, store: Writes, nudge: Callable[[], None] | None = None) -> None:
        self._store = store
        self._nudge = nudge
        self._arrived: list[_Arrived] = []
        self._storing: asyncio.Task[None] | None = None

    async def accept(self, delivery: str, event: str, action: str | None, intake: Intake, body: bytes | None) -> bool:
        """Commits all of it or nothing; returns after the commit. False: the delivery was known.

        Raises StoreUnavailable or StoreClosed: GitHub must then be told that the delivery was not taken.
        """
        row = {
            "guid": delivery,
            "event": event,
            "action": action,
            "installation": _installation(intake),
            "body": body,
        }
        to_route = bool(intake.touches or intake.intents or intake.installation)
        one = _Arrived(row, intake, to_route, asyncio.get_running_loop().create_future())
        self._arrived.append(one)
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store_all())
        return await one.stored

    async def _store_all(self) -> None:
        """Until nothing is left. What the callers get is never left open, however this ends."""
        some: list[_Arrived] = []
        try:
            while self._arrived:
                some, self._arrived = self._arrived[:TOGETHER], self._arrived[TOGETHER:]
                await self._store_some(some)
        finally:
            for one in (*some, *self._arrived):
                if not one.stored.done():
                    one.stored.set_exception(StoreUnavailable("the server ends"))
                    one.stored.exception()  # a caller who is gone does not have to hear it
            self._arrived = []

    async def _store_some(self, some: Sequence[_Arrived]) -> None:
        try:
            new = await self._store.write(lambda ledger: self._unit(ledger, some))
        except Exception as error:  # noqa: BLE001 - the callers get it
            if len(some) > 1 and not isinstance(error, StoreClosed | StoreUnavailable):
                for one in some:
                    await self._store_some([one])
                return
            for one in some:
                if not one.stored.done():
                    # An object for each: a traceback that several tasks share grows with every raise.
                    one.stored.set_exception(error if len(some) == 1 else _alike(error))
            return
        for one, fresh in zip(some, new, strict=True):
            if not one.stored.done():
                one.stored.set_result(fresh)
        if self._nudge is not None and any(fresh and one.to_route for one, fresh in zip(some, new, strict=True)):
            self._nudge()

    def _unit(self, ledger: SqlLedger, some: Sequence[_Arrived]) -> list[bool]:
        """Whether each was new."""
        statements, cursor = _Statements.compiled(ledger.connection.dialect), driver_cursor(ledger.connection)
        now = to_micros(ledger.clock.now())
        rows = [{**one.row, "received_at": now, "routed_at": None if one.to_route else now} for one in some]
        stored = statements.delivery.each(cursor, rows)
        new = [(one.intake, row[0]) for one, row in zip(some, stored, strict=True) if row is not None]
        statements.touch.many(cursor, [_touched(id_, touch) for intake, id_ in new for touch in intake.touches])
        seen: list[dict[str, Any]] = []
        for intake, id_ in new:
            added: tuple[SeenRepo, ...] = ()
            if intake.installation is not None:
                # What came before it was seen before it.
                statements.repo.many(cursor, seen)
                seen = []
                change_installation(ledger, intake.installation)
                added = intake.installation.repos_added
            seen += [_seen(repo) for repo in (*added, *intake.repos)]
            for intent in intake.intents:
                statement = insert_for(ledger.connection.dialect, intents).values(**intent_values(intent), delivery=id_)
                ledger.connection.execute(statement.on_conflict_do_nothing())
        statements.repo.many(cursor, seen)
        return [row is not None for row in stored]


def _alike(error: Exception) -> Exception:
    copy = StoreClosed(str(error)) if isinstance(error, StoreClosed) else StoreUnavailable(str(error))
    copy.__cause__ = error
    return copy


def _seen(repo: SeenRepo) -> dict[str, Any]:
    return {
        "installation": repo.key.installation,
        "repo": repo.key.repo,
        "full_name": repo.full_name,
        "owner_id": repo.owner_id,
        "private": repo.private,
        "default_branch": repo.default_branch or "",
        "seen_archived": repo.archived,
    }


def _touched(delivery: int, touch: Touch) -> dict[str, Any]:
    return {
        "delivery": delivery,
        "kind": touch.kind.value,
        "installation": touch.installation,
        "repo": touch.repo,
        "value": touch.value,
        "number": _number(touch),
        "hint": touch.hint,
    }


def _see_repo(dialect: Dialect) -> QuickInsert:
    """Inserts a repository that is new, with the state and permissions of its installation; of a known one only what
    the payload says otherwise is changed. A repository that was taken out stays out when a late webhook mentions it.
    """
    of_installation = installations.c.installation == bindparam("installation")
    active = select(installations.c.active).where(of_installation).scalar_subquery()
    permissions = select(installations.c.permissions).where(of_installation).scalar_subquery()
    archived = bindparam("seen_archived", type_=Boolean)
    statement = insert_for(dialect, repos).values(
        installation=bindparam("installation"),
        repo=0,
        full_name="",
        owner_id=0,
        default_branch="",
        private=False,
        revision=0,
        active=func.coalesce(active, true()),
        archived=func.coalesce(archived, false()),
        policy_hash="",
        policy_problems=literal_column("'[]'"),
        preflight_ok=False,
        preflight_problems=literal_column("'[]'"),
        mirror_decided=False,
        permissions=func.coalesce(permissions, literal_column("'[]'")),
    )
    new = statement.excluded
    facts: dict[str, ColumnElement[Any]] = {
        "full_name": new.full_name,
        "owner_id": new.owner_id,
        "private": new.private,
        "default_branch": case(
            (new.default_branch == literal_column("''"), repos.c.default_branch), else_=new.default_branch
        ),
        "archived": func.coalesce(archived, repos.c.archived),
    }
    changed = statement.on_conflict_do_update(
        index_elements=["installation", "repo"],
        set_={**facts, "revision": repos.c.revision + literal_column("1")},
        where=or_(*(repos.c[name] != value for name, value in facts.items())),
    )
    return QuickInsert(changed, dialect)


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
