"""The backlog as people list it and check it. Reads only.

`list` is a projection of the ledger in the vocabulary of the backlog file; `validate` compares the ledger with what
the last looks at GitHub found and says what does not fit together.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import msgspec

from bot.domain import labels
from bot.domain.attempt import Attempt
from bot.domain.labels import IntentLabel
from bot.domain.model import IssueKey, Item, ItemState
from bot.domain.repository import RepoRecord
from bot.domain.schedule import order
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


class Finding(TypedDict):
    """One thing that does not fit. `severity` is error or warning."""

    code: str
    severity: str
    item: int | None
    message: str
    remedy: str


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
    """Lists and checks."""

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

    async def validate(self, repo: RepoRecord) -> list[Finding]:
        """What does not fit together, errors first."""
        found = await self._store.read(lambda tx: _findings(tx, repo))
        return sorted(found, key=lambda f: (f["severity"] != "error", f["item"] or 0, f["code"]))


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


def _findings(tx: Ledger, repo: RepoRecord) -> list[Finding]:
    found: list[Finding] = []

    def add(code: str, severity: str, item: int | None, message: str, remedy: str) -> None:
        found.append(Finding(code=code, severity=severity, item=item, message=message, remedy=remedy))

    for problem in repo.preflight_problems:
        add(problem.code, "error", None, problem.what, problem.remedy)
    for problem in repo.policy_problems:
        severity = "error" if repo.policy_error_sha is not None else "warning"
        add(problem.code, severity, None, problem.what, problem.remedy)
    items = tx.items(repo.key)
    numbers = {item.key.number: item for item in items}
    for item in items:
        number = item.key.number
        live = tx.live_attempt(item.key)
        if live is not None and item.state is not ItemState.IN_PROGRESS:
            add("live_attempt", "error", number, f"an attempt is live but the item is {item.state.value}", "/tgs sync")
        if item.thought_gone and not item.terminal:
            add("thought_missing", "error", number, "its plan folder is gone", "Restore it, or close the issue.")
        if item.projection.state_label is None and not item.terminal:
            add("label_missing", "warning", number, "its state label was not shown yet", "/tgs sync")
        missing = [n for n in item.spec.depends_on if n not in numbers]
        found.extend(
            Finding(
                code="dependency_unknown",
                severity="warning",
                item=number,
                message=f"it depends on #{n}, which is no item",
                remedy="It waits until that issue is closed as completed.",
            )
            for n in missing
        )
    found.extend(_cycles(numbers))
    for row in tx.locks(repo.key):
        holder = tx.item(IssueKey(repo.key.installation, repo.key.repo, row.issue))
        if holder is None or holder.terminal:
            add("orphan_lock", "error", row.issue, f"the lock on {row.path} has no holder", "/tgs sync")
    return found


def _cycles(items: dict[int, Item]) -> list[Finding]:
    """Items that wait for each other in a ring, named once by the lowest number."""
    found: list[Finding] = []
    for start in sorted(items):
        seen: set[int] = set()
        todo = [n for n in items[start].spec.depends_on if n in items]
        while todo:
            number = todo.pop()
            if number == start:
                if start <= min(seen | {start}):
                    found.append(
                        Finding(
                            code="dependency_cycle",
                            severity="error",
                            item=start,
                            message="it waits for itself through its dependencies",
                            remedy="Remove one `depends_on` of the ring.",
                        )
                    )
                break
            if number not in seen:
                seen.add(number)
                todo.extend(n for n in items[number].spec.depends_on if n in items)
    return found
