"""What `tgs` says about itself: at 80 columns, without colours, the same on a terminal and in a pipe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from bot.cli.main import app
from tests.cli.terminal import here
from tests.cli.town import plain_environment, tgs

TOP = """\
Usage: tgs [OPTIONS] COMMAND [ARGS]...

  Works a repository's issue backlog with Claude Code, under the maintainers'
  control.

Options:
  --version             Show the version.
  --config FILE         Settings file; the environment goes first.
  --install-completion  Install completion for the current shell.
  --show-completion     Show completion for the current shell, to copy it or
                        customize the installation.
  -h, --help            Show this message and exit.

Commands:
"""

SERVE = """\
Usage: tgs serve [OPTIONS]

  Run the bot: webhooks, queue and API.

  Settings come from flags, then from the environment (TGS_…), then from the
  file. SIGTERM ends it cleanly.

Options:
  --config FILE   Settings file; the environment goes first.
  --host ADDRESS  Address to listen on.
  --port PORT     Port to listen on; 0 for any free one.
  --check         Only check the settings.
  -h, --help      Show this message and exit.
"""

DEMO = """\
Usage: tgs demo [OPTIONS]

  Show the whole loop on a local GitHub.

  Plans are pushed, claimed, built, tested and merged, with real git,
  processes and HTTP, all on this machine; it takes a minute or less. On a
  terminal it then serves on, to look around and to push plans, until Ctrl-C.
  With `--agent claude-code` Claude Code itself does the work (`pip install
  'tgs-bot[claude]'`); nothing is paid for.

Options:
  --once         End when all work is done instead of serving on.
  --agent <str>  `scripted`, or `claude-code`: the real program with a
                 scripted model.  [default: scripted]
  -h, --help     Show this message and exit.
"""

WHOLE = {"serve": SERVE, "demo": DEMO}


def every_command(group: object, path: str = "") -> Iterator[str]:
    """Every group and command of the tree."""
    yield path
    if isinstance(group, typer.core.TyperGroup):
        for name, command in group.commands.items():
            yield from every_command(command, f"{path} {name}".strip())


EVERY = list(every_command(get_command(app)))


async def test_the_top_names_every_command_with_a_whole_sentence(tmp_path: Path) -> None:
    done = await tgs("--help", env=plain_environment(tmp_path))
    assert (done.code, done.err) == (0, "")
    head, _, commands = done.out.partition("Commands:\n")
    assert head + "Commands:\n" == TOP
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in commands.splitlines()}
    assert set(rows) >= {"serve", "demo", "init", "db", "agent", "worker", "server"}
    for name, sentence in rows.items():
        assert sentence.endswith("."), name
        assert not sentence.endswith("..."), f"the first sentence of {name} is too long for the list"


@pytest.mark.parametrize("command", WHOLE)
async def test_the_commands_of_every_day_explain_themselves(command: str, tmp_path: Path) -> None:
    done = await here(*command.split(), "--help", env=plain_environment(tmp_path))
    assert (done.code, done.out, done.err) == (0, WHOLE[command], "")


def test_every_command_has_help_that_fits_80_columns() -> None:
    runner = CliRunner(env={"COLUMNS": "80"})
    for command in EVERY:
        done = runner.invoke(app, [*command.split(), "-h"], prog_name="tgs")
        assert done.exit_code == 0, command
        lines = done.output.splitlines()
        assert lines[0].startswith(f"Usage: tgs {command}".rstrip()), command
        assert lines[2].strip(), f"{command} does not say what it does"
        assert max(map(len, lines)) <= 80, command
        assert "\x1b" not in done.output, command


async def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    done = await tgs("--version", env=plain_environment(tmp_path))
    assert (done.code, done.out) == (0, f"tgs {version('tgs-bot')}\n")


WRONG = {
    "an unknown command": (["sevre"], "No such command 'sevre'"),
    "an unknown option": (["serve", "--prot", "1"], "No such option: --prot"),
    "a port that is no number": (
        ["serve", "--port", "eighty"],
        "Invalid value for '--port': Input should be a",
    ),
    "a missing argument": (["server", "backlog", "claim"], "Missing argument 'ITEM'"),
    "a state that does not exist": (["server", "backlog", "list", "--state", "open"], "'open' is not one of"),
    "a name without its owner": (
        ["server", "backlog", "list", "--backend", "github", "--repo", "greeter"],
        "Give it as owner/name.",
    ),
}


@pytest.mark.parametrize(("args", "words"), WRONG.values(), ids=WRONG.keys())
async def test_wrong_use_is_exit_code_2_and_named(args: list[str], words: str, tmp_path: Path) -> None:
    done = await here(*args, env=plain_environment(tmp_path))
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert "Traceback" not in done.err
    assert "Value error" not in done.err


async def test_wrong_use_is_json_where_json_was_asked_for(tmp_path: Path) -> None:
    done = await here("server", "backlog", "list", "--state", "open", "--json", env=plain_environment(tmp_path))
    assert (done.code, done.out) == (2, "")
    told = json.loads(done.err)["error"]
    assert (told["code"], told["exit"]) == ("usage", 2)
    assert told["message"].startswith("Invalid value for '--state': 'open' is not one of 'proposed', ")
