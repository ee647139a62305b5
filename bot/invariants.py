"""What must hold after every write to an item's records, asserted in the transaction that would break it.

A breach rolls the write back and raises, so that a defect stops one item, loudly, instead of doing harm. The database
itself holds some of them as well (one live attempt per item, fences that never repeat, history that is never edited).
"""

from __future__ import annotations

from bot.domain.effects import Save
from bot.domain.lifecycle import ItemEvent
from bot.domain.model import IssueKey, Item, ItemState
from bot.protocols.ledger import Ledger

ENDS_WELL = frozenset({ItemEvent.MERGED.value, ItemEvent.IMPLEMENTED.value, ItemEvent.NO_CODE.value})
"""The only events that make an item done: a merge, its result seen on the default branch, or a person's word."""


class InvariantBroken(AssertionError):
    """A decision that would have broken what always holds; nothing of it was written."""


def check(tx: Ledger, key: IssueKey, save: Save) -> None:
    """Raises InvariantBroken when the records as they are now, inside this transaction, cannot be right."""
    found = [*_of_the_decision(save), *_of_the_records(tx, key)]
    if found:
        raise InvariantBroken(f"{key}: {'; '.join(found)}")


def _of_the_decision(save: Save) -> list[str]:
    """Every change of state has its line of history, and nothing is done without a merge."""
    before, after = save.item_before, save.item_after
    if after is None or (before is not None and before.state is after.state):
        return []
    lines = [line for line in save.history if line.to_state is not None and line.from_state is not line.to_state]
    found: list[str] = []
    if not lines or lines[-1].to_state is not after.state:
        found.append(f"the change to {after.state.value} has no line of history")
    if after.state is ItemState.DONE and not any(line.kind in ENDS_WELL for line in lines):
        found.append("done without a merge")
    return found


def _of_the_records(tx: Ledger, key: IssueKey) -> list[str]:
    item = tx.item(key)
    if item is None:
        return []
    live = tx.live_attempt(key)
    found: list[str] = []
    if live is not None and live.fence != item.fence:
        found.append(f"the live attempt has fence {live.fence}, the item {item.fence}")
    if live is not None and item.state is not ItemState.IN_PROGRESS and not _over_elsewhere(item):
        found.append(f"an attempt is live while the item is {item.state.value}")
    locked = any(row.issue == key.number for row in tx.locks(key.repo_key))
    if locked and live is None and (item.pull is None or item.terminal) and not _asks(item):
        found.append("locks are held without a live attempt, an open pull request or an open question")
    return found


def _asks(item: Item) -> bool:
    """A question is open, or was answered just now: the item may have kept its locks for going on."""
    return item.state is ItemState.NEEDS_INPUT or (item.state is ItemState.READY and item.answered)


def _over_elsewhere(item: Item) -> bool:
    """A merge may come while an attempt still runs; the attempt is ended by the passes that follow."""
    return item.state is ItemState.DONE
