"""`tgs db`: bring the ledger's schema up or down, say where it stands, copy it, make it anew from GitHub.

Exit codes: 0 done, 1 history that was tampered with, 2 something a person must set right (bad URL, file in use,
damaged, written by a newer version), 7 GitHub stopped a rebuild, which a further call goes on with.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.exits import Exit
from bot.clock import SystemClock
from bot.errors import GitHubError, RateLimited, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bot.rebuilt_records import Report
    from bot.settings import Settings
    from bot.store.migrate import Prepared

app = typer.Typer(help="The ledger's database: schema, backups, rebuilding.", no_args_is_help=True)

EXIT_USAGE = 2
EXIT_BROKEN = 1

Url = Annotated[
    str | None,
    typer.Option("--url", help="Database URL; default: TGS_DATABASE_URL, DATABASE_URL, a file in TGS_DATA_DIR."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def database_url(given: str | None, environment: Mapping[str, str]) -> str:
    """The URL to work on: option, environment, settings file, default file, as `tgs serve` finds it; but none of the
    server's other settings is needed, so that a database can be mended without them. Raises SettingsError."""
    from bot.settings import KNOWN_KEYS
    from bot.settings_file import read_file

    for url in (given, environment.get("TGS_DATABASE_URL"), environment.get("DATABASE_URL")):
        if url:
            return url
    from_file = read_file(None, environment, KNOWN_KEYS)
    if (url := from_file.get("database_url")) is not None:
        return str(url)
    folder = Path(environment.get("TGS_DATA_DIR") or str(from_file.get("data_dir", "data")))
    return f"sqlite:///{(folder / 'tgs.db').as_posix()}"


@contextmanager
def _told() -> Iterator[None]:
    """A settings error becomes its message on standard error and exit code 2."""
    try:
        yield
    except SettingsError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_USAGE) from error


def _say(as_json: bool, facts: Mapping[str, str | None], text: str) -> None:
    typer.echo(json.dumps(dict(facts)) if as_json else text)


def _say_prepared(as_json: bool, done: Prepared) -> None:
    saved = None if done.backup is None else str(done.backup)
    text = (
        f"Schema revision {done.before or 'none'} -> {done.after or 'none'}"
        if done.changed
        else (f"Schema revision {done.after or 'none'}: nothing to do")
    )
    if saved is not None:
        text += f"\nBackup: {saved}"
    _say(as_json, {"before": done.before, "after": done.after, "backup": saved}, text)


