"""`tgs server ticket validate`, and reading ticket files: the keys of front matter as a whole YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from bot.cli import show
from bot.cli.answers import TicketAnswer, TicketProblem, print_json
from bot.cli.exits import Exit
from bot.cli.options import AsJson
from bot.client.backlog import Ticket
from bot.domain.front_matter import FrontMatter, FrontMatterResult, from_ticket
from bot.domain.labels import PRIORITIES
from bot.errors import UserError

app = typer.Typer(help="Ticket files.", no_args_is_help=True)

MAX_BYTES: Final = 65_536
"""A ticket is a page of text."""
SUFFIXES: Final = (".yaml", ".yml")


@app.callback()
def tickets() -> None:
    """Ticket files."""


@app.command()
def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The ticket file (.yaml).")],
    as_json: AsJson = False,
) -> None:
    """Check a ticket file: every field, with line and remedy.

    Exit code 2 when it cannot be used. Nothing is asked of a server.
    """
    found = _read(file)
    matter = found.matter
    if as_json:
        print_json(
            TicketAnswer(
                str(file), matter is not None, _problems(found, "errors"), _problems(found, "warnings"),
                None if matter is None else matter.title,
            )
        )  # fmt: skip
    else:
        for severity, problems in (("error", found.errors), ("warning", found.warnings)):
            for problem in problems:
                print(show.problem(severity, problem.what, problem.remedy))
        if matter is not None:
            print(show.wrapped(f"✅ {file}: {_summary(matter)}"))
    if matter is None:
        raise typer.Exit(int(Exit.USAGE))


def is_ticket_file(text: str) -> bool:
    """Whether the word names a ticket file: by its suffix alone, so that a missing file is named as missing."""
    return text.lower().endswith(SUFFIXES)


def read_ticket(file: Path) -> Ticket:
    """A ticket that can be added. Raises UserError with every problem, each with its line and remedy."""
    found = _read(file)
    if found.matter is None or found.matter.title is None:
        lines = "\n".join(f"- {problem.what} {problem.remedy}" for problem in found.errors)
        raise UserError(f"{file} is no ticket that can be added:\n{lines}")
    fields = found.matter.model_dump(mode="json", exclude_unset=True, exclude={"title", "description"})
    return Ticket(found.matter.title, found.matter.description or "", fields)


def _read(file: Path) -> FrontMatterResult:
    try:
        with file.open("rb") as source:
            raw = source.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.", "Name a ticket file.") from None
    if len(raw) > MAX_BYTES:
        raise UserError(f"{file} has more than {MAX_BYTES} bytes.", "Is it the right file?")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{file} is not UTF-8 text.", "Save it as UTF-8.") from None
    return from_ticket(text, str(file))


def _problems(found: FrontMatterResult, which: str) -> tuple[TicketProblem, ...]:
    return tuple(TicketProblem(one.code, one.what, one.remedy) for one in getattr(found, which))


def _summary(matter: FrontMatter) -> str:
    names = {number: name for name, number in PRIORITIES.items()}
    said = [str(matter.type)]
    if matter.priority is not None:
        said.append(f"priority {names.get(matter.priority, matter.priority)}")
    for count, word in ((len(matter.locks), "path"), (len(matter.acceptance), "acceptance command")):
        if count:
            said.append(f"{count} {word}{'' if count == 1 else 's'}")
    return f"{matter.title} ({', '.join(said)})"
