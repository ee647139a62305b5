"""What is left of items that ended long ago: the item, its last attempt, what it cost, and a line about its history.

Promise: an item that is touched again afterwards comes to the same decision as before. Its state, its fence, its last
attempt, its pull request and what it has spent stay, so that it is neither started again nor may spend its money twice;
its history begins where it was cut, and is checked from there. A history that does not say what is stored is evidence,
and is kept.

Races: an item that is taken up again between the look and the unit is left alone, because the unit looks again; a pass
that read the item before is refused by its revision and decides anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import takewhile
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Row, Table, and_, delete, func, literal, or_, select, tuple_, update

from bot.domain.attempt import AttemptPhase
from bot.domain.history import Told, differences, replay
from bot.domain.model import TERMINAL_STATES, InstallationId, IssueKey, RepoId, RepoKey
from bot.store.chain import link
from bot.store.dialect import insert_for
from bot.store.ledger import SqlLedger
from bot.store.replayed import beginning_of
from bot.store.tables import (
    attempts,
    cuts,
    events,
    intents,
    items,
    locks,
    messages,
    outbox,
    questions,
    spending,
    steers,
)
from bot.store.types import UtcTime
from bot.store.verbs import given, of_given_issue, of_issue

log = structlog.get_logger(__name__)

LINES = 200
"""Lines of a repository's own history in one unit: each is checked before it is removed."""

Counts = dict[Table, int]
"""Rows that were removed, by table."""


def same_issue(one: Table, other: Table) -> ColumnElement[bool]:
    return and_(one.c.installation == other.c.installation, one.c.repo == other.c.repo, one.c.number == other.c.number)


def over(before: datetime) -> ColumnElement[bool]:
    """The item ended before then."""
    return and_(items.c.state.in_(TERMINAL_STATES), items.c.since < literal(before, UtcTime))


def long_ended(ledger: SqlLedger, before: datetime, after: IssueKey | None, limit: int) -> list[IssueKey]:
    """The next items that ended before then and of which something as old is kept, by their keys."""
    place = tuple_(items.c.installation, items.c.repo, items.c.number)
    then = literal(before, UtcTime)
    kept = [
        select(table.c.id).where(same_issue(table, items), table.c.at < then).exists() for table in (events, messages)
    ]
    query = (
        select(items.c.installation, items.c.repo, items.c.number)
        .where(over(before), or_(*kept))
        .order_by(items.c.installation, items.c.repo, items.c.number)
        .limit(limit)
    )
    if after is not None:
        query = query.where(place > tuple_(*(literal(int(n)) for n in (after.installation, after.repo, after.number))))
    rows = ledger.connection.execute(query)
    return [IssueKey(InstallationId(row.installation), RepoId(row.repo), row.number) for row in rows]


def condense(ledger: SqlLedger, keys: Iterable[IssueKey], before: datetime) -> Counts:
    """Removes the details of those of these items that ended before then and rest; how many rows went."""
    found: Counts = {}
    for key in keys:
        row = ledger.connection.execute(select(items).where(of_issue(items, key), over(before))).one_or_none()
        if row is None or _busy(ledger, key) or not _cut_item(ledger, key, row, before, found):
            continue
        _merge_costs(ledger, key, found)
        newest = select(func.max(attempts.c.fence)).where(of_issue(attempts, key)).scalar_subquery()
        _delete(ledger, found, attempts, of_issue(attempts, key), attempts.c.fence < newest)
        # The number of the last question stays taken.
        last = select(func.max(questions.c.ordinal)).where(of_issue(questions, key)).scalar_subquery()
        _delete(ledger, found, questions, of_issue(questions, key), questions.c.ordinal < last)
        _delete(ledger, found, steers, of_issue(steers, key))
        said = and_(of_issue(messages, key), messages.c.at < literal(before, UtcTime))
        _delete(ledger, found, messages, said, messages.c.id < ledger.last_message())
        if row.snapshot is not None and row.snapshot.body:
            # Whoever takes the item up again has its text compared by the history of its edits.
            slim = {"snapshot": replace(row.snapshot, body=""), "revision": row.revision + 1}
            ledger.connection.execute(update(items).where(of_issue(items, key)).values(**slim))
    return found


_UNDER_WAY = select(
    or_(
        select(attempts.c.id).where(of_given_issue(attempts), attempts.c.phase != AttemptPhase.ENDED).exists(),
        select(intents.c.id).where(of_given_issue(intents), intents.c.outcome.is_(None)).exists(),
        select(locks.c.path).where(of_given_issue(locks)).exists(),
        select(outbox.c.key).where(of_given_issue(outbox), outbox.c.done_at.is_(None)).exists(),
    )
)


def _busy(ledger: SqlLedger, key: IssueKey) -> bool:
    """Whether something of the item is under way although it has ended."""
    return bool(ledger.connection.execute(_UNDER_WAY, given(key)).scalar_one())


