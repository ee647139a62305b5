"""PostgreSQL as the ledger's database: how connections are set up and transactions spoken.

Every connection is in autocommit mode and its transactions are spoken by us: serialisable ones for the writer, one
read-only snapshot for a reader. A serialisable transaction that meets another process's is refused by the database and
run again as a whole, so units may be written as if nobody else were there. The instance lock is an advisory lock of
a connection of its own; it ends with the process, however that ends.
"""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from bot.errors import SettingsError
from bot.protocols.clock import Clock
from bot.store.database import Held

CONNECT_SECONDS = 10
"""A database that does not answer within this is down; the caller tries again by its own rules."""

LOCK = 0x7467735F626F74
"""The number of our advisory lock: `tgs_bot` in ASCII."""

SERIALIZATION = frozenset({"40001", "40P01"})
"""SQLSTATE of a serialisation failure and of a deadlock (PostgreSQL manual, appendix A): run the transaction again."""


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

    begin_write = "BEGIN ISOLATION LEVEL SERIALIZABLE"
    begin_read = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"

    def __init__(self, url: str) -> None:
        """Raises SettingsError, without showing the URL, when it cannot be read or the driver is not installed."""
        if find_spec("psycopg") is None:
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

    def connect(self, *, read_only: bool = False) -> Connection:
        """Raises SettingsError when the server does not answer or refuses us; the message holds no password."""
        engine = create_engine(
            self._url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "application_name": "tgs",
                # Statements are prepared by the server after some uses; behind a pooler that would break.
                "prepare_threshold": None,
            },
        )
        try:
            # The verbs ask how many rows an INSERT wrote; that number is otherwise thrown away.
            return engine.connect().execution_options(preserve_rowcount=True)
        except DBAPIError as error:
            reason = str(error.orig).strip().splitlines() or ["no reason given"]
            raise SettingsError(
                f"The database {self.shown} cannot be reached: {self._clean(reason[-1])}.",
                "Check TGS_DATABASE_URL, and that the server runs and accepts this user.",
            ) from None

    def _clean(self, text: str) -> str:
        password = str(self._url.password or "")
        return (text.replace(password, "***") if password else text).rstrip(".")

    def hold(self) -> Held:
        connection = self.connect()
        found = connection.connection.cursor()
        found.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,))
        row = found.fetchone()
        if row is None or not row[0]:
            connection.close()
            raise SettingsError(
                f"The database {self.shown} is in use by another process of the bot.",
                "Stop that process first, or use another database.",
            )
        return _AdvisoryLock(connection)

    def in_transaction(self, driver: Any) -> bool:
        from psycopg.pq import TransactionStatus

        return driver.info.transaction_status in {TransactionStatus.INTRANS, TransactionStatus.INERROR}

    def broken(self, driver: Any) -> bool:
        return bool(driver.closed)

    def again(self, error: BaseException) -> bool:
        origin = error.orig if isinstance(error, DBAPIError) else error
        return getattr(origin, "sqlstate", None) in SERIALIZATION

    def begin_migration(self, driver: Any) -> None:
        driver.execute("BEGIN")

    def end_migration(self, driver: Any) -> None:
        """References were checked by the database all along."""

    def backup(self, clock: Clock) -> Path | None:
        return None
