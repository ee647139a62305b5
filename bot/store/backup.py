"""A consistent copy of a running ledger: SQLite's online backup, or the command that copies PostgreSQL."""

from __future__ import annotations

import os
import shlex
import sqlite3
from datetime import UTC
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from bot.errors import SettingsError
from bot.protocols.clock import Clock

# Copied in steps, so that a running bot's writer gets its turn in between.
PAGES_PER_STEP = 1_000


def _fresh_name(path: Path, clock: Clock) -> Path:
    """Creates an empty file beside the database, named by the UTC time, that nobody else has."""
    stamp = clock.now().astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    for attempt in range(1_000):
        suffix = "" if attempt == 0 else f"-{attempt}"
        name = path.with_name(f"{path.stem}.backup-{stamp}{suffix}{path.suffix or '.db'}")
        try:
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            continue
        except OSError as error:
            raise SettingsError(
                f"The backup {name} cannot be written: {error.strerror}.", "Check space and owner of the folder."
            ) from error
        return name
    raise SettingsError(f"There are too many backups of {path} of the same second.", "Try again in a second.")


def backup_file(path: Path, clock: Clock) -> Path:
    """Copies the database while it may be in use; the copy is whole and holds everything committed before.

    Returns the path of the copy. Raises SettingsError when there is no database or no room.
    """
    if not path.exists():
        raise SettingsError(f"There is no database at {path}.", "Nothing to back up; check TGS_DATABASE_URL.")
    target = _fresh_name(path, clock)
    source = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=rw", uri=True)
    copy = sqlite3.connect(target)
    try:
        source.backup(copy, pages=PAGES_PER_STEP)
        # The copy is one file by itself: no side files to forget when it is moved.
        copy.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        target.unlink(missing_ok=True)
        raise SettingsError(
            f"The backup of {path} failed: {error}.", "Check the space on the disk; no backup was kept."
        ) from error
    finally:
        copy.close()
        source.close()
    return target


def backup(url: str, clock: Clock) -> Path:
    """Backs up the SQLite file that the URL names. Raises SettingsError."""
    from bot.store.sqlite import file_of

    return backup_file(file_of(url), clock)


def dump_command(url: str) -> str | None:
    """For a PostgreSQL URL the command that backs it up, with no password in it; None for other databases."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return None
    if parsed.get_backend_name() != "postgresql":
        return None
    # Built anew: a password may also stand in the query.
    shown = URL.create("postgresql", parsed.username, None, parsed.host, parsed.port, parsed.database)
    return f"pg_dump --format=custom --file=tgs.dump {shlex.quote(shown.render_as_string())}"
