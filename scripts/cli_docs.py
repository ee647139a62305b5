"""The page of the command line, from the command tree, the exit codes and the records that `--json` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import typer
from typer.main import get_command

from bot.cli.answers import ANSWERS, schemas
from bot.cli.exits import MEANING, Exit
from bot.cli.main import app

WIDTH = 80
"""Columns of the help texts: what a terminal has that nobody made wider."""

INTRO = """\
`tgs` asks a running bot, or GitHub alone; `tgs server backlog` says the same to both.

* **Which repository:** `--repo owner/name`, else the `origin` of the clone that you are in.
* **Which backlog:** `--backend server|github`: the bot of `TGS_SERVER_URL`, or GitHub alone with your own token.
  Without the option it is the server when `TGS_SERVER_URL` is set, else GitHub.
* **Who you are:** `TGS_TOKEN` or `GH_TOKEN`, a GitHub token; it is sent to the one server of `TGS_SERVER_URL` (or to
  GitHub) and nowhere else. Credentials are never arguments.
* **For programs:** `--json` prints one JSON document on standard output; [its schemas](#json) are below. Errors are
  `{"error": {"code", "exit", "message"}}` on standard error then. Decide by the [exit code](#exit-codes).
* **Claims:** `next` and `claim` remember the claim in a file that only you can read (`~/.local/state/tgs/claims`), so
  `complete` and `fail` need no secret. A job elsewhere gets it by `--with-token` and gives it back in
  `TGS_ATTEMPT_TOKEN`, with `TGS_ATTEMPT` and `TGS_FENCE`.
* **Completion:** `tgs --install-completion`, once per shell.

What a session does: claim an item, work on it, and report its end in one way or the other:

```sh
tgs server backlog next
tgs server backlog complete
tgs server backlog fail --reason agent.gave_up --message "The API it needs is gone."
```

Several jobs of one Actions matrix, each with an item of its own:

```sh
tgs server backlog next --count 3 --json --with-token
```
"""

JSON = """\
Every command with `--json` prints one of these records. Times are ISO 8601 in UTC with `Z`. New fields may come;
none is renamed. `export` prints the backlog file itself.
"""


def page(notice: str) -> str:
    """The whole page. `notice` says that it is generated."""
    parts = ["# Command line", notice, INTRO.strip(), "## Exit codes", _exit_codes(), "## Commands"]
    root = get_command(app)
    top = typer.Context(root, info_name="tgs", terminal_width=WIDTH, max_content_width=WIDTH, **root.context_settings)
    for path, command, context in _commands(root, top):
        title = " ".join(["tgs", *path])
        parts += [f"### {title}", f"```text\n{command.get_help(context).strip()}\n```"]
    parts += ["## JSON", JSON.strip(), _records(), f"```json\n{_schemas()}\n```"]
    return "\n\n".join(parts) + "\n"


def _records() -> str:
    rows = [f"| `tgs {command}` | `{record.__name__}` | {_first(record)} |" for command, record in ANSWERS.items()]
    return "\n".join(["| Command | Record | Meaning |", "|---|---|---|", *rows])


def _first(record: type) -> str:
    return " ".join((record.__doc__ or "").split())


def _schemas() -> str:
    """All schemas as one document, a line each, so that a change is one line of a diff."""
    lines = [f"    {json.dumps(name)}: {json.dumps(schema)}" for name, schema in sorted(schemas().items())]
    return "\n".join(
        [
            "{",
            '  "$schema": "https://json-schema.org/draft/2020-12/schema",',
            '  "$defs": {',
            ",\n".join(lines),
            "  }",
            "}",
        ]
    )


def _exit_codes() -> str:
    rows = [f"| {int(code)} | {code.name.lower()} | {MEANING[code]} |" for code in Exit]
    return "\n".join(["| Code | Name | Meaning |", "|---|---|---|", *rows])


def _commands(
    group: Any, context: typer.Context, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any, typer.Context]]:
    """Every command that does something, with its path; groups only lead to them."""
    for name, command in group.commands.items():
        inner = typer.Context(command, info_name=name, parent=context, terminal_width=WIDTH, max_content_width=WIDTH)
        if isinstance(command, typer.core.TyperGroup):
            yield from _commands(command, inner, (*path, name))
        else:
            yield (*path, name), command, inner
