"""SQLite as the ledger's file: where it is, how a connection is set up, whether the file is sound.

Every connection is in the driver's autocommit mode and its transactions are spoken by us (`BEGIN IMMEDIATE` for the
writer, `BEGIN` for a reader's snapshot); the driver's own guessing about transactions is switched off.
"""

from __future__ import annotations

import os
import sqlite3
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from bot.errors import SettingsError
from bot.protocols.clock import Clock
from bot.store.backup import backup_file
from bot.store.database import BesideWriter, Held, refuse_unknown
from bot.store.errors import StoreDamaged
from bot.store.filelock import InstanceLock

# Another process (a backup, `tgs db current`) holds a lock for a moment only; beyond this something is wrong.
BUSY_TIMEOUT_MS = 5_000

# Pages of the log, 32 MiB, beyond which a commit brings them into the file itself, if nobody else did.
LONGEST_LOG = 8_000

# Some hundred statements are built, and updates in as many forms as columns change together.
STATEMENTS = 2_000


def file_of(url: str) -> Path:
    """The file that an `sqlite:///…` URL names. Raises SettingsError for anything else, without showing the URL
    (it may hold a password)."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SettingsError(
            "The database URL cannot be read.", "Use sqlite:////absolute/path/to/file.db (four slashes)."
        ) from None
    if parsed.get_backend_name() != "sqlite":
        raise refuse_unknown(parsed.get_backend_name())
    if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
        raise SettingsError(
            "The database URL names no file.", "The ledger must survive a restart: use sqlite:////absolute/path.db."
        )
    return Path(parsed.database)


def create_file(path: Path) -> None:
    """Makes the file (readable by its owner alone) and its folders. SQLite gives its side files the same mode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise SettingsError(
            f"The database file {path} cannot be opened: {error.strerror}.",
            "Check TGS_DATABASE_URL or TGS_DATA_DIR and who owns the folder.",
        ) from error


def _driver(path: Path, mode: str) -> sqlite3.Connection:
    driver = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=BUSY_TIMEOUT_MS / 1000,
    )
    try:
        driver.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        driver.execute("PRAGMA foreign_keys=ON")
        if mode == "ro":
            driver.execute("PRAGMA query_only=ON")
        else:
            driver.execute("PRAGMA journal_mode=WAL")
            # A 2xx promises that the row survives a power cut; NORMAL does not keep that promise in WAL mode.
            driver.execute("PRAGMA synchronous=FULL")
            driver.execute(f"PRAGMA wal_autocheckpoint={LONGEST_LOG}")
            # What is deleted (webhook bodies, tokens) is overwritten, not only unlinked.
            driver.execute("PRAGMA secure_delete=ON")
    except BaseException:
        driver.close()
        raise
    return driver


def open_driver(path: Path) -> sqlite3.Connection:
    """The driver's connection without what SQLAlchemy puts around it."""
    return _driver(path, "rw")


_wanted: ContextVar[tuple[Path, bool]] = ContextVar("wanted")
"""The file to connect to, and whether only to read."""


def _wanted_driver() -> sqlite3.Connection:
    path, read_only = _wanted.get()
    return _driver(path, "ro" if read_only else "rw")


@cache
def _engine() -> Engine:
    """One for all files of a process: it pools nothing, and what it learnt about a statement is true for each file."""
    return create_engine(
        "sqlite://",
        creator=_wanted_driver,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
        hide_parameters=True,
        query_cache_size=STATEMENTS,
    )


def connect(path: Path, *, read_only: bool = False) -> Connection:
    """A connection of its own to the file, set up as this module promises."""
    token = _wanted.set((path, read_only))
    try:
        return _engine().connect()
    finally:
        _wanted.reset(token)


def driver_of(connection: Connection) -> sqlite3.Connection:
    """The driver's connection, for what SQLAlchemy has no word for."""
    return cast("sqlite3.Connection", connection.connection.driver_connection)


def check_file(path: Path) -> None:
    """Reads the whole file once. Raises StoreDamaged with SQLite's first finding."""
    finding: str
    try:
        driver = _driver(path, "rw")
        try:
            finding = driver.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if finding == "ok" and driver.execute("PRAGMA foreign_key_check").fetchone() is not None:
                finding = "a row refers to another row that is missing"
        finally:
            driver.close()
    except sqlite3.OperationalError as error:
        raise SettingsError(
            f"The database file {path} cannot be opened: {error}.",
            "Check that the folder is writable and that no other program holds the file.",
        ) from error
    except sqlite3.DatabaseError as error:
        finding = str(error)
    if finding != "ok":
        raise StoreDamaged(
            f"The database file {path} is damaged: {finding}.",
            "Move it and its -wal and -shm files away, then put the newest backup in its place, or start with an empty "
            "file: the ledger is rebuilt from GitHub (`tgs db rebuild` shows what comes back).",
        )


class SqliteDatabase:
    """`bot.store.database.Database` in one file."""

    # The one writer of the one process: taken at once, so that two transactions never overlap.
    begin_write = "BEGIN IMMEDIATE"
    begin_read = "BEGIN"
    many = False
    in_process = True
    errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def shown(self) -> str:
        return str(self.path)

    def create(self) -> None:
        create_file(self.path)

    def there(self) -> bool:
        return self.path.exists() and self.path.stat().st_size > 0

    def check(self) -> None:
        check_file(self.path)

    def hold(self, *, shared: bool = False, patience: float = 0.0) -> Held:
        """A file has one process, whoever asks to share it."""
        return InstanceLock(self.path, os.getpid())

    def wakeups_current(self, connection: Connection) -> bool:
        """One process needs nothing in the database to wake itself up."""
        return True

    def bring_wakeups(self, driver: Any) -> None: ...
    def drop_wakeups(self, driver: Any) -> None: ...

    def connect(self, *, read_only: bool = False) -> Connection:
        return connect(self.path, read_only=read_only)

    def checkpoints(self) -> BesideWriter | None:
        from bot.store.checkpoints import Checkpoints

        return Checkpoints(self.path)

    def in_transaction(self, driver: Any) -> bool:
        return bool(driver.in_transaction)

    def broken(self, driver: Any) -> bool:
        """A connection to a file does not break by itself."""
        return False

    def again(self, error: BaseException) -> bool:
        """Nobody else writes."""
        return False

    def begin_migration(self, driver: Any) -> None:
        # Copying a table drops the old one; references to it must not be followed meanwhile.
        driver.execute("PRAGMA foreign_keys=OFF")
        driver.execute("BEGIN IMMEDIATE")

    def end_migration(self, driver: Any) -> None:
        if (broken := driver.execute("PRAGMA foreign_key_check").fetchone()) is not None:
            raise SettingsError(
                f"The migration of {self.path} would leave a row of {broken[0]} without the row it refers to.",
                "Nothing was changed; please report this.",
            )

    def backup(self, clock: Clock) -> Path | None:
        return backup_file(self.path, clock)
