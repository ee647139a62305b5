"""The threads that run units: one writer with group commit, a few readers.

The writer takes up to `GROUP_LIMIT` waiting units, runs them in one transaction, commits once and only then answers. A
unit that raises is rolled back alone and its caller gets the exception: since few do, the group is run without
savepoints first, and once more with one around each unit where one raised. A commit that fails fails all callers of the
group and the writer goes on. Threads are daemons: none keeps the process alive.

So a unit may be run more than once before it is committed; what it does besides writing must bear that.

The interpreter runs one thread at a time. Where the database runs in this process, the writer gives that up with each
statement and a busy event loop gives it back late; so the loop waits for units that have begun (`GIVE_WAY` at most)
before it hands out answers, which it does while the disk is synced. Measured: a unit of intake takes 0.2 ms instead
of 0.5 at 1,000 deliveries a second.

Groups of several processes on one database follow each other as units of one group do: beginning a transaction waits
for the right to write, and a process that stops in the middle of one loses it after some seconds.

Races it knows: a caller that is cancelled before its unit began has it skipped; one cancelled later must assume that
the unit was committed. Marked keys are told to the listener, in the caller's event loop, just before the caller is
answered, so whoever awaited a write finds the queue awake; so are the repositories of which something was written that
people follow live.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bot.domain.model import AttemptId, RepoKey
from bot.errors import SettingsError
from bot.protocols.clock import Clock
from bot.store.database import BesideWriter, Database
from bot.store.errors import StoreClosed, StoreUnavailable
from bot.store.ledger import SqlLedger
from bot.store.verbs import Marked

# Above this a group's latency grows faster than what a shared sync saves (measured on slow and fast disks).
GROUP_LIMIT = 256

GIVE_WAY = 0.002
"""Seconds for which the loop waits for units at most: ten times what those of intake take, and nothing to a person."""

TRIES = 8
"""How often a group that lost against another process is run; such meetings are rare and short."""


@dataclass(slots=True)
class Told:
    """What the committed units of a group leave to others: keys to look at, repositories with news for followers."""

    marked: list[Marked] = field(default_factory=list)
    news: set[RepoKey] = field(default_factory=set)
    revoke: set[AttemptId] = field(default_factory=set)

    def clear(self) -> None:
        self.revoke.clear()
        self.marked.clear()
        self.news.clear()


Listener = Callable[[Told], None]

Together = Callable[[Any, Told], None]
"""What is committed with a group: gets the driver's connection, in the transaction, and what the units told."""


@dataclass(slots=True)
class Outcome:
    """What came of a unit: a value or an exception, so that handing it over never raises by itself."""

    value: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class Job:
    """A unit with the place where its caller waits."""

    unit: Callable[[SqlLedger], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Outcome]
    single: Callable[[], bool] | None = None
    """Whether it is one statement, which both databases commit by itself where no transaction is begun."""

    @property
    def is_single(self) -> bool:
        return self.single is not None and self.single()


def _answer(
    jobs: Sequence[tuple[Job, Outcome]], told: Told, listener: Listener | None, units: threading.Lock | None
) -> None:
    """Runs in the callers' loop."""
    if units is not None and units.acquire(timeout=GIVE_WAY):
        units.release()
    try:
        if listener is not None and (told.marked or told.news):
            listener(told)
    finally:
        for job, outcome in jobs:
            if not job.future.done():
                job.future.set_result(outcome)


def deliver(
    jobs: Sequence[tuple[Job, Outcome]], told: Told, listener: Listener | None, units: threading.Lock | None = None
) -> None:
    """Hands outcomes to the callers' loops; a loop that is closed already has nobody waiting. `units` is held by who
    runs units that the loop gives way to."""
    for loop in {job.loop for job, _ in jobs}:
        own = [(job, outcome) for job, outcome in jobs if job.loop is loop]
        with suppress(RuntimeError):  # raised by a loop that was closed meanwhile, and by nothing else
            loop.call_soon_threadsafe(_answer, own, told, listener, units)


class UnitThread(threading.Thread):
    """Takes jobs from an inbox until it is stopped; `close` waits for what was handed in before."""

    READ_ONLY = True

    def __init__(self, name: str, database: Database, clock: Clock, inbox: queue.SimpleQueue[Job | None]) -> None:
        super().__init__(name=name, daemon=True)
        self.database = database
        self.clock = clock
        self.inbox = inbox
        self.connection = database.connect(read_only=self.READ_ONLY)
        self.driver: Any = self.connection.connection.driver_connection
        """The driver's connection: transactions are spoken to it directly."""

    def mend(self) -> None:
        """A new connection in the place of one that broke. Raises what the database raises; the next job tries too."""
        if self.database.broken(self.driver):
            self.connection.invalidate()
            self.connection.close()
            self.connection = self.database.connect(read_only=self.READ_ONLY)
            self.driver = self.connection.connection.driver_connection

    def run_unit(self, job: Job, told: Told) -> Outcome:
        ledger = SqlLedger(self.connection, self.clock)
        try:
            value = job.unit(ledger)
        except BaseException as error:  # noqa: BLE001 - the caller gets it; this thread serves all other callers
            return Outcome(error=error)
        told.marked.extend(ledger.marked)
        told.news |= ledger.news
        told.revoke |= ledger.revoke
        return Outcome(value)


class Reader(UnitThread):
    """Runs units one by one, each on one snapshot of committed data, over a connection that cannot write."""

    def run(self) -> None:
        while (job := self.inbox.get()) is not None:
            deliver([(job, self._read(job))], Told(), None)
        self.inbox.put(None)  # the next reader ends too
        self.connection.close()

    def _read(self, job: Job) -> Outcome:
        trouble: tuple[type[Exception], ...] = (*self.database.errors, SettingsError)
        try:
            self.mend()
            self.driver.execute(self.database.begin_read)
            try:
                return self.run_unit(job, Told())
            finally:
                self.driver.execute("ROLLBACK")
        except trouble as error:
            return Outcome(error=_unavailable("read", error))


