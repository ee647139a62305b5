"""The backlog as people list it: a projection of the ledger in the words of the backlog file. Reads only."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import msgspec

from bot.domain import labels
from bot.domain.attempt import Attempt
from bot.domain.labels import IntentLabel
from bot.domain.line import order
from bot.domain.model import IssueKey, Item, ItemState
from bot.domain.repository import RepoRecord
from bot.domain.timestamps import iso
from bot.domain.views import TGS_STATUS
from bot.errors import UserError
from bot.protocols.ledger import Ledger, Store
from bot.texts.reasons import sentence


class Listed(TypedDict):
    """One line of the list. Times are ISO 8601 in UTC with `Z`, or None."""

    number: int
    dir: str | None
    title: str
    state: str
    status: str
    priority: int
    position: int | None
    added_at: str | None
    claimed_at: str | None
    started_at: str | None
    completed_at: str | None
    claimed_by: str | None
    attempts: int
    pull_request: int | None
    labels: list[str]
    waiting: list[str]
    revision: int


MAX_PAGE = 500
"""Items of one answer at most: some hundred kilobytes."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which items are listed. Values of one kind are alternatives; every kind that is given must match."""

    states: frozenset[ItemState] = frozenset()
    statuses: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()

    def match(self, item: Item) -> bool:
        return (
            (not self.states or item.state in self.states)
            and (not self.statuses or TGS_STATUS[item.state] in self.statuses)
            and (not self.labels or not self.labels.isdisjoint(name.casefold() for name in labels_of(item)))
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some items, and the cursor of the next ones (None: there are no more)."""

    items: tuple[Listed, ...]
    next_cursor: str | None


class Backlogs:
    """Lists items."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def items(
        self, repo: RepoRecord, filters: Filters = Filters(), limit: int = MAX_PAGE, cursor: str | None = None
    ) -> Page:
        """The items in the order of the queue, ended ones last.

        A cursor names a place in that order, so an item that moved meanwhile may be seen twice or not at all, and none
        that stayed is left out. Raises UserError for a cursor that is none.
        """
        after = _place(cursor) if cursor is not None else None

        def read(tx: Ledger) -> Page:
            ranked = [(_rank(item), item) for item in tx.items(repo.key) if filters.match(item)]
            found = sorted(ranked, key=lambda pair: pair[0])
            rest = [(rank, item) for rank, item in found if after is None or rank > after]
            shown = rest[:limit]
            more = _cursor(shown[-1][0]) if len(rest) > limit else None
            return Page(tuple(listed(item, tx.attempts(item.key)) for _, item in shown), more)

        return await self._store.read(read)

    async def one(self, key: IssueKey) -> tuple[Item, Listed, list[Attempt]] | None:
        """An item with its line and its attempts; None when it is not in the backlog."""

        def read(tx: Ledger) -> tuple[Item, Listed, list[Attempt]] | None:
            item = tx.item(key)
            if item is None:
                return None
            attempts = tx.attempts(key)
            return item, listed(item, attempts), attempts

        return await self._store.read(read)


def listed(item: Item, attempts: Sequence[Attempt]) -> Listed:
    """One item as a line."""
    live = next((attempt for attempt in attempts if attempt.live), None)
    started = next((attempt.started_at for attempt in attempts if attempt.started_at), None)
    return Listed(
        number=item.key.number,
        dir=item.thought.dir if item.thought else None,
        title=item.title,
        state=item.state.value,
        status=TGS_STATUS[item.state],
        priority=item.priority,
        position=None if item.terminal else item.position,
        added_at=iso(item.ready_since or item.since),
        claimed_at=iso(live.claimed_at) if live else None,
        started_at=iso(started),
        completed_at=iso(item.since) if item.state is ItemState.DONE else None,
        claimed_by=live.worker.name if live else None,
        attempts=len(attempts),
        pull_request=item.pull.number if item.pull else None,
        labels=list(labels_of(item)),
        waiting=[] if item.terminal else [sentence(reason) for reason in item.waiting],
        revision=item.revision,
    )


def labels_of(item: Item) -> tuple[str, ...]:
    """The labels that the issue carries, as far as they were read."""
    held = (IntentLabel.HOLD.value,) if item.held_by == "label" else ()
    owned = (IntentLabel.NO_AGENT.value,) if item.human_owned else ()
    return (labels.state_label(item.state), *sorted(item.accepted_labels), *held, *owned, *item.labels)


_Rank = tuple[bool, int, int, int, float, int]


def _rank(item: Item) -> _Rank:
    expedited, resumed, priority, since, number = order(item)
    return item.terminal, expedited, resumed, priority, since.timestamp(), number


def _cursor(rank: _Rank) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(rank)).decode().rstrip("=")


def _place(cursor: str) -> _Rank:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        found: _Rank = msgspec.json.decode(text, type=_Rank)
    except (ValueError, msgspec.MsgspecError):
        raise UserError("`cursor` is not one of ours.", "Send what `next_cursor` said, or nothing.") from None
    return found
