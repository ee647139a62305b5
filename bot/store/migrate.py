"""Brings a database to the schema of this version, and back; refuses one that a newer version wrote.

Migrations come from the installed package; no file of settings is needed. A whole upgrade is one transaction, so a
crash in the middle leaves the old schema. On SQLite the file is locked against a running bot while it changes.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection

from bot.errors import SettingsError
from bot.protocols.clock import Clock
from bot.store.backup import backup_file
from bot.store.errors import SchemaOutdated, SchemaTooNew
from bot.store.filelock import InstanceLock
from bot.store.sqlite import check_file, create_file, driver_of, engine_for, file_of

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


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def head() -> str:
    """The revision that this version of the code needs."""
    found = ScriptDirectory.from_config(_config()).get_current_head()
    if found is None:
        raise SettingsError(f"No migrations were found in {MIGRATIONS}.", "Install the package again.")
    return found


def revision_of(connection: Connection) -> str | None:
    """The revision that the database stands at; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def _known(revision: str | None) -> bool:
    script = ScriptDirectory.from_config(_config())
    return revision is None or any(step.revision == revision for step in script.walk_revisions())


def _refuse_newer(revision: str | None, where: Path) -> None:
    if not _known(revision):
        raise SchemaTooNew(
            f"The database {where} is at schema revision {revision}, which this version does not know "
            f"(its newest is {head()}): a newer version wrote it.",
            "Install that version again, or put back the backup that was made before its migration.",
        )


def require_current(connection: Connection, where: Path) -> None:
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
    path = file_of(url)
    if not path.exists() or path.stat().st_size == 0:
        return None
    check_file(path)
    with engine_for(path).connect() as connection:
        return revision_of(connection)


def _refuse_orphans(driver: sqlite3.Connection, path: Path) -> None:
    if (broken := driver.execute("PRAGMA foreign_key_check").fetchone()) is not None:
        raise SettingsError(
            f"The migration of {path} would leave a row of {broken[0]} without the row it refers to.",
            "Nothing was changed; please report this.",
        )


def _migrate(url: str, clock: Clock, step: Callable[[Config], None], target: str | None) -> Prepared:
    """Runs `step` in one transaction under the instance lock, after a backup when it changes existing data."""
    path = file_of(url)
    create_file(path)
    with InstanceLock(path, os.getpid()):
        check_file(path)
        with engine_for(path).connect() as connection:
            before = revision_of(connection)
            _refuse_newer(before, path)
            if before == target:
                return Prepared(before, before, None)
            saved = None if before is None else backup_file(path, clock)
            driver = driver_of(connection)
            # Copying a table drops the old one; references to it must not be followed meanwhile.
            driver.execute("PRAGMA foreign_keys=OFF")
            driver.execute("BEGIN IMMEDIATE")
            try:
                step(_config(connection))
                _refuse_orphans(driver, path)
                driver.execute("COMMIT")
            except BaseException:
                if driver.in_transaction:
                    driver.execute("ROLLBACK")
                raise
            return Prepared(before, revision_of(connection), saved)


def upgrade(url: str, clock: Clock) -> Prepared:
    """Migrates to the newest revision. Raises SettingsError (in use, damaged, written by a newer version)."""
    return _migrate(url, clock, lambda config: command.upgrade(config, "head"), head())


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
