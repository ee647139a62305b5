"""`tgs server config`: what the settings are, where each comes from, and whether they are right.

Promise: a secret is never printed, only that it is set. Nothing is asked of the network.
"""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.answers import ConfigAnswer, ConfigCheckAnswer, SettingShown, print_json
from bot.cli.exits import Exit
from bot.cli.options import AsJson

if TYPE_CHECKING:
    from bot.settings import ClientSettings

app = typer.Typer(help="The settings of server and command line.", no_args_is_help=True)

config_file: ContextVar[Path | None] = ContextVar("config_file", default=None)
"""The file that `tgs --config` names."""

ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings file.")]
Host = Annotated[str | None, typer.Option("--host", metavar="ADDRESS", help="As for `tgs serve`.")]
Port = Annotated[int | None, typer.Option("--port", metavar="PORT", help="As for `tgs serve`.")]


def client_settings() -> ClientSettings:
    """The settings of the command line. Raises SettingsError with every problem that was found."""
    from bot.settings import load_client_settings

    return load_client_settings(config=config_file.get())


@app.command()
def check(config: ConfigFile = None, host: Host = None, port: Port = None, as_json: AsJson = False) -> None:
    """Check the settings. Exit code 2 when something is missing or wrong.

    An unknown name in the file is a warning. The server's settings are checked
    when one of them is set.
    """
    from bot.cli.show import wrapped
    from bot.settings import inspect_settings

    found = inspect_settings({"host": host, "port": port}, config or config_file.get())
    file, ok = found.file, not found.problems
    if as_json:
        print_json(ConfigCheckAnswer(str(file.path), file.found, ok, found.problems, tuple(file.warnings())))
    else:
        for problem in found.problems:
            print(wrapped(f"error: {problem}"))
        for warning in file.warnings():
            print(wrapped(f"warning: {warning}"))
        if ok:
            what = "of server and command line" if found.for_server else "of the command line"
            print(f"The settings {what} are complete.")
    if not ok:
        raise typer.Exit(int(Exit.USAGE))


@app.command()
def show(
    effective: Annotated[bool, typer.Option("--effective", help="Also what is not set, with its default.")] = False,
    config: ConfigFile = None,
    host: Host = None,
    port: Port = None,
    as_json: AsJson = False,
) -> None:
    """Show the settings that are set, and where each comes from.

    A flag goes before the environment, then the settings file, then the
    default. Secrets are masked.
    """
    from bot.cli.show import pairs
    from bot.settings import Origin, environment_name, inspect_settings

    found = inspect_settings({"host": host, "port": port}, config or config_file.get())
    shown = [
        SettingShown(environment_name(one.field), one.shown, one.origin.value)
        for one in found.settings
        if effective or one.origin is not Origin.DEFAULT
    ]
    if as_json:
        print_json(ConfigAnswer(str(found.file.path), found.file.found, tuple(shown)))
        return
    print(f"Settings file: {found.file.path}{'' if found.file.found else ' (not there)'}")
    if shown:
        print()
        print(pairs([(one.name, one.value or "not set", one.origin) for one in shown], ("setting", "value", "from")))
    else:
        print("Nothing is set.")
