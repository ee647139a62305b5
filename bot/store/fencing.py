"""Runs of keys that may be overtaken: each has an epoch, and what an overtaken one writes is refused.

Where several processes share the queue, a process that stood still (paused, starved, cut off) may wake up in the middle
of a run that another process took over meanwhile. Beginning a run raises the key's epoch; while the run lasts, every
unit that its task and the tasks it started write is refused in its own transaction once the epoch has moved on.
`still_ours` asks the same before something is written elsewhere.

Race that stays: a process that stands still between the answer of `still_ours` and the first byte of its request to
GitHub. It is as long as a few instructions; an answer that took long is asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import TypeVar

import structlog

from bot.errors import Superseded
from bot.store.keyrows import ERROR_LENGTH, KeyRow, KeyVerbs, LedgerStore, StoreKeyRows
from bot.store.verbs import Marked

T = TypeVar("T")
L = TypeVar("L", bound=KeyVerbs)

QUICK = 1.0
"""Seconds: an answer that took longer may be out of date already."""

DUE_AT_ONCE = 500
"""Rows that are looked at for being due and not queued in one go; the rest follows with the next look."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one key."""

    key: str
    epoch: int


RUN: ContextVar[Run | None] = ContextVar("run", default=None)
"""The run that the present task belongs to; None outside of runs, and where one process has the queue to itself."""


def fenced(unit: Callable[[L], T]) -> Callable[[L], T]:
    """The unit, refused with Superseded if the present run is overtaken when it is written."""
    run = RUN.get()
    if run is None:
        return unit

    def checked(ledger: L) -> T:
        _require(ledger, run)
        return unit(ledger)

    return checked


async def still_ours(store: LedgerStore, clock: Callable[[], float] = monotonic) -> None:
    """Raises Superseded if the present run is overtaken, StoreUnavailable when nobody knows. `clock` in seconds."""
    run = RUN.get()
    while run is not None:
        asked = clock()
        await store.read(lambda ledger: _require(ledger, run))
        if clock() - asked < QUICK:
            return


def _require(ledger: KeyVerbs, run: Run) -> None:
    if ledger.epoch(run.key) != run.epoch:
        raise Superseded(f"another run of {run.key} has begun")


class SharedKeyRows(StoreKeyRows):
    """The queue's rows (`bot.queue.procrastinate.SharedKeyRows`) where several processes run keys."""

    def __init__(self, store: LedgerStore, process: str) -> None:
        """`process` is a name that no other process has."""
        super().__init__(store)
        self._process = process

    async def begin(self, key: str) -> KeyRow | None:
        """The row as committed now; if it is due, its run begins."""
        return await self._store.write(lambda ledger: ledger.begin_run(key, self._process))

    @contextmanager
    def bound(self, row: KeyRow) -> Iterator[None]:
        """What is written within belongs to the run that began with this row."""
        token = RUN.set(Run(row.key, row.epoch))
        try:
            yield
        finally:
            RUN.reset(token)

    async def finish(self, key: str, rev: int, next_due_at: datetime | None) -> KeyRow | None:
        """As of every queue; None also when the run was overtaken, and then nothing is noted."""

        def unit(ledger: KeyVerbs) -> KeyRow | None:
            row = ledger.finish_key(key, rev, next_due_at)
            if row is not None and row.due(ledger.clock.now()):
                # Queued with the commit: nobody else would tell of it.
                ledger.marked.append(Marked(key, row.priority, ledger.clock.now()))
            return row

        try:
            return await self._store.write(unit)
        except Superseded:
            log.warning("run_overtaken", key=key)
            return None

    async def fail(self, key: str, rev: int, error: str, retry_at: datetime) -> KeyRow | None:
        """As of every queue; None also when the run was overtaken, and then nothing is noted."""
        try:
            return await self._store.write(lambda ledger: ledger.fail_key(key, rev, error[:ERROR_LENGTH], retry_at))
        except Superseded:
            log.warning("run_overtaken", key=key)
            return None

    async def due(self) -> dict[str, int]:
        """Keys that are due now, with their priorities; of very many some."""
        rows = await self._store.read(lambda ledger: ledger.key_rows(ledger.clock.now(), DUE_AT_ONCE))
        return {row.key: row.priority for row in rows}

    async def remind(self, keys: Collection[str]) -> None:
        """Those of the keys that are due now are queued with this commit."""

        def unit(ledger: KeyVerbs) -> None:
            now = ledger.clock.now()
            for key in sorted(keys):
                row = ledger.key_row(key)
                if row is not None and row.due(now):
                    ledger.marked.append(Marked(key, row.priority, now))

        await self._store.write(unit)

    async def next_due(self) -> datetime | None:
        """The soonest time at which a key is due."""
        return await self._store.read(lambda ledger: ledger.soonest_due())
