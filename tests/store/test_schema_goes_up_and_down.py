"""Migrations, backups and the `tgs db` commands."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from typer.testing import CliRunner

from bot.cli.db import app, database_url
from bot.domain.intake import Intake, Touch, TouchKind
from bot.errors import SettingsError
from bot.store.backup import backup, dump_command
from bot.store.engine import open_store
from bot.store.errors import SchemaTooNew, StoreDamaged
from bot.store.filelock import InstanceLock
from bot.store.inbox import SqlInbox
from bot.store.migrate import current, downgrade, head, prepare, upgrade
from bot.store.router import Router
from bot.store.sqlite import connect
from bot.store.tables import METADATA
from tests.store.support import REPO, CountedIds, StillClock, a_repo, ask, fresh_store, tell, url_of

run = CliRunner()

AN_END = Touch(TouchKind.RUN, REPO.installation, REPO.repo, "55", "completed")


def schema(path: Path) -> list[tuple[Any, ...]]:
    """Every table, index and trigger as the database wrote it down."""
    return ask(path, "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'alembic%' ORDER BY type, name")


def test_up_down_and_up_again_ends_where_it_began(path: Path, clock: StillClock) -> None:
    assert upgrade(url_of(path), clock).after == head()
    once = schema(path)
    assert downgrade(url_of(path), "base", clock).after is None
    assert [row for row in schema(path) if not str(row[1]).startswith("sqlite_")] == []
    assert upgrade(url_of(path), clock).after == head()

    assert schema(path) == once
    assert len(once) > 30


def test_the_migrations_build_exactly_the_tables_that_the_code_uses(path: Path, clock: StillClock) -> None:
    prepare(url_of(path), clock)
    with connect(path) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})

        assert compare_metadata(context, METADATA) == []


def test_the_migrations_know_the_same_closed_sets_and_partial_indexes_as_the_tables(
    path: Path, tmp_path: Path, clock: StillClock
) -> None:
    """What Alembic's comparison does not look at: CHECK constraints and the conditions of indexes."""
    prepare(url_of(path), clock)
    direct = tmp_path / "direct.db"
    direct.touch()
    with connect(direct) as connection:
        METADATA.create_all(connection)

    def words(of: Path) -> dict[str, list[str]]:
        rows = ask(of, "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type <> 'trigger'")
        return {name: sorted(re.sub(r"[,()]", " ", sql.replace('"', "")).split()) for name, sql in rows}

    migrated = words(path)
    migrated.pop("alembic_version")
    assert migrated == words(direct)


def test_an_empty_folder_becomes_a_database_without_a_backup(tmp_path: Path, clock: StillClock) -> None:
    path = tmp_path / "deep" / "er" / "tgs.db"
    done = prepare(url_of(path), clock)

    assert (done.before, done.after, done.backup, done.changed) == (None, head(), None, True)
    assert not prepare(url_of(path), clock).changed


async def test_a_migration_of_data_is_preceded_by_a_backup_that_holds_it(path: Path, clock: StillClock) -> None:
    async with fresh_store(path, clock) as store:
        await store.write(lambda tx: tx.put_repo(a_repo()))
    done = downgrade(url_of(path), "base", clock)

    assert done.backup is not None
    assert done.backup.name == "tgs.backup-20260301T120000Z.db"
    async with open_store(url_of(done.backup), clock, CountedIds()) as saved:
        assert await saved.read(lambda tx: tx.repo(REPO)) == a_repo()


