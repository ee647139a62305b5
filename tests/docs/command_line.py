"""Whether a command line of `tgs` exists: subcommands and options, as the command itself knows them."""

from __future__ import annotations

import shlex
from functools import cache

import typer
from typer.main import get_command

from bot.cli.main import app


@cache
def whole_tree() -> object:
    """All commands; building the tree takes a tenth of a second."""
    return get_command(app)


def unknown_command(line: str) -> str | None:
    """Why the command line is none of ours; None when it is."""
    command = whole_tree()
    words = shlex.split(line.replace("…", ""))[1:]
    while words and isinstance(command, typer.core.TyperGroup):
        if words[0].startswith("-"):
            break
        if words[0] not in command.commands:
            return f"there is no command {words[0]!r}"
        command = command.commands[words.pop(0)]
    assert isinstance(command, typer.core.TyperGroup | typer.core.TyperCommand)
    known = {name for param in command.params for name in param.opts} | {"--help", "-h"}
    unknown = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    return f"there is no option {unknown[0]}" if unknown else None
