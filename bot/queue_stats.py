"""How much work there is, in the words of a queue: one count per band of priority, per question and per answer.

Promise: reads the ledger only; an item is counted in one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot.domain.lifecycle import ItemEvent
from bot.domain.model import Item, ItemState
from bot.domain.repository import RepoRecord
from bot.protocols.ledger import Ledger, Store


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Ready items by priority (above, at and below normal), open questions of workers, answers not yet taken up."""

    high: int = 0
    default: int = 0
    low: int = 0
    worker_requests: int = 0
    controller_responses: int = 0
    in_progress: int = 0
    in_review: int = 0

    def __add__(self, other: QueueStats) -> QueueStats:
        return QueueStats(
            self.high + other.high,
            self.default + other.default,
            self.low + other.low,
            self.worker_requests + other.worker_requests,
            self.controller_responses + other.controller_responses,
            self.in_progress + other.in_progress,
            self.in_review + other.in_review,
        )


async def queue_stats(store: Store, repos: Sequence[RepoRecord]) -> QueueStats:
    """The counts of these repositories together."""

    def read(tx: Ledger) -> QueueStats:
        return sum((_of(tx, item) for repo in repos for item in tx.items(repo.key)), QueueStats())

    return await store.read(read)


def _of(tx: Ledger, item: Item) -> QueueStats:
    match item.state:
        case ItemState.READY if _answered(tx, item):
            return QueueStats(controller_responses=1)
        case ItemState.READY if item.priority > 0:
            return QueueStats(high=1)
        case ItemState.READY if item.priority < 0:
            return QueueStats(low=1)
        case ItemState.READY:
            return QueueStats(default=1)
        case ItemState.NEEDS_INPUT:
            return QueueStats(worker_requests=1)
        case ItemState.IN_PROGRESS:
            return QueueStats(in_progress=1)
        case ItemState.IN_REVIEW:
            return QueueStats(in_review=1)
        case _:
            return QueueStats()


def _answered(tx: Ledger, item: Item) -> bool:
    """Whether it is ready because its question was answered."""
    moves = [line for line in tx.history(item.key) if line.to_state == ItemState.READY.value]
    return bool(moves) and max(moves, key=lambda line: line.at).kind == ItemEvent.ANSWERED.value
