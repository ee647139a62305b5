"""The backlog as people list it and check it. Reads only.

`list` is a projection of the ledger in the vocabulary of the backlog file; `validate` compares the ledger with what
the last looks at GitHub found and says what does not fit together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from bot.domain.attempt import Attempt
from bot.domain.model import IssueKey, Item, ItemState
from bot.domain.repository import RepoRecord
from bot.domain.schedule import order
from bot.domain.timestamps import iso
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
    started_at: str | None
    completed_at: str | None
    claimed_by: str | None
    attempts: int
    pull_request: int | None
    waiting: list[str]


class Finding(TypedDict):
    """One thing that does not fit. `severity` is error or warning."""

    code: str
    severity: str
    item: int | None
    message: str
    remedy: str


OLD_STATUS = {
    ItemState.PROPOSED: "proposed",
    ItemState.READY: "queued",
    ItemState.IN_PROGRESS: "in_progress",
    ItemState.NEEDS_INPUT: "in_progress",
    ItemState.IN_REVIEW: "in_progress",
    ItemState.DONE: "completed",
    ItemState.FAILED: "failed",
    ItemState.CANCELLED: "cancelled",
}
"""The states in the words of the backlog file (`queued`, `in_progress`, `completed`, `failed`)."""


class Backlogs:
    """Lists and checks."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def items(self, repo: RepoRecord, states: Sequence[str] | None = None) -> list[Listed]:
        """The items in the order of the queue, ended ones last."""

        def read(tx: Ledger) -> list[Listed]:
            items = sorted(tx.items(repo.key, states=states), key=lambda item: (item.terminal, order(item)))
            return [listed(item, tx.attempts(item.key)) for item in items]

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
        status=OLD_STATUS[item.state],
        priority=item.priority,
        position=item.position,
        added_at=iso(item.ready_since or item.since),
        started_at=iso(started),
        completed_at=iso(item.since) if item.state is ItemState.DONE else None,
        claimed_by=live.worker.name if live else None,
        attempts=len(attempts),
        pull_request=item.pull.number if item.pull else None,
        waiting=[sentence(reason) for reason in item.waiting],
    )


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