def test_a_database_of_a_newer_version_is_refused_with_its_revision(path: Path, clock: StillClock) -> None:
    prepare(url_of(path), clock)
    tell(path, "UPDATE alembic_version SET version_num = '9999'")

    for attempt in (
        lambda: prepare(url_of(path), clock),
        lambda: downgrade(url_of(path), "base", clock),
        lambda: open_store(url_of(path), clock, CountedIds()),
    ):
        with pytest.raises(SchemaTooNew, match=r"9999.*newer version.*backup"):
            attempt()
    assert ask(path, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_an_unknown_revision_is_refused_and_changes_nothing(path: Path, clock: StillClock) -> None:
    prepare(url_of(path), clock)

    with pytest.raises(SettingsError, match="nonsense"):
        downgrade(url_of(path), "nonsense", clock)
    assert current(url_of(path)) == head()


def test_a_database_in_use_is_not_migrated(path: Path, clock: StillClock) -> None:
    prepare(url_of(path), clock)

    with InstanceLock(path, 4242), pytest.raises(SettingsError, match="4242"):
        downgrade(url_of(path), "base", clock)


async def test_a_backup_of_a_running_bot_is_whole_and_does_not_disturb_it(path: Path, clock: StillClock) -> None:
    async with fresh_store(path, clock) as store:
        await store.write(lambda tx: tx.put_repo(a_repo()))
        first, second = backup(url_of(path), clock), backup(url_of(path), clock)
        await store.write(lambda tx: tx.mark(REPO))

    assert first != second, "two backups of one second"
    assert {name.suffix for name in (first, second)} == {".db"}
    for copy in (first, second):
        assert ask(copy, "PRAGMA integrity_check") == [("ok",)]
        assert ask(copy, "SELECT full_name FROM repos") == [("octo/widgets",)]
        assert os.stat(copy).st_mode & 0o777 == 0o600


def test_a_backup_of_nothing_is_refused(path: Path, clock: StillClock) -> None:
    with pytest.raises(SettingsError, match="no database"):
        backup(url_of(path), clock)


def test_the_command_for_postgresql_shows_no_password() -> None:
    command = dump_command("postgresql+psycopg://tgs:hunter2@db.example:5433/ledger")

    assert command == "pg_dump --format=custom --file=tgs.dump postgresql://tgs@db.example:5433/ledger"
    assert dump_command("sqlite:///tgs.db") is None


# --- the commands


def invoke(*arguments: str) -> tuple[int, str, str]:
    result = run.invoke(app, list(arguments))
    return result.exit_code, result.stdout, result.stderr


def test_the_commands_bring_a_database_up_look_at_it_copy_it_and_take_it_down(path: Path) -> None:
    where = ("--url", url_of(path), "--json")

    code, out, _ = invoke("upgrade", *where)
    assert (code, json.loads(out)) == (0, {"before": None, "after": head(), "backup": None})
    code, out, _ = invoke("current", *where)
    assert (code, json.loads(out)) == (0, {"current": head(), "head": head()})
    code, out, _ = invoke("backup", *where)
    copy = Path(json.loads(out)["backup"])
    assert (code, copy.parent) == (0, path.parent)
    assert ask(copy, "PRAGMA integrity_check") == [("ok",)]
    code, out, _ = invoke("downgrade", "base", *where)
    down = json.loads(out)
    assert (code, down["before"], down["after"]) == (0, head(), None)
    assert Path(down["backup"]).exists()


def test_the_commands_speak_to_people_too(path: Path) -> None:
    where = ("--url", url_of(path))

    assert invoke("current", *where)[1].strip() == f"none (this version needs {head()}: run `tgs db upgrade`)"
    assert invoke("upgrade", *where)[1].strip() == f"Schema revision none -> {head()}"
    assert invoke("upgrade", *where)[1].strip() == f"Schema revision {head()}: nothing to do"
    assert invoke("current", *where)[1].strip() == f"{head()} (this version needs {head()}: up to date)"
    assert "Backup: " in invoke("downgrade", "base", *where)[1]


def test_a_backup_of_postgresql_is_left_to_its_tool() -> None:
    code, out, _ = invoke("backup", "--url", "postgresql://tgs:hunter2@db/ledger")

    assert code == 0
    assert "pg_dump" in out
    assert "hunter2" not in out


@pytest.mark.parametrize("command", [["upgrade"], ["current"], ["backup"], ["downgrade", "base"]])
def test_a_damaged_file_ends_a_command_with_code_2_and_a_remedy(path: Path, command: list[str]) -> None:
    path.write_bytes(b"this is a text file, not a database" * 100)
    code, out, err = invoke(*command, "--url", url_of(path))

    assert (code, out) == (2, "")
    assert "not a database" in err


def test_a_damaged_file_is_not_migrated(path: Path, clock: StillClock) -> None:
    path.write_bytes(b"this is a text file, not a database" * 100)

    with pytest.raises(StoreDamaged):
        prepare(url_of(path), clock)


@pytest.mark.parametrize(
    ("given", "environment", "expected"),
    [
        pytest.param("sqlite:///a.db", {"TGS_DATABASE_URL": "sqlite:///b.db"}, "sqlite:///a.db", id="the option first"),
        pytest.param(
            None,
            {"TGS_DATABASE_URL": "sqlite:///b.db", "DATABASE_URL": "sqlite:///c.db"},
            "sqlite:///b.db",
            id="then our own variable",
        ),
        pytest.param(None, {"DATABASE_URL": "sqlite:///c.db"}, "sqlite:///c.db", id="then the common one"),
        pytest.param(None, {"TGS_DATA_DIR": "/srv/tgs"}, "sqlite:////srv/tgs/tgs.db", id="then the data folder"),
        pytest.param(None, {}, "sqlite:///data/tgs.db", id="then the default file"),
    ],
)
def test_the_database_is_found_by(
    given: str | None, environment: dict[str, str], expected: str, tmp_path: Path
) -> None:
    assert database_url(given, {"HOME": str(tmp_path), **environment}) == expected


def test_the_settings_file_is_read_when_nothing_else_says_where(tmp_path: Path) -> None:
    folder = tmp_path / "tgs"
    folder.mkdir()
    (folder / "config.yaml").write_text("database_url: sqlite:///from-file.db\n")

    assert database_url(None, {"XDG_CONFIG_HOME": str(tmp_path)}) == "sqlite:///from-file.db"


def test_a_crash_in_the_middle_of_a_migration_leaves_the_old_schema(
    path: Path, clock: StillClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(url_of(path), clock)
    before = schema(path)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bot.store.sqlite.SqliteDatabase.end_migration", crash)
    with pytest.raises(KeyboardInterrupt):
        downgrade(url_of(path), "base", clock)

    assert schema(path) == before
    with closing(sqlite3.connect(path)) as driver:
        assert driver.execute("SELECT version_num FROM alembic_version").fetchall() == [(head(),)]


async def test_what_is_not_routed_yet_is_routed_after_going_up_and_down(path: Path, clock: StillClock) -> None:
    async with fresh_store(path, clock) as store:
        await store.write(lambda tx: tx.put_repo(a_repo()))
        said = Intake(touches=(Touch(TouchKind.REPO, REPO.installation, REPO.repo), AN_END))
        await SqlInbox(store).accept("guid", "workflow_run", "completed", said, None)
    before = ask(path, "SELECT touches FROM deliveries")

    downgrade(url_of(path), "0016", clock)
    assert ask(path, "SELECT kind, value, number, hint FROM touches ORDER BY id") == [
        ("repo", "", None, ""),
        ("run", "55", 55, "completed"),
    ]
    upgrade(url_of(path), clock)

    assert ask(path, "SELECT touches FROM deliveries") == before
    async with open_store(url_of(path), clock, CountedIds()) as store:
        assert await Router(store, lambda error: pytest.fail(str(error))).route_all() == [REPO]