class Writer(UnitThread):
    """The one thread of this process that writes.

    `before_commit` and `after_commit` are called around each commit (crash tests).
    """

    READ_ONLY = False

    def __init__(
        self,
        database: Database,
        clock: Clock,
        inbox: queue.SimpleQueue[Job | None],
        *,
        before_commit: Callable[[], None] | None = None,
        after_commit: Callable[[], None] | None = None,
    ) -> None:
        super().__init__("store-writer", database, clock, inbox)
        self.listener: Listener | None = None
        self.also: Together | None = None
        self.beside: BesideWriter | None = None
        self.before_commit = before_commit
        self.after_commit = after_commit
        self.running_units = threading.Lock()
        self.commits = 0
        self.units = 0

    def run(self) -> None:
        open_ = True
        while open_:
            jobs, open_ = self._take()
            if jobs:
                self._group(jobs)
        self.connection.close()

    def _take(self) -> tuple[list[Job], bool]:
        """At least one job, or the end; then whatever waits already, up to the limit."""
        jobs: list[Job] = []
        job = self.inbox.get()
        while job is not None:
            if not job.future.cancelled():
                jobs.append(job)
            if len(jobs) >= GROUP_LIMIT:
                return jobs, True
            try:
                job = self.inbox.get_nowait()
            except queue.Empty:
                return jobs, True
        return jobs, False

    def _group(self, jobs: list[Job]) -> None:
        told = Told()
        outcomes: list[Outcome] = []
        for turn in range(TRIES):
            try:
                outcomes = self._transact(jobs, told)
                break
            except BaseException as error:  # noqa: BLE001 - every caller gets it; the writer outlives a failed commit
                self._abandon()
                told.clear()
                # Own exception objects: a traceback shared by several tasks grows with every raise.
                outcomes = [Outcome(error=_unavailable("write", error)) for _ in jobs]
                if not self.database.again(error) or turn + 1 == TRIES:
                    break
        give_way = self.running_units if self.database.in_process else None
        deliver(list(zip(jobs, outcomes, strict=True)), told, self.listener, give_way)

    def _transact(self, jobs: list[Job], told: Told) -> list[Outcome]:
        self.mend()
        if len(jobs) == 1 and jobs[0].is_single and (alone := self._single(jobs[0], told)) is not None:
            return [alone]
        with self.running_units:
            outcomes = self._together(jobs, told)
            if len(jobs) == 1 and outcomes[0].error is not None:
                return outcomes
            if self.also is not None and (told.marked or told.news or told.revoke):
                self.also(self.driver, told)
        if self.before_commit is not None:
            self.before_commit()
        self.driver.execute("COMMIT")
        self._committed(len(jobs))
        return outcomes

    def _together(self, jobs: list[Job], told: Told) -> list[Outcome]:
        """In a transaction that is to be committed; that of a single unit that raised is over."""
        self.driver.execute(self.database.begin_write)
        outcomes: list[Outcome] = []
        for job in jobs:
            outcomes.append(self._checked(job, told))
            if outcomes[-1].error is not None:
                break
        else:
            return outcomes
        self.driver.execute("ROLLBACK")
        told.clear()
        if len(jobs) == 1:
            return outcomes
        self.driver.execute(self.database.begin_write)
        return [self._savepoint(job, told) for job in jobs]

    def _single(self, job: Job, told: Told) -> Outcome | None:
        """Without a transaction around it. None: the database refused, and in a transaction it is found out why."""
        if self.before_commit is not None:
            self.before_commit()
        outcome = self.run_unit(job, told)
        if isinstance(outcome.error, self.database.errors):
            if self.database.broken(self.driver):
                raise outcome.error
            return None
        if outcome.error is None:
            self._committed(1)
        return outcome

    def _committed(self, units: int) -> None:
        self.commits += 1
        self.units += units
        if self.beside is not None:
            self.beside.committed()
        if self.after_commit is not None:
            self.after_commit()

    def _savepoint(self, job: Job, told: Told) -> Outcome:
        self.driver.execute("SAVEPOINT unit")
        outcome = self._checked(job, told)
        if outcome.error is not None:
            self.driver.execute("ROLLBACK TO unit")
        self.driver.execute("RELEASE unit")
        return outcome

    def _checked(self, job: Job, told: Told) -> Outcome:
        """Raises what loses the whole group."""
        outcome = self.run_unit(job, told)
        if outcome.error is not None and self.database.again(outcome.error):
            raise outcome.error
        if not self.database.in_transaction(self.driver):
            # SQLite ends the whole transaction by itself on a full disk or an I/O error: the group is lost.
            raise StoreUnavailable("the database ended the transaction") from outcome.error
        return outcome

    def _abandon(self) -> None:
        # A rollback that fails leaves a transaction that the next group fails to begin in, and is told so.
        if self.database.in_transaction(self.driver):
            with suppress(*self.database.errors):
                self.driver.execute("ROLLBACK")


def _unavailable(what: str, error: BaseException) -> StoreUnavailable:
    reason = StoreUnavailable(f"the database could not {what}: {error}")
    reason.__cause__ = error
    return reason


def drain_closed(inbox: queue.SimpleQueue[Job | None]) -> None:
    """Answers jobs that were handed in after the end."""
    while True:
        try:
            job = inbox.get_nowait()
        except queue.Empty:
            return
        if job is not None:
            deliver([(job, Outcome(error=StoreClosed("the store is closed")))], Told(), None)