@app.command()
def upgrade(url: Url = None, as_json: AsJson = False) -> None:
    """Migrate to the newest schema.

    A database that holds something is backed up first.
    """
    from bot.store.migrate import upgrade as migrate

    with _told():
        _say_prepared(as_json, migrate(database_url(url, os.environ), SystemClock()))


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="A revision, -1 for one step, or base for an empty database.")],
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Migrate back to an older schema.

    The database is backed up first, because what newer columns hold is lost.
    """
    from bot.store.migrate import downgrade as migrate

    with _told():
        _say_prepared(as_json, migrate(database_url(url, os.environ), revision, SystemClock()))


@app.command()
def current(url: Url = None, as_json: AsJson = False) -> None:
    """Say which schema there is, and which this version needs."""
    from bot.store.migrate import current as revision_at
    from bot.store.migrate import head

    with _told():
        found, needed = revision_at(database_url(url, os.environ)), head()
        note = "up to date" if found == needed else "run `tgs db upgrade`"
        _say(as_json, {"current": found, "head": needed}, f"{found or 'none'} (this version needs {needed}: {note})")


@app.command()
def verify(url: Url = None, as_json: AsJson = False) -> None:
    """Check that no line of the history was changed, and that the items are what it leads to.

    All of it is read; lines that were changed, put in or taken out are named, and
    items that are stored otherwise than a replay of their history gives.
    """
    from bot.store.chain import verify_at
    from bot.store.replayed import unexplained_at

    with _told():
        database = database_url(url, os.environ)
        found, unexplained = verify_at(database), unexplained_at(database)
    text = f"{found.lines} lines of history fit together."
    if found.older:
        text += f" {found.older} are from before they were linked."
    if found.removed:
        text += f" {found.removed} before them are not kept any more."
    if found.broken:
        shown = ", ".join(str(number) for number in found.broken[:10])
        text = f"{len(found.broken)} of {found.lines} lines do not fit what stands before them: {shown}."
    text = "\n".join([text, *(f"{line}." for line in unexplained)])
    facts = {
        "lines": found.lines, "older": found.older, "broken": list(found.broken), "unexplained": list(unexplained),
        "removed": found.removed,
    }  # fmt: skip
    typer.echo(json.dumps(facts) if as_json else text)
    if found.broken or unexplained:
        raise typer.Exit(EXIT_BROKEN)


@app.command()
def backup(url: Url = None, as_json: AsJson = False) -> None:
    """Copy the database while the bot runs.

    The copy lies beside it; its path is printed.
    """
    from bot.store.backup import backup as copy
    from bot.store.backup import dump_command

    with _told():
        database = database_url(url, os.environ)
        if (command := dump_command(database)) is not None:
            _say(
                as_json, {"backup": None, "command": command}, f"PostgreSQL is backed up by its own tool:\n  {command}"
            )
            return
        path = str(copy(database, SystemClock()))
        _say(as_json, {"backup": path}, path)


@app.command()
def rebuild(
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings file; the environment goes first.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the ledger anew from what GitHub shows.

    It is asked with the App's credentials. For an empty database after a loss; `tgs serve` does the same by itself.
    What is in the database already is left alone, so a call that GitHub's limit has stopped is made again later and
    goes on where it was. Stop the server before.
    """
    from bot.settings import load_settings

    with _told():
        settings = load_settings({}, config)
        reports = asyncio.run(_rebuilt(settings))
    if as_json:
        typer.echo(json.dumps([_report(one) for one in reports]))
    elif not reports:
        typer.echo("The App is installed on no repository that is served here.")
    for one in () if as_json else reports:
        for line in _lines(one):
            typer.echo(line)
    if any(one.stopped is not None for one in reports):
        raise typer.Exit(Exit.UPSTREAM)


async def _rebuilt(settings: Settings) -> list[Report]:
    from bot.app import World, open_parts
    from bot.github.client import open_session

    session = open_session()
    try:
        parts = await open_parts(settings, session, World())
        try:
            return await parts.engine.rebuild()
        finally:
            await parts.store.close()
    finally:
        await session.close()


def _report(found: Report) -> dict[str, object]:
    return {
        "repo": found.repo.full_name,
        "items": [{"number": number, "state": state, "from": why} for number, state, why in found.items],
        "commands_not_run": [{"number": number, "by": by, "command": verb} for number, by, verb in found.commands],
        "before": found.before,
        "stopped": None if found.stopped is None else str(found.stopped),
        "again_after": None if (until := _until(found.stopped)) is None else until.isoformat(),
    }


def _lines(found: Report) -> Iterator[str]:
    many = len(found.items)
    before = f", {found.before} were there" if found.before else ""
    yield f"{found.repo.full_name}: {many or 'no'} item{'' if many == 1 else 's'} rebuilt{before}."
    for number, state, why in found.items:
        yield f"  #{number} {state} (from: {why})"
    for number, by, verb in found.commands:
        yield f"  #{number} not run: /tgs {verb} by {by}"
    if found.stopped is not None:
        until = _until(found.stopped)
        again = "later" if until is None else f"after {until:%Y-%m-%d %H:%M} UTC"
        yield f"  It was stopped: {found.stopped}"
        yield f"  What is rebuilt stays. Call it again {again}; it goes on where it was."


def _until(error: GitHubError | None) -> datetime | None:
    """When GitHub may be asked again, if it has said so."""
    return error.until if isinstance(error, RateLimited) else None
