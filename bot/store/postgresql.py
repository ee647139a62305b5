"""PostgreSQL as the ledger's database: how connections are set up and transactions spoken.

Every connection is in autocommit mode and its transactions are spoken by us: serialisable ones for the writer, one
read-only snapshot for a reader. Writers of several processes take turns by a table lock that is asked for before the
snapshot is taken, so units may be written as if nobody else were there, and numbers that the database counts are
committed in their order. A writer that stops in the middle of a transaction is cut off by the server. Such a
transaction, and one that meets a foreign one all the same and is refused, is run again as a whole. The instance lock
is an advisory lock of a connection of its own, exclusive or shared; it ends with the process, however that ends.
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from bot.errors import SettingsError
from bot.protocols.clock import Clock
from bot.store.database import BesideWriter, Held

CONNECT_SECONDS = 10
"""A database that does not answer within this is down; the caller tries again by its own rules."""

IDLE_SECONDS = 5
"""A unit takes milliseconds. Who says nothing in a transaction for so long has stopped, and others wait for its turn;
GitHub waits ten seconds for an answer."""

BY_INDEX = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off"
"""What writes finds its few rows by an index. The plan of a statement that is prepared while its tables are small, or
not yet counted by the server, would read them whole, and would be kept."""

LOCK = 0x7467735F626F74
"""The number of our advisory lock: `tgs_bot` in ASCII."""

LOOK_AGAIN = 0.1
"""Seconds between two tries at the instance lock."""

AGAIN = frozenset({"40001", "40P01", "25P03"})
"""SQLSTATE of a serialisation failure, of a deadlock and of a transaction that was silent too long (PostgreSQL manual,
appendix A): nothing of it was committed, so it is run again."""


class _AdvisoryLock:
    """Held while its connection is open."""

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection

    def release(self) -> None:
        if self._connection is not None:
            # Said aloud, because the server notices a closed connection only a moment later.
            with suppress(DBAPIError):
                self._connection.exec_driver_sql("SELECT pg_advisory_unlock_all()")
            self._connection.close()
            self._connection = None


class PostgresqlDatabase:
    """`bot.store.database.Database` on PostgreSQL."""

    # LOCK takes no snapshot, so what follows sees all that was committed before this writer's turn.
    begin_write = "BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE meta IN SHARE ROW EXCLUSIVE MODE"
    begin_read = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    many = True
    in_process = False

    def __init__(self, url: str) -> None:
        """Raises SettingsError, without showing the URL, when it cannot be read or the driver is not installed."""
        if find_spec("psycopg") is None or find_spec("procrastinate") is None:
            raise SettingsError("The driver for PostgreSQL is not installed.", "Install `tgs-bot[postgresql]`.")
        try:
            parsed = make_url("postgresql" + url[url.index(":") :])
        except (ArgumentError, ValueError):
            raise SettingsError(
                "The database URL cannot be read.", "Use postgresql://user:password@host:5432/name."
            ) from None
        self._url: URL = parsed.set(drivername="postgresql+psycopg")
        port = f":{parsed.port}" if parsed.port else ""
        self.shown = f"{parsed.database or ''} on {parsed.host or 'this machine'}{port}"

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        import psycopg

        return (psycopg.Error, DBAPIError)

    def create(self) -> None:
        """The database is made by its administrator."""

    def there(self) -> bool:
        self.check()
        return True

    def check(self) -> None:
        self.connect().close()

    @cached_property
    def _engine(self) -> Engine:
        """It pools nothing; the threads share what it learnt about statements."""
        return create_engine(
            self._url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            hide_parameters=True,
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "application_name": "tgs",
            },
        )

    def connect(self, *, read_only: bool = False) -> Connection:
        """Raises SettingsError when the server does not answer or refuses us; the message holds no password."""
        try:
            connection = self._engine.connect()
            connection.exec_driver_sql(f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'")
            if read_only:
                # A plan is made for each read: one made while a table was small would read all of it for ever.
                driver: Any = connection.connection.driver_connection
                driver.prepare_threshold = None
            else:
                connection.exec_driver_sql(BY_INDEX)
            # The verbs ask how many rows an INSERT wrote; that number is otherwise thrown away.
            return connection.execution_options(preserve_rowcount=True)
        except DBAPIError as error:
            reason = str(error.orig).strip().splitlines() or ["no reason given"]
            raise SettingsError(
                f"The database {self.shown} cannot be reached: {self._clean(reason[-1])}.",
                "Check TGS_DATABASE_URL, and that the server runs and accepts this user.",
            ) from None

    def _clean(self, text: str) -> str:
        password = str(self._url.password or "")
        return (text.replace(password, "***") if password else text).rstrip(".")

    @property
    def conninfo(self) -> str:
        """The address as the driver reads it. It may hold a password."""
        return self._url.set(drivername="postgresql").render_as_string(hide_password=False)

    def hold(self, *, shared: bool = False, patience: float = 0.0) -> Held:
        connection = self.connect()
        ask = f"SELECT pg_try_advisory_lock{'_shared' if shared else ''}({LOCK})"
        until = time.monotonic() + patience
        while not connection.exec_driver_sql(ask).scalar_one():
            if time.monotonic() >= until:
                connection.close()
                raise SettingsError(
                    f"The database {self.shown} is in use by another process of the bot.",
                    "Stop that process first, or use another database. Several `tgs serve` share a database when all "
                    "have TGS_QUEUE=procrastinate; changing its schema needs all of them to be stopped.",
                )
            time.sleep(LOOK_AGAIN)
        return _AdvisoryLock(connection)

    def wakeups_current(self, connection: Connection) -> bool:
        from bot.store.wakeups import current

        return current(connection)

    def bring_wakeups(self, driver: Any) -> None:
        from bot.store.wakeups import bring

        bring(driver)

    def drop_wakeups(self, driver: Any) -> None:
        from bot.store.wakeups import drop

        drop(driver)

    def checkpoints(self) -> BesideWriter | None:
        """The server does that by itself."""
        return None

    def in_transaction(self, driver: Any) -> bool:
        from psycopg.pq import TransactionStatus

        return driver.info.transaction_status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}

    def broken(self, driver: Any) -> bool:
        return bool(driver.closed)

    def again(self, error: BaseException) -> bool:
        origin: BaseException | None = error.orig if isinstance(error, DBAPIError) else error
        while origin is not None:
            if getattr(origin, "sqlstate", None) in AGAIN:
                return True
            origin = origin.__cause__  # the queue's engine wraps what the driver raises
        return False

    def begin_migration(self, driver: Any) -> None:
        driver.execute("BEGIN")

    def end_migration(self, driver: Any) -> None:
        """References were checked by the database all along."""

    def backup(self, clock: Clock) -> Path | None:
        return None