def _cut_item(ledger: SqlLedger, key: IssueKey, item: Row[Any], before: datetime, found: Counts) -> bool:
    """Removes the item's old history if all of it says what the item is; whether it did, or there is none."""
    of_key = and_(events.c.installation == key.installation, events.c.repo == key.repo, events.c.number == key.number)
    lines = ledger.connection.execute(select(events).where(of_key).order_by(events.c.id)).all()
    cut = _cut_of(ledger, key.repo_key, key.number)
    told = replay(lines, beginning_of(cut))
    if differences(told, item.state.value, item.fence, ()) or not _linked(lines, cut):
        log.warning("history_kept", key=str(key), remedy="tgs db verify")
        return False
    old = _older(ledger, lines, before)
    if old:
        told = replay(old, beginning_of(cut))
        _cut(ledger, key.repo_key, key.number, cut, old, told)
        _delete(ledger, found, events, of_key, events.c.id <= old[-1].id)
    return True


def cut_repository(ledger: SqlLedger, key: RepoKey, before: datetime) -> Counts:
    """Removes the oldest lines of the repository's own history, as far as they are from before then; some of many."""
    found: Counts = {}
    of_key = and_(events.c.installation == key.installation, events.c.repo == key.repo, events.c.number.is_(None))
    rows = ledger.connection.execute(select(events).where(of_key).order_by(events.c.id).limit(LINES)).all()
    old, cut = _older(ledger, rows, before), _cut_of(ledger, key, 0)
    if not _linked(old, cut):
        log.warning("history_kept", key=str(key), remedy="tgs db verify")
        return found
    if old:
        _cut(ledger, key, 0, cut, old, Told())
        _delete(ledger, found, events, of_key, events.c.id <= old[-1].id)
    return found


def _older(ledger: SqlLedger, lines: Sequence[Row[Any]], before: datetime) -> Sequence[Row[Any]]:
    """The lines from before then that no younger one stands before; never the newest line of all.

    SQLite gives the next line the number after the highest that is there, and whoever follows what happens remembers
    the highest that they saw: it must not come again.
    """
    newest = ledger.last_event()
    return list(takewhile(lambda line: line.at < before and line.id < newest, lines))


def repositories_with_history(ledger: SqlLedger, before: datetime) -> list[RepoKey]:
    """Repositories whose own history has lines from before then."""
    query = (
        select(events.c.installation, events.c.repo)
        .where(events.c.number.is_(None), events.c.at < literal(before, UtcTime))
        .distinct()
    )
    return [RepoKey(InstallationId(row.installation), RepoId(row.repo)) for row in ledger.connection.execute(query)]


def _cut_of(ledger: SqlLedger, repo: RepoKey, number: int) -> Row[Any] | None:
    query = select(cuts).where(
        cuts.c.installation == repo.installation, cuts.c.repo == repo.repo, cuts.c.number == number
    )
    return ledger.connection.execute(query).one_or_none()


def _linked(lines: Iterable[Row[Any]], cut: Row[Any] | None) -> bool:
    """Whether each line follows on the one before. Lines from before there were links are passed over."""
    newest = None if cut is None else cut.chain
    for row in lines:
        if row.chain is None and newest is None:
            continue
        if row.chain != link(newest, row._asdict()):
            return False
        newest = row.chain
    return True


def _cut(
    ledger: SqlLedger,
    repo: RepoKey,
    number: int,
    before: Row[Any] | None,
    lines: Sequence[Row[Any]],
    told: Told,
) -> None:
    values = {
        "up_to": lines[-1].id,
        "lines": len(lines) + (0 if before is None else before.lines),
        "chain": lines[-1].chain,
        "state": told.state,
        "fence": told.fence,
        "at": ledger.clock.now(),
    }
    place = {"installation": repo.installation, "repo": repo.repo, "number": number}
    statement = insert_for(ledger.connection.dialect, cuts).values(**place, **values)
    ledger.connection.execute(statement.on_conflict_do_update(index_elements=list(place), set_=values))


def _merge_costs(ledger: SqlLedger, key: IssueKey, found: Counts) -> None:
    """What the attempts but the last have cost becomes one row, which counts against the item's ceiling as they did."""
    kept = select(attempts.c.id).where(of_issue(attempts, key)).order_by(attempts.c.fence.desc()).limit(1)
    earlier = and_(of_issue(spending, key), spending.c.attempt.not_in(kept))
    rows = ledger.connection.execute(select(spending).where(earlier)).all()
    if len(rows) < 2:
        return
    total = sum(row.reserved if row.spent is None else row.spent for row in rows)
    _delete(ledger, found, spending, spending.c.attempt.in_([row.attempt for row in rows]))
    place = {"installation": key.installation, "repo": key.repo, "number": key.number}
    at = min(row.at for row in rows)
    ledger.connection.execute(
        spending.insert().values(attempt=f"earlier:{key}", **place, at=at, reserved=total, spent=total)
    )


def _delete(ledger: SqlLedger, found: Counts, table: Table, *where: ColumnElement[bool]) -> None:
    count = ledger.connection.execute(delete(table).where(*where)).rowcount
    if count:
        found[table] = found.get(table, 0) + count
