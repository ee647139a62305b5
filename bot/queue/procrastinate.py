"""The queue's driver for several processes: procrastinate on PostgreSQL hands out keys, the rows stay the truth.

Promises those of `bot.queue.api.KeyedQueue`, in all processes together. A job of the engine is a hint to look at a
key's row. It has the key as `lock` (one at a time) and as `queueing_lock` (one waiting), is never delayed and never
repeated by the engine: times and back-off are data in the row, and a ticker queues what has become due. A job is queued
in the transaction that marked its key (`queue_within`), each unexpected duplicate in a savepoint of its own.

Races it knows. A process that dies leaves its jobs with the engine, whose locks would hold their keys for ever: every
process closes the jobs of those that gave no sign of life for `dead_after` seconds, and the ticker queues their keys
anew, because their rows are due still. A process that only stood still may wake up in the middle of such a run: what
it writes then is refused by the rows (`bound`). A job that was closed elsewhere cannot be finished here, and a process
that was declared dead cannot take another one: its worker ends and a new one begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from procrastinate import App, PsycopgConnector, SyncPsycopgConnector, exceptions
from procrastinate.jobs import DeleteJobCondition, Job, Status
from procrastinate.manager import JobManager
from psycopg.errors import RaiseException
from psycopg_pool import PoolTimeout

from bot.queue.api import Handler, OnError, Result, Row, SharedKeyRows
from bot.queue.backoff import delay
from bot.queue.memory import WORKERS, Stats

QUEUE = "keys"
TASK = "look"

POLL = 0.25
"""Seconds: the end of a run wakes nobody, so whoever waits for its key looks this often. New jobs are told at once."""

TICK = 0.5
"""Seconds between two looks for rows that have become due; times are whole seconds and more."""

HEARTBEAT = 2.0
"""Seconds between two signs of life."""

DEAD_AFTER = 10.0
"""Seconds without a sign of life after which the runs of a process are given to others: five signs in a row, so that a
busy moment is not taken for death."""

DATABASE_PAUSE = 1.0
"""Seconds until the next try when the database is away."""

CONNECTIONS = 4
"""To the database, for the engine's own short statements."""


class _Jobs(JobManager):
    """The engine's own statements about jobs, but that the end of a job never raises.

    A job whose end cannot be written would hold its key for ever, because its process lives: then `on_stuck` is called.
    """

    def __init__(self, connector: PsycopgConnector, on_stuck: Callable[[], None]) -> None:
        super().__init__(connector)
        self._on_stuck = on_stuck

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        try:
            await super().finish_job(job, status, delete_job)
        except exceptions.ConnectorException as error:
            if not isinstance(error.__cause__, RaiseException):  # it is closed already, by others who thought us dead
                self._on_stuck()


