"""The store: one writer thread with group commit and a few read connections, on SQLite or PostgreSQL.

Promises: `write` returns after the commit is on disk; units are run one after another in the order of the calls;
`read` sees committed data only, and everything that this task's own earlier `write` committed. One process has the
database at a time, unless they all agree to share it; then groups of units of all processes are committed one after
another, and a unit of an overtaken run is refused (`bot.store.fencing`). After `close` every call raises StoreClosed.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Protocol, Self, TypeVar, cast

from bot.domain.model import RepoKey
from bot.protocols.clock import Clock, Ids
from bot.queue.api import Row
from bot.store.database import Database, database_of
from bot.store.dialect import insert_new
from bot.store.errors import StoreClosed
from bot.store.fencing import fenced
from bot.store.ledger import SqlLedger
from bot.store.migrate import require_current
from bot.store.tables import meta
from bot.store.writer import Job, Outcome, Reader, Together, Told, Writer, drain_closed

T = TypeVar("T")

# Reads are short; two let one slow page not hold up the other core.
READERS = 2

# Another process that shares the database may be changing its schema at this moment, which takes seconds.
PATIENCE = 30.0

# The writer finishes what it took; a disk that hangs longer than this must not hold up the end of the process.
CLOSE_SECONDS = 10.0


class Waker(Protocol):
    """What the store tells about a key marked by a committed unit: `KeyedQueue.wake` fits."""

    def __call__(self, key: str, priority: int = 0, *, at: datetime | None = None, row: Row | None = None) -> None: ...


class SqlStore:
    """`bot.protocols.ledger.Store` on a database that is migrated already (`bot.store.migrate.prepare`)."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ids: Ids,
        *,
        readers: int = READERS,
        shared: bool = False,
        before_commit: Callable[[], None] | None = None,
        after_commit: Callable[[], None] | None = None,
    ) -> None:
        self.database = database
        self.clock = clock
        self._closed = False
        self._waker: Waker | None = None
        self._hear: Callable[[AbstractSet[RepoKey]], None] | None = None
        database.create()
        self._lock = database.hold(shared=shared, patience=PATIENCE if shared else 0.0)
        try:
            database.check()
            self._open(ids, readers, before_commit, after_commit)
        except BaseException:
            self._lock.release()
            raise

    def _open(
        self,
        ids: Ids,
        readers: int,
        before_commit: Callable[[], None] | None,
        after_commit: Callable[[], None] | None,
    ) -> None:
        with self.database.connect() as connection:
            require_current(connection, self.database.shown)
            insert_new(connection, meta, {"name": "instance", "value": ids.new("db_")})
            self.instance: str = connection.execute(
                meta.select().with_only_columns(meta.c.value).where(meta.c.name == "instance")
            ).scalar_one()
        self._writes: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._writer = Writer(
            self.database, self.clock, self._writes, before_commit=before_commit, after_commit=after_commit
        )
        self._writer.listener = self._tell
        self._writer.beside = self.database.checkpoints()
        self._readers = [
            Reader(f"store-reader-{index}", self.database, self.clock, self._reads) for index in range(readers)
        ]
        for thread in (self._writer, *self._readers):
            thread.start()
        if self._writer.beside is not None:
            self._writer.beside.start()

    @property
    def commits(self) -> int:
        """Group commits so far; `units / commits` is the mean size of a group."""
        return self._writer.commits

    @property
    def units(self) -> int:
        """Units that were part of a commit so far, those that failed alone included."""
        return self._writer.units

    def on_marked(self, waker: Waker) -> None:
        """From now on tells the waker each key that a committed unit marked, in the event loop of the caller."""

        self._waker = waker

    def commit_with(self, also: Together) -> None:
        """From now on runs this in the transaction of each group that told something, before its commit."""
        self._writer.also = also

    def on_news(self, hear: Callable[[AbstractSet[RepoKey]], None]) -> None:
        """From now on tells of which repositories a committed unit wrote history or messages, as `on_marked` does."""
        self._hear = hear

    def _tell(self, told: Told) -> None:
        if self._waker is not None:
            for mark in told.marked:
                self._waker(mark.key, mark.priority, at=mark.at, row=mark.row)
        if self._hear is not None and told.news:
            self._hear(told.news)

    async def write(self, unit: Callable[[SqlLedger], T]) -> T:
        """Runs the unit as if alone, maybe more than once; returns after the commit is on disk.

        Raises what the unit raised (nothing of it is written then), Superseded when the run it belongs to is overtaken,
        StoreUnavailable when the group could not be committed, StoreClosed after `close`.
        """
        return cast("T", await self._submit(self._writes, fenced(unit)))

    async def put(self, unit: Callable[[SqlLedger], T], single: Callable[[], bool]) -> T:
        """As `write`, for a unit that belongs to no run. `single` is asked when its turn has come, in the writer's
        thread: whether the unit is one statement and tells nothing. Where nothing else waits to be written, such a one
        is not put into a transaction, whose beginning and end cost more, and takes no turn among processes that share
        the database.
        """
        return cast("T", await self._submit(self._writes, unit, single))

    async def read(self, unit: Callable[[SqlLedger], T]) -> T:
        """Runs the unit on one snapshot of committed data. A unit that tries to write raises."""
        return cast("T", await self._submit(self._reads, unit))

    async def _submit(
        self,
        inbox: queue.SimpleQueue[Job | None],
        unit: Callable[[SqlLedger], object],
        single: Callable[[], bool] | None = None,
    ) -> object:
        if self._closed:
            raise StoreClosed("the store is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        inbox.put(Job(unit, loop, future, single))
        outcome = await future
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    async def close(self) -> None:
        """Commits what was handed in before, ends the threads, frees the file. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._shut)

    def _shut(self) -> None:
        self._writes.put(None)
        self._reads.put(None)
        for thread in (self._writer, *self._readers):
            thread.join(CLOSE_SECONDS)
        if self._writer.beside is not None:
            self._writer.beside.close()
        drain_closed(self._writes)
        drain_closed(self._reads)
        self._lock.release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def open_store(
    url: str,
    clock: Clock,
    ids: Ids,
    *,
    shared: bool = False,
    before_commit: Callable[[], None] | None = None,
    after_commit: Callable[[], None] | None = None,
) -> SqlStore:
    """Opens the ledger that the URL names, to be `shared` with others who do so, or alone. It must be migrated already.

    Raises SettingsError: unusable URL, folder or server, database in use by another process, damaged file, schema
    older or newer than this version.
    """
    return SqlStore(database_of(url), clock, ids, shared=shared, before_commit=before_commit, after_commit=after_commit)
