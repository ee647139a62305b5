"""What the store needs of a kind of database: how connections are made and transactions spoken.

Two modules implement it, `sqlite.py` and `postgresql.py`; everything else in this package is SQL that both share.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection

from bot.errors import SettingsError
from bot.protocols.clock import Clock


class Held(Protocol):
    """The right to work on the database."""

    def release(self) -> None:
        """Give it up; a second call does nothing."""
        ...


class BesideWriter(Protocol):
    """A thread that puts in order what the writer leaves behind."""

    def start(self) -> None: ...
    def committed(self) -> None:
        """The writer has committed. Called by its thread."""
        ...

    def close(self) -> None:
        """Ends it, after the writer has ended."""
        ...


class Database(Protocol):
    """One database. `shown` is its name for people, without a password."""

    @property
    def shown(self) -> str: ...

    @property
    def many(self) -> bool:
        """Whether several processes can work on it at once."""
        ...

    @property
    def in_process(self) -> bool:
        """Whether statements are run by this process and not by a server that is waited for."""
        ...

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What the driver raises."""
        ...

    @property
    def begin_write(self) -> str:
        """Begins a transaction in which units see each other's writes and nobody else's; units never overlap, those
        of other processes included."""
        ...

    @property
    def begin_read(self) -> str:
        """Begins a transaction on one snapshot that cannot write."""
        ...

    def create(self) -> None:
        """Makes the database if this kind can. Raises SettingsError."""
        ...

    def there(self) -> bool:
        """Whether there is anything to read a revision from. Raises SettingsError when it cannot be reached."""
        ...

    def check(self) -> None:
        """Raises StoreDamaged or SettingsError when it cannot be used."""
        ...

    def hold(self, *, shared: bool = False, patience: float = 0.0) -> Held:
        """The right to be the one process on it, or one of those who share it. Waits `patience` seconds for it.

        Raises SettingsError when another process has it still.
        """
        ...

    def wakeups_current(self, connection: Connection) -> bool:
        """Whether what the queue between processes needs is there as this version needs it."""
        ...

    def bring_wakeups(self, driver: Any) -> None:
        """Brings that up to this version, in the running transaction."""
        ...

    def drop_wakeups(self, driver: Any) -> None:
        """Takes that away, in the running transaction."""
        ...

    def connect(self, *, read_only: bool = False) -> Connection: ...
    def checkpoints(self) -> BesideWriter | None:
        """What brings committed changes to their final place, where that is not done by the database itself."""
        ...

    def in_transaction(self, driver: Any) -> bool: ...
    def broken(self, driver: Any) -> bool:
        """Whether the connection is of no more use."""
        ...

    def again(self, error: BaseException) -> bool:
        """Whether the transaction failed only because another was faster, so that the same may succeed now."""
        ...

    def begin_migration(self, driver: Any) -> None: ...
    def end_migration(self, driver: Any) -> None:
        """Looks at what the steps left before they are committed. Raises SettingsError."""
        ...

    def backup(self, clock: Clock) -> Path | None:
        """A copy made before existing data is changed; None where the operator makes copies with other tools."""
        ...


def database_of(url: str) -> Database:
    """The database that the URL names. Raises SettingsError without showing the URL, which may hold a password."""
    from bot.store.postgresql import PostgresqlDatabase
    from bot.store.sqlite import SqliteDatabase, file_of

    # Some providers hand out the older name; a driver in the name is ours to choose.
    if url.partition(":")[0].partition("+")[0] in {"postgresql", "postgres"}:
        return PostgresqlDatabase(url)
    return SqliteDatabase(file_of(url))


def refuse_unknown(backend: str) -> SettingsError:
    """The error for a kind of database that is not supported."""
    return SettingsError(
        f"The database URL names {backend!r}, which is not supported.",
        "Use sqlite:////absolute/path/to/file.db (four slashes) or postgresql://user@host/name.",
    )