class ProcrastinateQueue:
    """`bot.queue.api.KeyedQueue` over all processes on one database. Call everything but `queue_within` from the event
    loop that runs it."""

    def __init__(
        self,
        rows: SharedKeyRows,
        conninfo: str,
        *,
        now: Callable[[], datetime],
        chance: Callable[[], float],
        on_error: OnError,
        describe: Callable[[BaseException], str] = lambda error: type(error).__name__,
        workers: int = WORKERS,
        heartbeat: float = HEARTBEAT,
        dead_after: float = DEAD_AFTER,
        poll: float = POLL,
        tick: float = TICK,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """As for `MemoryQueue`; `conninfo` is the database's address, the other numbers are seconds."""
        self._rows = rows
        self._now = now
        self._chance = chance
        self._on_error = on_error
        self._describe = describe
        self._workers = workers
        self._heartbeat = heartbeat
        self._dead_after = dead_after
        self._poll = poll
        self._tick = tick
        self._sleep = sleep
        connector = PsycopgConnector(
            conninfo=conninfo,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=self._dead_after,
            kwargs={"application_name": "tgs-queue", "prepare_threshold": None},
        )
        self._engine = App(connector=connector)
        self._stuck = asyncio.Event()
        self._engine.job_manager = _Jobs(connector, self._stuck.set)
        self._engine.task(name=TASK, queue=QUEUE)(self._job)
        self._within = JobManager(SyncPsycopgConnector())
        self._handler: Handler | None = None
        self._running: set[asyncio.Task[bool]] = set()
        self._hints: dict[str, int] = {}
        self._hinted = asyncio.Event()
        self._stop = asyncio.Event()
        self._open = False
        self._stepper: int | None = None
        self._processes = 1

    # --- waking

    def wake(self, key: str, priority: int = 0, *, at: datetime | None = None, row: Row | None = None) -> None:
        """Times are the rows' business: a key that is not due yet is found by the ticker when it is."""
        if at is None or at <= self._now():
            self._hints[key] = max(priority, self._hints.get(key, priority))
            self._hinted.set()

    def queue_within(self, connection: Any, keys: Mapping[str, int]) -> None:
        """Queues keys (with their priorities) in the transaction of a psycopg connection, from any thread."""
        waiting: dict[str, int] = dict(
            connection.execute(
                "SELECT queueing_lock, priority FROM procrastinate_jobs"
                " WHERE status = 'todo' AND queueing_lock = ANY(%s)",
                (list(keys),),
            ).fetchall()
        )
        for key in waiting.keys() & keys.keys():
            if waiting[key] < keys[key]:
                connection.execute(
                    "UPDATE procrastinate_jobs SET priority = %s WHERE status = 'todo' AND queueing_lock = %s",
                    (keys[key], key),
                )
        for key in [key for key in keys if key not in waiting]:
            connection.execute("SAVEPOINT wakeup")
            with suppress(exceptions.AlreadyEnqueued):
                self._within.defer_job(_job(key, keys[key]), connection=connection)
                connection.execute("RELEASE wakeup")
                continue
            connection.execute("ROLLBACK TO wakeup")

    # --- running

    async def run(self, handler: Handler) -> None:
        """See `KeyedQueue.run`. Raises RuntimeError when it runs already."""
        if self._handler is not None:
            raise RuntimeError("the queue runs already; one loop hands out its keys")
        self._handler = handler
        try:
            while not self._stop.is_set():
                try:
                    await self._work()
                except Exception as error:  # noqa: BLE001 - reported; the database may be back in a moment
                    self._report(None, error)
                if not self._stop.is_set():
                    await self._sleep(DATABASE_PAUSE)
        finally:
            self._cut_off()
            await self._close()
            self._handler = None

    async def _work(self) -> None:
        """One worker of the engine, with its helpers, until it is told to stop or one of them ends."""
        await self._opened()
        self._stuck.clear()
        worker = asyncio.create_task(
            self._engine.run_worker_async(
                queues=[QUEUE],
                concurrency=self._workers,
                fetch_job_polling_interval=self._poll,
                abort_job_polling_interval=3600.0,
                update_heartbeat_interval=self._heartbeat,
                stalled_worker_timeout=self._dead_after,
                delete_jobs=DeleteJobCondition.ALWAYS.value,
                install_signal_handlers=False,
            )
        )
        helpers = [
            asyncio.create_task(job) for job in (self._ticker(), self._rescuer(), self._stop.wait(), self._stuck.wait())
        ]
        try:
            await asyncio.wait({worker, *helpers}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (worker, *helpers):
                task.cancel()
            if not self._stop.is_set():
                self._cut_off()  # the engine's worker has ended: its runs are nobody's
            results = await asyncio.gather(worker, *helpers, return_exceptions=True)
        for found in results:
            if isinstance(found, Exception):
                raise found
        if not self._stop.is_set():
            raise OSError("the queue's worker gave up; another one begins")

    async def _job(self, key: str) -> None:
        """What the engine runs. Never raises, so that the engine has nothing to decide."""
        assert self._handler is not None
        task = asyncio.create_task(self._once(key, self._handler))
        self._running.add(task)
        try:
            await asyncio.wait({task})
        finally:
            self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report(key, error)

    async def _once(self, key: str, handler: Handler) -> bool:
        """One run of one key, if it is due; whether it was. Raises when the database is away."""
        row = await self._rows.begin(key)
        if row is None or not self._due(row):
            return False
        with self._rows.bound(row):
            await self._handle(row, handler)
        return True

    async def _handle(self, row: Row, handler: Handler) -> Row | None:
        try:
            result: Result = await handler(row.key)
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise
            self._report(row.key, error)
            retry_at = self._now() + delay(row.attempts + 1, self._chance())
            return await self._rows.fail(row.key, row.wanted, self._describe(error), retry_at)
        next_due_at = self._now() if result.again else result.next_due_at
        return await self._rows.finish(row.key, row.wanted, next_due_at)

    def _due(self, row: Row) -> bool:
        return row.wanted != row.seen if row.next_due_at is None else row.next_due_at <= self._now()

    def _report(self, key: str | None, error: BaseException) -> None:
        try:
            self._on_error(key, error)
        except Exception as broken:  # noqa: BLE001 - a reporter that fails must not end the queue; the loop logs it
            asyncio.get_running_loop().call_exception_handler(
                {"message": "the queue's error reporter failed", "exception": broken}
            )

    # --- what nobody told of

    async def _ticker(self) -> None:
        while True:
            await self._queue_due()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._tick):
                    await self._hinted.wait()

    async def _queue_due(self) -> None:
        """Queues what is due and neither waits nor runs, and what was hinted at."""
        self._hinted.clear()
        hints, self._hints = self._hints, {}
        due = {**hints, **await self._rows.due()}
        if due and (forgotten := due.keys() - await self._known(list(due))):
            await self._rows.remind(forgotten)

    async def _known(self, keys: list[str]) -> set[str]:
        """Those of the keys that wait with the engine, or run somewhere."""
        rows = await self._engine.connector.execute_query_all_async(
            "SELECT lock FROM procrastinate_jobs WHERE status IN ('todo', 'doing') AND lock = ANY(%(keys)s)", keys=keys
        )
        return {row["lock"] for row in rows}

    async def _rescuer(self) -> None:
        while True:
            await self._rescue(self._dead_after)
            await self._sleep(self._heartbeat)

    async def _rescue(self, dead_after: float) -> None:
        """Closes the jobs of processes that are dead, and counts those that live."""
        jobs = self._engine.job_manager
        for job in await jobs.get_stalled_jobs(queue=QUEUE, seconds_since_heartbeat=dead_after):
            # Another process may close it at the same moment, or its own end it after all.
            await jobs.finish_job(job, Status.FAILED, delete_job=True)
            self._hinted.set()
        await jobs.prune_stalled_workers(dead_after)
        alive = await self._engine.connector.execute_query_one_async("SELECT count(*) AS n FROM procrastinate_workers")
        self._processes = max(1, int(alive["n"]))

    @property
    def processes(self) -> int:
        """How many processes share the queue, this one included, as far as is known."""
        return self._processes

    # --- stopping

    async def drain(self, limit: float = 30.0) -> int:
        self._stop.set()
        if self._running:
            await asyncio.wait(self._running, timeout=limit)
        cut = self._cut_off()
        if self._handler is None:
            await self._close()
        return cut

    def close(self) -> None:
        self._stop.set()
        self._cut_off()

    def _cut_off(self) -> int:
        tasks = [task for task in self._running if not task.done()]
        for task in tasks:
            task.cancel()
        return len(tasks)

    async def _opened(self) -> None:
        """Raises OSError when the database is away."""
        if not self._open:
            try:
                await self._engine.open_async()
            except PoolTimeout:
                await self._engine.close_async()
                raise OSError("the queue cannot reach the database") from None
            self._open = True

    async def _close(self) -> None:
        if self._open:
            self._open = False
            with suppress(exceptions.ConnectorException):
                if self._stepper is not None:
                    await self._engine.job_manager.unregister_worker(self._stepper)
                    self._stepper = None
            await self._engine.close_async()

    # --- stepping and looking

    async def load(self) -> None:
        """For tests that own the clock, which have no second process: nothing runs anywhere now."""
        await self._opened()
        await self._rescue(0.0)

    async def step(self, handler: Handler) -> str | None:
        """Runs the first due key here and now; its name, None when nothing is due. For tests that own the clock."""
        await self._opened()
        jobs = self._engine.job_manager
        if self._stepper is None:
            self._stepper = await jobs.register_worker()
        await self._queue_due()
        while (job := await jobs.fetch_job(queues=[QUEUE], worker_id=self._stepper)) is not None:
            assert job.lock is not None
            # In a task of its own, as runs are: what a run is bound to ends with it.
            ran = await asyncio.create_task(self._stepped(job.lock, handler))
            await jobs.finish_job(job, Status.SUCCEEDED, delete_job=True)
            if ran:
                return job.lock
        return None

    async def _stepped(self, key: str, handler: Handler) -> bool:
        try:
            return await self._once(key, handler)
        except Exception as error:  # noqa: BLE001 - reported, as in a run; the row is due still
            self._report(key, error)
            return True

    async def quiet(self) -> bool:
        """Whether nothing runs here and nothing is due now (times to come do not count)."""
        return not self._running and not self._hints and not await self._rows.due()

    async def next_at(self) -> datetime | None:
        """The soonest time at which a key becomes due."""
        return await self._rows.next_due()

    def stats(self) -> Stats:
        """What runs here; what waits is the rows' to count."""
        return Stats(ready=len(self._hints), running=len(self._running), timed=0)


def _job(key: str, priority: int) -> Job:
    return Job(
        id=None,
        queue=QUEUE,
        lock=key,
        queueing_lock=key,
        task_name=TASK,
        task_kwargs={"key": key},
        priority=priority,
    )


__all__ = ["DEAD_AFTER", "HEARTBEAT", "ProcrastinateQueue"]
