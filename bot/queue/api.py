"""The queue's interface and what it needs of the rows behind it.

The rows are the truth: somebody marks a key in the transaction that changed something, and after the commit wakes the
queue. A wake-up is only a hint to read the row now; one whose row shows nothing to do runs nothing, and one that is
lost (a crash between commit and wake) is found again at the start or by the sweep. Whoever implements `KeyRows`
promises that a mark made while a key runs is still to be seen after `finish` or `fail` of that run.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Result:
    """What a run says about the next one: at `next_due_at` (aware UTC) at the latest, or at once (`again`)."""

    next_due_at: datetime | None = None
    again: bool = False


Handler = Callable[[str], Awaitable[Result]]
OnError = Callable[[str | None, BaseException], None]


class Row(Protocol):
    """One key's row. It is due when `next_due_at` has come, or when the revisions differ and it has no due time."""

    @property
    def key(self) -> str: ...
    @property
    def wanted(self) -> int: ...
    @property
    def seen(self) -> int: ...
    @property
    def next_due_at(self) -> datetime | None: ...
    @property
    def priority(self) -> int: ...
    @property
    def attempts(self) -> int:
        """Failed runs since the last one that succeeded."""
        ...


class KeyRows(Protocol):
    """The durable side. Every method is one transaction and may raise when the database is away."""

    async def mark(self, key: str, priority: int = 0, at: datetime | None = None) -> None:
        """Raises the wanted revision; the row is due now, or at `at`, unless it is due sooner already."""
        ...

    async def begin(self, key: str) -> Row | None:
        """The row as committed now; None when there is none. Changes nothing, so that a cut-off run stays due."""
        ...

    async def finish(self, key: str, rev: int, next_due_at: datetime | None) -> Row | None:
        """A run that began at wanted revision `rev` succeeded; the row after it."""
        ...

    async def fail(self, key: str, rev: int, error: str, retry_at: datetime) -> Row | None:
        """A run that began at `rev` failed: one more attempt, due again at `retry_at`; the row after it."""
        ...

    async def load(self, until: datetime | None) -> Sequence[Row]:
        """Rows that are due at `until`; with None all that are due now or later."""
        ...


class SharedKeyRows(Protocol):
    """The durable side where several processes run keys. Every method is one transaction and may raise when the
    database is away. What a commit marks, and what `finish` and `remind` find due, is queued with that commit."""

    async def begin(self, key: str) -> Row | None:
        """The row as committed now; if it is due, a run of it begins and every earlier run is overtaken."""
        ...

    def bound(self, row: Any) -> AbstractContextManager[None]:
        """What is written within belongs to the run that began with this row, and is refused once that is overtaken."""
        ...

    async def finish(self, key: str, rev: int, next_due_at: datetime | None) -> Row | None:
        """A run that began at wanted revision `rev` succeeded; the row after it, None when it was overtaken."""
        ...

    async def fail(self, key: str, rev: int, error: str, retry_at: datetime) -> Row | None:
        """A run that began at `rev` failed: due again at `retry_at`; the row after it, None when it was overtaken."""
        ...

    async def due(self) -> Mapping[str, int]:
        """Keys that are due now, with their priorities; of very many some."""
        ...

    async def remind(self, keys: Collection[str]) -> None:
        """Queues those of the keys that are due now."""
        ...

    async def next_due(self) -> datetime | None:
        """The soonest time at which a key is due."""
        ...


class KeyedQueue(Protocol):
    """One driver of the queue. At-least-once, one run per key at a time, no wake-up lost."""

    def wake(self, key: str, priority: int = 0, *, at: datetime | None = None, row: Row | None = None) -> None:
        """Look at the key's row now, or at `at`. Higher priorities run first; equal ones in the order of waking. `row`
        is the row as the mark that wakes the key left it, if that is known."""
        ...

    async def run(self, handler: Handler) -> None:
        """Hands due keys to the handler until drained, closed or cancelled. An error of the handler is never raised
        here: it is reported and the key is tried again after a growing pause."""
        ...

    async def drain(self, limit: float = 30.0) -> int:
        """Starts nothing more and waits at most `limit` seconds for what runs; then cuts it off (it stays due).
        Returns how many runs were cut off. `run` returns."""
        ...

    def close(self) -> None:
        """Ends at once: what runs is cut off and stays due."""
        ...
