"""Brings a database to the schema of this version, and back; refuses one that a newer version wrote.

Migrations come from the installed package; no file of settings is needed. A whole upgrade is one transaction, so a
crash in the middle leaves the old schema. Running processes hold the database's lock, so nothing changes under them.
What the queue between processes needs in the database is brought along, by the migrations of its engine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection

from bot.errors import SettingsError
from bot.protocols.clock import Clock
from bot.store.database import Database, Held, database_of
from bot.store.errors import SchemaOutdated, SchemaTooNew

PATIENCE = 30.0
"""Seconds: of several processes that start together one migrates, and the others wait for it."""

LOOK_AGAIN = 0.2
"""Seconds between two looks whether another process has migrated or ended."""

MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was done: revisions before (None: empty database) and after, and the backup taken in between."""

    before: str | None
    after: str | None
    backup: Path | None

    @property
    def changed(self) -> bool:
        return self.before != self.after


def config_for(connection: Connection | None = None) -> Config:
    """What Alembic needs to know to migrate over this connection."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


@cache
def _revisions() -> tuple[str, ...]:
    """The revisions of this version, newest first. Read once: they do not change while the process lives."""
    found = tuple(step.revision for step in ScriptDirectory.from_config(config_for()).walk_revisions())
    if not found:
        raise SettingsError(f"No migrations were found in {MIGRATIONS}.", "Install the package again.")
    return found


def head() -> str:
    """The revision that this version of the code needs."""
    return _revisions()[0]


def revision_of(connection: Connection) -> str | None:
    """The revision that the database stands at; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(revision: str | None, where: str) -> None:
    if revision is not None and revision not in _revisions():
        raise SchemaTooNew(
            f"The database {where} is at schema revision {revision}, which this version does not know "
            f"(its newest is {head()}): a newer version wrote it.",
            "Install that version again, or put back the backup that was made before its migration.",
        )


def require_current(connection: Connection, where: str) -> None:
    """Raises SchemaTooNew or SchemaOutdated unless the database stands exactly at `head()`."""
    revision = revision_of(connection)
    _refuse_newer(revision, where)
    if revision != head():
        raise SchemaOutdated(
            f"The database {where} is at schema revision {revision or 'none'}, this version needs {head()}.",
            "Run `tgs db upgrade` (`tgs serve` does it at its start).",
        )


def current(url: str) -> str | None:
    """The revision of the database that the URL names; None when it is empty or does not exist yet."""
    database = database_of(url)
    if not database.there():
        return None
    database.check()
    with database.connect() as connection:
        return revision_of(connection)


def _there(database: Database, connection: Connection, target: str | None) -> bool:
    """Whether nothing is to be done. Raises SchemaTooNew."""
    revision = revision_of(connection)
    _refuse_newer(revision, database.shown)
    return revision == target and (revision is None or database.wakeups_current(connection))


def _lock_unless_there(database: Database, target: str | None, patience: float) -> Held | None:
    """The lock, or None when nothing is to be done (any more). Raises SettingsError when others keep it."""
    until = time.monotonic() + patience
    while True:
        with database.connect() as connection:
            if _there(database, connection, target):
                return None
        try:
            return database.hold()
        except SettingsError:
            if time.monotonic() >= until:
                raise
        time.sleep(LOOK_AGAIN)


def _migrate(
    url: str, clock: Clock, step: Callable[[Config], None], target: str | None, patience: float = 0.0
) -> Prepared:
    """Runs `step` in one transaction under the instance lock, after a backup when it changes existing data.

    Where others may share the database it waits `patience` seconds for them to end, or to have done it.
    """
    database = database_of(url)
    database.create()
    lock = _lock_unless_there(database, target, patience) if database.many else database.hold()
    if lock is None:
        return Prepared(target, target, None)
    try:
        database.check()
        with database.connect() as connection:
            if _there(database, connection, target):
                return Prepared(target, target, None)
            before = revision_of(connection)
            saved = None if before is None else database.backup(clock)
            driver: Any = connection.connection.driver_connection
            database.begin_migration(driver)
            try:
                step(config_for(connection))
                if revision_of(connection) is None:
                    database.drop_wakeups(driver)
                else:
                    database.bring_wakeups(driver)
                database.end_migration(driver)
                driver.execute("COMMIT")
            except BaseException:
                if database.in_transaction(driver):
                    driver.execute("ROLLBACK")
                raise
            return Prepared(before, revision_of(connection), saved)
    finally:
        lock.release()


def upgrade(url: str, clock: Clock) -> Prepared:
    """Migrates to the newest revision. Raises SettingsError (in use, damaged, written by a newer version)."""
    return _migrate(url, clock, lambda config: command.upgrade(config, "head"), head(), PATIENCE)


def downgrade(url: str, revision: str, clock: Clock) -> Prepared:
    """Migrates back to `revision` (`base`: an empty database; `-1`: one step). Data of dropped columns is lost, which
    is why a backup is made first. Raises SettingsError, also for an unknown revision."""

    def step(config: Config) -> None:
        try:
            command.downgrade(config, revision)
        except CommandError as error:
            raise SettingsError(
                f"The database cannot be taken back to {revision!r}: {error}.",
                "Use `base`, `-1` or a revision that `tgs db current` once showed.",
            ) from error

    return _migrate(url, clock, step, None if revision == "base" else revision)


def prepare(url: str, clock: Clock) -> Prepared:
    """What `tgs serve` does before it opens the store: creates the file if need be, and migrates with a backup first
    if there is something to migrate."""
    return upgrade(url, clock)
