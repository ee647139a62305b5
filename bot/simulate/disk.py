"""The database of one history, and the store of each simulated process on it.

The disk outlives the processes, as a file does. A unit runs from its first statement to its commit with nothing in
between; processes meet only before and after. Each commit is told to the watcher with the rows that it changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from bot.protocols.clock import Clock
from bot.simulate.process import Process
from bot.simulate.sharing import Switchboard
from bot.store.engine import Waker
from bot.store.errors import StoreUnavailable
from bot.store.fencing import fenced
from bot.store.ledger import SqlLedger
from bot.store.memory import Change, memory_ledger
from bot.store.together import due_keys
from bot.store.writer import Told

T = TypeVar("T")

REFUSAL_SECONDS = 0.05
"""How long a database that refuses takes to say so."""


class Disk:
    """`on_commit` is told which process committed what."""

    def __init__(self) -> None:
        self._ledger = memory_ledger()
        self._ledger.empty()
        self.commits = 0
        self.board = Switchboard()
        self.on_commit: Callable[[Process, Sequence[Change]], None] = lambda _process, _changes: None

    def due(self, keys: Mapping[str, int]) -> None:
        """These keys became due with a commit; with several processes they are queued with it."""
        self.board.queue(keys)

    def lose(self) -> None:
        """Everything is gone; an empty database takes its place."""
        self._ledger.empty()
        self.board = Switchboard()

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """A raw look from outside."""
        return self._ledger.rows(query, *values)

    def execute(self, statement: str) -> None:
        """A change from outside, for negative controls."""
        self._ledger.driver.execute(statement)

    def run(self, process: Process, unit: Callable[[SqlLedger], T], *, write: bool) -> tuple[T, SqlLedger]:
        """The unit in one transaction. Raises what it raises; nothing of it is written then."""
        value, ledger, changes = self._ledger.run(unit, process.clock, write=write)
        if write:
            self.commits += 1
            self.on_commit(process, changes)
        return value, ledger


class SimStore:
    """`bot.protocols.ledger.Store` of one simulated process."""

    def __init__(self, process: Process, disk: Disk, *, shared: bool = False) -> None:
        """`shared`: other processes may work on the same ledger."""
        self._shared = shared
        self.on_told: Callable[[SqlLedger], None] = lambda _ledger: None
        self.process = process
        self.disk = disk
        self.clock: Clock = process.clock
        self._waker: Waker | None = None

    def on_marked(self, waker: Waker) -> None:
        """As `SqlStore.on_marked`: the process hears of its own commits only."""
        self._waker = waker

    async def write(self, unit: Callable[[SqlLedger], T]) -> T:
        """Raises what the unit raises, or StoreUnavailable while the database refuses."""
        await self._reach()
        value, ledger = self.disk.run(self.process, fenced(unit), write=True)
        self.process.saw_ledger(self.disk.commits)
        if self._shared:
            self.disk.due(due_keys(Told(list(ledger.marked)), self.clock.now()))
            self.on_told(ledger)
        if self._waker is not None:
            for mark in ledger.marked:
                self._waker(mark.key, mark.priority, at=mark.at, row=mark.row)
        # The process may end, or be paused, between the commit and the answer.
        await self.process.breathe()
        return value

    async def put(self, unit: Callable[[SqlLedger], T], single: Callable[[], bool]) -> T:
        """As `write`."""
        return await self.write(unit)

    async def read(self, unit: Callable[[SqlLedger], T]) -> T:
        await self._reach()
        value, _ = self.disk.run(self.process, unit, write=False)
        self.process.saw_ledger(self.disk.commits)
        return value

    async def _reach(self) -> None:
        await self.process.breathe()
        if self.process.database_refuses():
            await asyncio.sleep(REFUSAL_SECONDS)
            await self.process.gate()
            raise StoreUnavailable("the database refuses (simulated)")
