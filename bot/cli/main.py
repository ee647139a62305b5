"""The `tgs` command: one tree, thin. Parse, call, print; errors become one message and a documented exit code."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from bot.cli import agent, backlog, db, demo, serve, worker
from bot.cli.exits import Exit, exit_of
from bot.cli.init import init
from bot.errors import TgsError
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
) -> None:
    """Works a repository's issue backlog with Claude Code, under the maintainers' control."""


server = typer.Typer(help="Talk to a running bot.", no_args_is_help=True)
server.add_typer(backlog.app, name="backlog")

app.command()(serve.serve)
app.command()(demo.demo)
app.command()(init)
app.add_typer(db.app, name="db")
app.add_typer(agent.app, name="agent")
app.add_typer(worker.app, name="worker")
app.add_typer(server, name="server")


def main() -> None:
    """Run the command line. Raises SystemExit with a code of `Exit`."""
    # Standard output belongs to the answer; `serve` sets its own log up once it knows how.
    configure(json=False, level="warning")
    try:
        app(prog_name="tgs")
    except TgsError as error:
        # What is wrong may be a list with a line each; the remedy then begins a line of its own.
        print(f"tgs: {error}".replace("\n ", "\n"), file=sys.stderr)
        raise SystemExit(int(exit_of(error))) from None
    except KeyboardInterrupt:
        raise SystemExit(int(Exit.INTERNAL)) from None
