"""The `tgs` command: one tree, thin. Parse, call, print; errors become one message and a documented exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from bot.cli import (
    agent,
    backlog,
    backlog_change,
    backlog_claims,
    backlog_scan,
    config,
    db,
    demo,
    locks,
    resync,
    serve,
    simulate,
    tickets,
    worker,
    worker_tokens,
)
from bot.cli.answers import json_text, json_wanted
from bot.cli.exits import Exit, as_record, exit_of, told
from bot.cli.init import init
from bot.cli.show import for_reading
from bot.errors import TgsError, UserError
from bot.logs import configure

app = typer.Typer(
    name="tgs",
    help="Works a repository's issue backlog with Claude Code, under the maintainers' control.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain help: it wraps at the terminal's width, reads the same in a pipe, and options that take no value show none.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"tgs {version('tgs-bot')}")
        raise typer.Exit


@app.callback()
def tgs(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
    settings: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Settings file; the environment goes first.")
    ] = None,
) -> None:
    """Works a repository's issue backlog with Claude Code, under the maintainers' control."""
    config.config_file.set(settings)


items = typer.Typer(help="The backlog of a repository: issues, plans and tickets.", no_args_is_help=True)
items.command()(backlog_change.add)
items.command()(backlog_change.remove)
items.command("list")(backlog.list_)
items.command("next")(backlog_claims.next_)
items.command()(backlog_claims.claim)
items.command()(backlog_claims.heartbeat)
items.command()(backlog_claims.complete)
items.command()(backlog_claims.fail)
items.command()(backlog.validate)
items.command()(backlog_scan.scan)
items.command()(backlog.export)
items.command("import")(backlog.import_)

server = typer.Typer(help="The backlog, its locks, the settings, and a look at everything.", no_args_is_help=True)
server.add_typer(items, name="backlog")
server.add_typer(locks.app, name="locks")
server.add_typer(tickets.app, name="ticket")
server.add_typer(config.app, name="config")
server.command("resync")(resync.resync)

app.command()(serve.serve)
app.command()(demo.demo)
app.command()(simulate.simulate)
app.command()(init)
app.add_typer(db.app, name="db")
app.add_typer(agent.app, name="agent")
worker.app.add_typer(worker_tokens.app, name="token")
app.add_typer(worker.app, name="worker")
app.add_typer(server, name="server")


def main() -> None:
    """Run the command line. Raises SystemExit with a code of `Exit`."""
    # Standard output belongs to the answer; `serve` sets its own log up once it knows how.
    configure(json=False, level="warning")
    run(sys.argv[1:])


def run(args: Sequence[str]) -> None:
    """One command line. Raises SystemExit; an error is told on standard error, as JSON where JSON was asked for."""
    json_wanted.set(False)
    try:
        code = app(args=list(args), prog_name="tgs", standalone_mode=False)
    except typer.TyperException as error:
        _misused(error, as_json="--json" in args)
        raise SystemExit(error.exit_code) from None
    except TgsError as error:
        if json_wanted.get():
            print(json_text(as_record(error), indent=None, nulls=False), file=sys.stderr)
        else:
            print(for_reading(f"tgs: {told(error)}", sys.stderr), file=sys.stderr)
        raise SystemExit(int(exit_of(error))) from None
    except (KeyboardInterrupt, typer.Abort):
        raise SystemExit(int(Exit.INTERNAL)) from None
    raise SystemExit(code if isinstance(code, int) else int(Exit.OK))


def _misused(error: typer.TyperException, *, as_json: bool) -> None:
    """Tell what of the command line was not understood, and how the command is used."""
    # The library that reads values puts a name of its own before some messages.
    error.message = error.message.removeprefix("Value error, ")
    if as_json:
        print(json_text(as_record(UserError(error.format_message())), indent=None, nulls=False), file=sys.stderr)
    elif (show := getattr(error, "show", None)) is not None:
        show()
    else:
        print(f"Error: {error.format_message()}", file=sys.stderr)
