"""The tables of the engine that hands out keys between processes (procrastinate), under the engine's own migrations.

The engine keeps no note of which of its migrations were run; ours is a row of `meta`. A new database gets its whole
schema at once, an older one the steps that came since. Everything happens inside the transaction of our own migration.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from sqlalchemy import Connection, inspect, select

from bot.store.tables import meta

NOTED = "wakeups"

_DROP = """
DO $$
DECLARE found record;
BEGIN
    FOR found IN SELECT oid::regprocedure AS name FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND proname LIKE 'procrastinate\\_%'
    LOOP EXECUTE format('DROP FUNCTION IF EXISTS %s CASCADE', found.name); END LOOP;
    FOR found IN SELECT relname AS name FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND relname LIKE 'procrastinate\\_%'
    LOOP EXECUTE format('DROP TABLE IF EXISTS %I CASCADE', found.name); END LOOP;
    FOR found IN SELECT typname AS name FROM pg_type
        WHERE typnamespace = current_schema()::regnamespace AND typname LIKE 'procrastinate\\_%'
    LOOP EXECUTE format('DROP TYPE IF EXISTS %I CASCADE', found.name); END LOOP;
END $$;
"""
# Functions first: they name the tables' row types. Triggers, indexes and sequences go along.


def _steps() -> dict[str, str]:
    """The engine's migrations by name, in their order."""
    folder = files("procrastinate.sql.migrations")
    return {
        entry.name: entry.read_text("utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".sql")
    }


def current(connection: Connection) -> bool:
    """Whether the newest migration of the installed engine was run."""
    if not inspect(connection).has_table(meta.name):
        return False
    noted = connection.execute(select(meta.c.value).where(meta.c.name == NOTED)).scalar_one_or_none()
    return noted is not None and noted >= list(_steps())[-1]


def bring(driver: Any) -> None:
    """Brings the engine's schema to the installed version of the engine, in the running transaction."""
    steps = _steps()
    noted = driver.execute("SELECT value FROM meta WHERE name = %s", (NOTED,)).fetchone()
    if noted is None:
        wanted = [files("procrastinate.sql").joinpath("schema.sql").read_text("utf-8")]
    else:
        wanted = [text for name, text in steps.items() if name > noted[0]]
    for text in wanted:
        driver.execute(text)
    driver.execute(
        "INSERT INTO meta (name, value) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (NOTED, max([*steps, *(noted or ())])),
    )


def drop(driver: Any) -> None:
    """Takes everything of the engine away, in the running transaction."""
    driver.execute(_DROP)
