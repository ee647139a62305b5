"""The queue's driver for one process: sets in memory over durable rows, as in Kubernetes' client-go work queue.

Promises: one run per key at a time, duplicates coalesce, a key that is marked while it runs runs once more, no error
of a handler or of the database ends the loop, and a crash at any moment costs only a repeated run. All waiting goes
through the injected clock and sleep, so that a test can step it (`step`, `idle`, `next_time`).

Races it knows: the wake-up of a mark may arrive before, during or after the run that has already seen the mark; the
row decides, so it costs one read and no run. A key that was at rest begins with the row that its mark left, unread: a
later mark leaves the revisions different, as one that comes during the run. The sweep reads rows that are running
(they stay due until they end) and leaves them alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bot.queue.agenda import Agenda
from bot.queue.api import Handler, KeyRows, OnError, Result, Row
from bot.queue.backoff import delay

# Runs at once: they wait for GitHub most of the time, and GitHub wants few requests at once per installation.
WORKERS = 8

# How long a lost wake-up may stay unnoticed; the read costs well under a millisecond.
SWEEP_EVERY = timedelta(seconds=30)

# When the database is away the rows cannot say when to try again.
DATABASE_PAUSE = timedelta(seconds=1)

# The wall clock and the loop's clock drift apart a little; without a floor the last moment before a time is spun away.
SHORTEST_SLEEP = 0.001


@dataclass(frozen=True, slots=True)
class Stats:
    """What the queue holds now, for metrics."""

    ready: int
    running: int
    timed: int


class MemoryQueue:
    """`bot.queue.api.KeyedQueue` in one process. Call everything from the event loop that runs it."""

    def __init__(
        self,
        rows: KeyRows,
        *,
        now: Callable[[], datetime],
        chance: Callable[[], float],
        on_error: OnError,
        describe: Callable[[BaseException], str] = lambda error: type(error).__name__,
        workers: int = WORKERS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`chance` gives numbers from 0 up to 1 for the jitter. `describe` words an error for the row; it must not
        let a credential through, so by default it is the error's type alone."""
        self._rows = rows
        self._now = now
        self._chance = chance
        self._on_error = on_error
        self._describe = describe
        self._workers = workers
        self._sleep = sleep
        self._agenda = Agenda()
        self._running: dict[str, asyncio.Task[None] | None] = {}
        self._written: set[str] = set()
        self._woken: dict[str, int] = {}
        self._marked: dict[str, Row] = {}
        self._changed = asyncio.Event()
        self._alarm: tuple[asyncio.Task[None], datetime] | None = None
        self._stopping = False
        self._loop_runs = False
        self._sweep_at: datetime | None = None

    processes = 1
    """How many share the queue."""

    # --- waking

    def wake(self, key: str, priority: int = 0, *, at: datetime | None = None, row: Row | None = None) -> None:
        if row is not None and key not in self._running:
            self._marked[key] = row
        else:
            self._marked.pop(key, None)
        if key in self._running and (at is None or at <= self._now()):
            self._woken[key] = max(priority, self._woken.get(key, priority))
        elif at is None or at <= self._now():
            self._agenda.add(key, priority)
        else:
            self._agenda.add_at(key, at, priority)
        self._changed.set()

    def _admit(self, row: Row) -> None:
        """Notes what a row asks for."""
        if row.next_due_at is not None:
            self.wake(row.key, row.priority, at=row.next_due_at)
        elif row.wanted != row.seen:
            self.wake(row.key, row.priority)

    def _due(self, row: Row) -> bool:
        return row.wanted != row.seen if row.next_due_at is None else row.next_due_at <= self._now()

    # --- running

    async def run(self, handler: Handler) -> None:
        """See `KeyedQueue.run`. Raises RuntimeError when it runs already."""
        if self._loop_runs:
            raise RuntimeError("the queue runs already; one loop hands out its keys")
        self._loop_runs = True
        sweep: asyncio.Task[None] | None = None
        try:
            while not self._stopping:
                self._changed.clear()
                if self._sweep_due() and (sweep is None or sweep.done()):
                    sweep = asyncio.create_task(self._sweep(everything=self._sweep_at is None))
                    sweep.add_done_callback(lambda _done: self._changed.set())
                    self._sweep_at = self._now() + SWEEP_EVERY
                self._start_ready(handler)
                self._set_alarm(self._pause(sweeping=not sweep.done() if sweep else False))
                await self._changed.wait()
            await self._finished()
        finally:
            self._loop_runs = False
            self._cut_off()
            alarm = self._alarm[0] if self._alarm is not None else None
            self._alarm = None
            tasks = [task for task in (sweep, alarm, *self._running.values()) if task is not None]
            for task in (sweep, alarm):
                if task is not None:
                    task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # A run that was cut off before its first step could not say so: its key is still due.
            for key in [key for key, task in self._running.items() if task is not None]:
                del self._running[key]
                self._agenda.add(key, self._woken.pop(key, 0))

    def _start_ready(self, handler: Handler) -> None:
        self._agenda.ripen(self._now())
        # A run whose end is only being written keeps its key, and no other key waiting: those ends share a commit.
        while len(self._running) - len(self._written) < self._workers and (key := self._agenda.pop()) is not None:
            if key in self._running:
                # Its time came while an earlier run still lasts; the next one begins when that one ends.
                self._woken.setdefault(key, 0)
                continue
            self._running[key] = asyncio.create_task(self._once(key, handler))

    def _pause(self, *, sweeping: bool) -> float:
        """Seconds until the next time or sweep; a wake-up ends it sooner. A sweep that still runs, because the database
        hangs, is waited for: its end is a wake-up."""
        sweep_at = None if sweeping else self._sweep_at
        times = [time for time in (self._agenda.next_time(), sweep_at) if time is not None]
        wait = min(times, default=self._now() + SWEEP_EVERY) - self._now()
        return max(wait.total_seconds(), SHORTEST_SLEEP)

    def _set_alarm(self, seconds: float) -> None:
        """Something changes in so many seconds at the latest. What rings sooner stays, since most wake-ups come from
        elsewhere and one more turn costs less than a new alarm for each."""
        at = self._now() + timedelta(seconds=seconds)
        if self._alarm is not None:
            task, rings_at = self._alarm
            if not task.done() and rings_at <= at:
                return
            task.cancel()

        async def ring() -> None:
            await self._sleep(seconds)
            self._changed.set()

        self._alarm = (asyncio.create_task(ring()), at)

    async def _until(self, event: Coroutine[Any, Any, Any], seconds: float) -> None:
        """Waits for the event or the time, whichever comes first."""

        async def pause() -> None:
            await self._sleep(seconds)

        both = {asyncio.create_task(event), asyncio.create_task(pause())}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _once(self, key: str, handler: Handler) -> None:
        """One run of one key, from reading its row to writing what came of it."""
        after: Row | None = None
        try:
            row = self._marked.pop(key, None) or await self._rows.begin(key)
            after = row if row is None or not self._due(row) else await self._handle(row, handler)
        except asyncio.CancelledError:
            # Cut off: the row is still due, and so is the key if this queue is run again.
            self._woken.setdefault(key, 0)
            raise
        except Exception as error:  # noqa: BLE001 - reported; the row is still due and is read again in a moment
            self._report(key, error)
            self._agenda.add_at(key, self._now() + DATABASE_PAUSE, 0)
        finally:
            del self._running[key]
            self._written.discard(key)
            woken = self._woken.pop(key, None)
            if woken is not None:
                self._agenda.add(key, woken)
            if after is not None:
                self._admit(after)
            self._changed.set()

    async def _handle(self, row: Row, handler: Handler) -> Row | None:
        try:
            result = await handler(row.key)
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            self._report(row.key, error)
            retry_at = self._now() + delay(row.attempts + 1, self._chance())
            return await self._rows.fail(row.key, row.wanted, self._describe(error), retry_at)
        next_due_at = self._now() if result.again else result.next_due_at
        self._written.add(row.key)
        if self._agenda.ready:
            self._changed.set()
        return await self._rows.finish(row.key, row.wanted, next_due_at)

    def _report(self, key: str | None, error: BaseException) -> None:
        try:
            self._on_error(key, error)
        except Exception as broken:  # noqa: BLE001 - a reporter that fails must not end the queue; the loop logs it
            asyncio.get_running_loop().call_exception_handler(
                {"message": "the queue's error reporter failed", "exception": broken}
            )

    # --- sweeping

    def _sweep_due(self) -> bool:
        return self._sweep_at is None or self._sweep_at <= self._now()

    async def _sweep(self, *, everything: bool) -> None:
        """Wakes every row that is due; at the start also notes the times to come."""
        try:
            await self.load(everything=everything)
        except Exception as error:  # noqa: BLE001 - reported; the next sweep comes soon
            self._report(None, error)
            self._sweep_at = None if everything else self._now() + DATABASE_PAUSE
            if everything:
                await self._sleep(DATABASE_PAUSE.total_seconds())
            self._changed.set()

    async def load(self, *, everything: bool = True) -> None:
        """Notes what the rows ask for: all of them, or those due now. Running keys are left alone."""
        for row in await self._rows.load(None if everything else self._now()):
            if row.key not in self._running:
                self._admit(row)

    # --- stopping

    async def drain(self, limit: float = 30.0) -> int:
        self._stopping = True
        self._changed.set()
        if self._running:
            await self._until(self._finished(), limit)
        return self._cut_off()

    def close(self) -> None:
        self._stopping = True
        self._changed.set()
        self._cut_off()

    async def _finished(self) -> None:
        while tasks := [task for task in self._running.values() if task is not None and not task.done()]:
            await asyncio.wait(tasks)

    def _cut_off(self) -> int:
        tasks = [task for task in self._running.values() if task is not None and not task.done()]
        for task in tasks:
            task.cancel()
        return len(tasks)

    # --- stepping and looking

    async def step(self, handler: Handler) -> str | None:
        """Runs the first due key here and now; its name, None when nothing is due. For tests that own the clock;
        call `load` once before, and never while `run` runs."""
        self._agenda.ripen(self._now())
        while (key := self._agenda.pop()) is not None:
            ran = False

            async def watched(name: str) -> Result:
                nonlocal ran
                ran = True
                return await handler(name)

            self._running[key] = None
            await self._once(key, watched)
            if ran:
                return key
            self._agenda.ripen(self._now())
        return None

    async def quiet(self) -> bool:
        """As `idle`."""
        return self.idle()

    async def next_at(self) -> datetime | None:
        """As `next_time`."""
        return self.next_time()

    def idle(self) -> bool:
        """Whether nothing runs and nothing is ready now (times to come do not count)."""
        self._agenda.ripen(self._now())
        return not self._running and self._agenda.ready == 0

    def next_time(self) -> datetime | None:
        """The soonest time at which a key becomes ready."""
        return self._agenda.next_time()

    def stats(self) -> Stats:
        return Stats(ready=self._agenda.ready, running=len(self._running), timed=self._agenda.timed)
