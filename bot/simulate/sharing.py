"""The queue between the simulated processes of one deployment, as production's hands out keys.

Modelled at the interface of `bot/queue/procrastinate.py`: a job is a hint to look at a key's row, one runs for a key at
a time and one waits, jobs are queued with the commit that marked the key, and a process that gives no sign of life for
`DEAD_AFTER` seconds loses its jobs to the others. Real are the rows, their epochs and the fence (`fencing.py`):
when a process that stood still wakes up in the middle of a run, nothing but them keeps it from writing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime

from bot.queue.api import Handler, OnError, Result, Row
from bot.queue.backoff import delay
from bot.queue.memory import WORKERS
from bot.queue.procrastinate import DATABASE_PAUSE, DEAD_AFTER, HEARTBEAT
from bot.simulate.process import Process
from bot.store.fencing import SharedKeyRows
from bot.store.keyrows import KeyRow

LONGEST_NAP = 20.0
"""Seconds between two looks for what nobody told of. Production looks far more often, which only costs time here."""


SHORTEST_NAP = 1.0
"""Seconds between two such looks while something is due: mostly it is running."""


class Switchboard:
    """The jobs of all processes; it outlives them, as the database does."""

    def __init__(self) -> None:
        self._waiting: dict[str, int] = {}
        self._running: dict[str, Process] = {}
        self._members: dict[Process, Callable[[], None]] = {}

    def join(self, process: Process, told: Callable[[], None]) -> None:
        """From now on the process takes jobs; `told` is called when there may be one."""
        self._members[process] = told

    def has(self, process: Process) -> bool:
        return process in self._members

    def queue(self, keys: Mapping[str, int]) -> None:
        """Part of a commit."""
        for key, priority in keys.items():
            self._waiting[key] = max(priority, self._waiting.get(key, priority))
        if keys:
            self._tell()

    def take(self, process: Process) -> str | None:
        """The next key whose run may begin."""
        free = [key for key in self._waiting if key not in self._running]
        if not free or process not in self._members:
            return None
        key = max(free, key=lambda one: self._waiting[one])
        del self._waiting[key]
        self._running[key] = process
        return key

    def ended(self, process: Process, key: str) -> None:
        if self._running.get(key) is process:
            del self._running[key]
            self._tell()

    def known(self, key: str) -> bool:
        return key in self._waiting or key in self._running

    def runs(self, process: Process) -> list[str]:
        """The keys that it runs."""
        return [key for key, owner in self._running.items() if owner is process]

    def cast_out(self, process: Process) -> None:
        """It gave no sign of life for too long: what it runs is for others."""
        self._members.pop(process, None)
        for key in self.runs(process):
            del self._running[key]
            self._waiting.setdefault(key, 0)
        self._tell()

    def _tell(self) -> None:
        for told in list(self._members.values()):
            told()


class SharedQueue:
    """One process's part of the queue."""

    def __init__(self, process: Process, rows: SharedKeyRows, board: Switchboard, *, on_error: OnError) -> None:
        self._process = process
        self._rows = rows
        self._board = board
        self._on_error = on_error
        self._now = process.clock.now
        self._hints: dict[str, int] = {}
        self._hinted = asyncio.Event()
        self._offered = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def wake(self, key: str, priority: int = 0, *, at: datetime | None = None, row: Row | None = None) -> None:
        if at is None or at <= self._now():
            self._hints[key] = max(priority, self._hints.get(key, priority))
        self._hinted.set()

    async def run(self, handler: Handler) -> None:
        """Never returns."""
        while True:
            self._board.join(self._process, self._told)
            self._told()
            helpers = [asyncio.create_task(self._fetch(handler)), asyncio.create_task(self._tick())]
            try:
                await asyncio.wait(helpers, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (*helpers, *self._tasks):
                    task.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await self._process.gate()
            await asyncio.sleep(DATABASE_PAUSE)

    def _told(self) -> None:
        self._offered.set()

    async def _fetch(self, handler: Handler) -> None:
        """Takes jobs. Returns when this process was cast out and has noticed it: its runs are nobody's then."""
        while True:
            self._offered.clear()
            await self._process.breathe()
            if not self._board.has(self._process):
                await asyncio.sleep(HEARTBEAT * self._process.rng.random())
                return
            while len(self._tasks) < WORKERS and (key := self._board.take(self._process)) is not None:
                task = asyncio.create_task(self._job(key, handler))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._offered.wait(), LONGEST_NAP)

    async def _job(self, key: str, handler: Handler) -> None:
        try:
            await self._once(key, handler)
        except Exception as error:  # noqa: BLE001 - reported; the row is due still
            self._on_error(key, error)
        finally:
            if not self._process.dead:
                self._board.ended(self._process, key)
                self._offered.set()

    async def _once(self, key: str, handler: Handler) -> None:
        row = await self._rows.begin(key)
        if row is None or not row.due(self._now()):
            self._hinted.set()
            return
        with self._rows.bound(row):
            await self._handle(row, handler)
        self._hinted.set()

    async def _handle(self, row: KeyRow, handler: Handler) -> None:
        try:
            result: Result = await handler(row.key)
        except Exception as error:  # noqa: BLE001 - reported; the key is tried again
            self._on_error(row.key, error)
            retry_at = self._now() + delay(row.attempts + 1, self._process.rng.random())
            await self._rows.fail(row.key, row.wanted, type(error).__name__, retry_at)
            return
        await self._rows.finish(row.key, row.wanted, self._now() if result.again else result.next_due_at)

    async def _tick(self) -> None:
        """Queues what is due and neither waits nor runs."""
        while True:
            self._hinted.clear()
            pause = DATABASE_PAUSE
            try:
                hints, self._hints = self._hints, {}
                due = {**hints, **await self._rows.due()}
                forgotten = [key for key in due if not self._board.known(key)]
                if forgotten:
                    await self._rows.remind(forgotten)
                soonest = await self._rows.next_due()
                wait = LONGEST_NAP if soonest is None else (soonest - self._now()).total_seconds()
                pause = min(max(wait, SHORTEST_NAP), LONGEST_NAP)
            except Exception as error:  # noqa: BLE001 - the database is away
                self._on_error(None, error)
                await asyncio.sleep(DATABASE_PAUSE)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hinted.wait(), pause)


def notice_silence(board: Switchboard, process: Process) -> None:
    """The process has just gone silent; if it still is when the others notice, its runs are given to them."""

    def notice() -> None:
        if not process.up:
            board.cast_out(process)

    asyncio.get_running_loop().call_later(DEAD_AFTER + HEARTBEAT * process.rng.random(), notice)
