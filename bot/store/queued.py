"""The queue of a repository as the scheduler reads it, thousands of items at once: only what changed is read whole.

A pass over a long queue begins with one row of four columns per item, read on the driver's cursor; the items
themselves are read only where their revision is not the one that is remembered.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache

import msgspec
from sqlalchemy import and_, bindparam, func, literal_column, or_, select, update

from bot.domain.line import Told
from bot.domain.model import IssueKey, Item, ItemState, RepoKey, Waiting
from bot.store.dialect import QuickSelect, driver_cursor
from bot.store.items import item_of
from bot.store.tables import items, keys
from bot.store.verbs import Verbs, given, in_given_repo

CHUNK = 500
"""Numbers in one statement: below every limit on the parameters of a statement."""

TEXTS = 128
"""Stored reasons whose records are remembered: most of a queue waits for the same, and the rest is read quickly."""

_TO_START = (ItemState.READY.value, ItemState.IN_PROGRESS.value)

_WHOLE = select(items).where(in_given_repo(items), items.c.number.in_(bindparam("numbers", expanding=True)))

_ROWS = {
    name: QuickSelect(
        select(items.c.number, items.c.revision, items.c.waiting, items.c.position).where(
            in_given_repo(items), or_(*(items.c.state == literal_column(f"'{state}'") for state in _TO_START))
        ),
        name,
    )
    for name in ("sqlite", "postgresql")
}

_IN_REVIEW = select(func.count()).select_from(items).where(in_given_repo(items), items.c.state == ItemState.IN_REVIEW)

_FIRST = (
    select(items.c.number, items.c.title)
    .where(in_given_repo(items), items.c.state == ItemState.READY, items.c.position.is_not(None))
    .order_by(items.c.position, items.c.number)
    .limit(bindparam("count"))
)

_TELL = (
    update(items)
    .where(
        items.c.installation == bindparam("of_installation"),
        items.c.repo == bindparam("of_repo"),
        items.c.number == bindparam("of_number"),
    )
    .values(waiting=bindparam("reasons", type_=items.c.waiting.type), position=bindparam("place"))
)

_STATES = select(items.c.number, items.c.state).where(
    in_given_repo(items), items.c.number.in_(bindparam("numbers", expanding=True))
)

_UNSETTLED = select(items.c.number).where(
    in_given_repo(items),
    or_(
        items.c.state.in_([ItemState.IN_PROGRESS, ItemState.NEEDS_INPUT, ItemState.IN_REVIEW]),
        and_(
            items.c.state.in_([ItemState.DONE, ItemState.FAILED, ItemState.CANCELLED]),
            items.c.pull_number.is_not(None),
            items.c.branch_deleted.is_(False),
        ),
    ),
)

_RESTING = select(items.c.number).where(in_given_repo(items), items.c.state.in_([ItemState.PROPOSED, ItemState.READY]))

_TOUCHED = select(keys.c.key, keys.c.touched_at).where(keys.c.key.in_(bindparam("names", expanding=True)))

_decode = msgspec.json.Decoder(tuple[Waiting, ...]).decode


@lru_cache(maxsize=TEXTS)
def _reasons(text: str) -> tuple[Waiting, ...]:
    return _decode(text)


def _chunks(numbers: Collection[int]) -> Sequence[list[int]]:
    ordered = sorted(numbers)
    return [ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK)]


class QueueVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about whole queues."""

    def queue_rows(self, repo: RepoKey) -> tuple[dict[int, int], dict[int, Told]]:
        """The revisions of what is queued or being worked on, and what each was told, by their numbers."""
        revisions: dict[int, int] = {}
        told: dict[int, Told] = {}
        found = _ROWS[self.connection.dialect.name].all(driver_cursor(self.connection), given(repo))
        for number, revision, text, place in found:
            revisions[number] = revision
            told[number] = (_reasons(text), place)
        return revisions, told

    def items_numbered(self, repo: RepoKey, numbers: Collection[int]) -> list[Item]:
        """These items, as far as they are there, in no order."""
        found: list[Item] = []
        for chunk in _chunks(numbers):
            rows = self.connection.execute(_WHOLE, {**given(repo), "numbers": chunk})
            found += [item_of(row) for row in rows]
        return found

    def states_of(self, repo: RepoKey, numbers: Collection[int]) -> dict[int, ItemState]:
        """The states of those of these issues that are items."""
        found: dict[int, ItemState] = {}
        for chunk in _chunks(numbers):
            rows = self.connection.execute(_STATES, {**given(repo), "numbers": chunk})
            found.update((row.number, row.state) for row in rows)
        return found

    def count_in_review(self, repo: RepoKey) -> int:
        return self.connection.execute(_IN_REVIEW, given(repo)).scalar_one()

    def first_in_queue(self, repo: RepoKey, count: int) -> list[tuple[int, str]]:
        """Number and title of the first ready items by the place that they were told."""
        rows = self.connection.execute(_FIRST, {**given(repo), "count": count})
        return [(row.number, row.title) for row in rows]

    def tell_places(self, repo: RepoKey, told: Mapping[int, Told]) -> None:
        """Stores what a scheduling pass saw (no revision; the last pass wins)."""
        if told:
            rows = [
                {
                    "of_installation": repo.installation,
                    "of_repo": repo.repo,
                    "of_number": number,
                    "reasons": reasons,
                    "place": place,
                }
                for number, (reasons, place) in told.items()
            ]
            self.connection.execute(_TELL, rows)

    def unsettled(self, repo: RepoKey) -> list[IssueKey]:
        """Items that may change without their issue: under way, in review, or over with a branch that is left."""
        rows = self.connection.execute(_UNSETTLED, given(repo))
        return [IssueKey(repo.installation, repo.repo, row.number) for row in rows]

    def resting(self, repo: RepoKey) -> dict[int, datetime | None]:
        """Items that only their issue can change, and when something last pointed at each."""
        numbers = {
            str(IssueKey(repo.installation, repo.repo, number)): number
            for number in self.connection.execute(_RESTING, given(repo)).scalars()
        }
        found: dict[int, datetime | None] = dict.fromkeys(numbers.values())
        names = sorted(numbers)
        for start in range(0, len(names), CHUNK):
            for row in self.connection.execute(_TOUCHED, {"names": names[start : start + CHUNK]}):
                found[numbers[row.key]] = row.touched_at
        return found
