"""Whether what is stored about the items is what their history leads to.

Promise: every item is compared with a replay of its whole history (`bot/domain/history.py`), from where it was removed
for its age on, so that a record that was
changed past the bot is found, and a history that was cut off at its end too, where that changed anything.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, and_, select

from bot.domain.attempt import AttemptPhase
from bot.domain.history import NOTHING_BEFORE, Beginning, differences, replay
from bot.store.database import database_of
from bot.store.tables import attempts, cuts, events, installations, items, repos


def unexplained_at(url: str) -> tuple[str, ...]:
    """Of the database that the URL names. Raises SettingsError and StoreDamaged."""
    database = database_of(url)
    if not database.there():
        return ()
    with database.connect(read_only=True) as connection:
        return unexplained(connection)


def unexplained(connection: Connection) -> tuple[str, ...]:
    """Items that are stored otherwise than their history says, with the differences, in words.

    Not those of an App that was removed: should it come back, its attempts go on with the items that it finds then.
    """
    found: list[str] = []
    of_repo = and_(repos.c.installation == items.c.installation, repos.c.repo == items.c.repo)
    removed = select(installations.c.installation).where(installations.c.removed_at.is_not(None))
    stored = (
        select(items, repos.c.full_name)
        .join(repos, of_repo, isouter=True)
        .where(items.c.installation.not_in(removed))
        .order_by(items.c.repo, items.c.number)
    )
    for item in connection.execute(stored).all():
        lines = connection.execute(
            select(events)
            .where(
                events.c.installation == item.installation, events.c.repo == item.repo, events.c.number == item.number
            )
            .order_by(events.c.id)
        ).all()
        live = connection.execute(
            select(attempts.c.id).where(
                attempts.c.installation == item.installation,
                attempts.c.repo == item.repo,
                attempts.c.number == item.number,
                attempts.c.phase != AttemptPhase.ENDED,
            )
        ).scalars()
        cut = connection.execute(
            select(cuts).where(
                cuts.c.installation == item.installation, cuts.c.repo == item.repo, cuts.c.number == item.number
            )
        ).one_or_none()
        told = replay(lines, beginning_of(cut))
        name = f"{item.full_name or f'repository {item.repo}'}#{item.number}"
        found += [f"{name}: {text}" for text in differences(told, item.state.value, item.fence, live)]
    return tuple(found)


def beginning_of(cut: Row[Any] | None) -> Beginning:
    """What an item was where its history was cut."""
    return NOTHING_BEFORE if cut is None else Beginning(cut.state, cut.fence)
