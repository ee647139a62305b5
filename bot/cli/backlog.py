"""`tgs server backlog`: what stands in the backlog, whether it fits together, and the backlog as a file.

Thin: parse, call the backlog, print. Which backlog it is, is chosen in `backends.py`; what is printed is made in
`show.py` and `answers.py`. The commands that change one item are in `backlog_work.py`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from bot.cli import show
from bot.cli.answers import ImportAnswer, ListAnswer, ValidateAnswer, json_text, print_json
from bot.cli.backends import Where, choose, opened
from bot.cli.exits import Exit, told
from bot.cli.options import AsJson, BackendChoice, ClonePath, Repo, States
from bot.client.backlog import Backlog, Entry, Finding, Status
from bot.domain.model import ItemState
from bot.errors import GitHubError, UserError

Result = TypeVar("Result")

WATCH_SECONDS = 5.0
"""Between two looks of `--watch`: people read slower, and the server answers it from its ledger."""
sleep = time.sleep


def ask(where: Where, question: Callable[[Backlog], Awaitable[Result]]) -> Result:
    """Open the backlog, ask it one thing, close it."""

    async def run() -> Result:
        async with opened(where) as backlog:
            return await question(backlog)

    return asyncio.run(run())


@dataclass(frozen=True, slots=True)
class _Filter:
    """What `list` leaves out."""

    states: Sequence[ItemState]
    statuses: Sequence[Status]
    labels: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.states or self.statuses or self.labels)

    async def __call__(self, backlog: Backlog) -> list[Entry]:
        return await backlog.entries(states=self.states, statuses=self.statuses, labels=self.labels)


def list_(
    state: States = None,
    status: Annotated[
        list[Status] | None,
        typer.Option("--status", metavar="STATUS", help=f"The same in the file's words: {', '.join(Status)}."),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="LABEL", help="Only items with it. May be repeated.")
    ] = None,
    wide: Annotated[bool, typer.Option("--wide", help="Every column, one line an item.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every few seconds, until Ctrl-C.")] = False,
    repo: Repo = "",
    backend: BackendChoice = None,
    path: ClonePath = None,
    as_json: AsJson = False,
) -> None:
    """List the items in the order in which they will be worked on."""
    where = choose(backend, repo, path)
    wanted = _Filter(state or (), status or (), label or ())

    def look() -> str:
        entries = ask(where, wanted)
        if as_json:
            return json_text(ListAnswer(tuple(entries)))
        if entries:
            return show.items(entries, wide=wide)
        if wanted:
            return "No item is like that."
        return show.for_reading(show.EMPTY, sys.stdout)

    if watch:
        _watch(look)
    else:
        print(look())


def _watch(look: Callable[[], str]) -> None:
    """Show it anew when it changed: in place on a terminal, below each other in a pipe. Ctrl-C is the usual end."""
    before = ""
    terminal = sys.stdout.isatty()
    try:
        while True:
            try:
                now = look()
            except GitHubError as error:
                now = f"{told(error)} Trying again."
            if now != before:
                if terminal:
                    print("\x1b[2J\x1b[H", end="")
                elif before:
                    print()
                print(now, flush=True)
                before = now
            sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        if terminal:
            print()


def validate(
    fix: Annotated[bool, typer.Option("--fix", help="Put right what follows from the rest.")] = False,
    repo: Repo = "",
    backend: BackendChoice = None,
    path: ClonePath = None,
    as_json: AsJson = False,
) -> None:
    """Check that ledger, labels, plans and locks fit together.

    Exit code 6 when an error was found; warnings alone are fine.
    """
    found = ask(choose(backend, repo, path), lambda backlog: backlog.validate(fix=fix))
    ok = not any(one.severity == "error" and not one.fixed for one in found)
    if as_json:
        print_json(ValidateAnswer(tuple(found), ok))
    else:
        _print_findings(found)
    if not ok:
        raise typer.Exit(int(Exit.REFUSED))


def _print_findings(found: Sequence[Finding]) -> None:
    print(show.findings(found) if found else "Everything fits together.")


def export(
    out: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there instead of printing it.")
    ] = None,
    repo: Repo = "",
    backend: BackendChoice = None,
    path: ClonePath = None,
) -> None:
    """Print the backlog as a backlog file.

    It is JSON of version "1", in the form of a tgs/server/backlog.json.
    """
    file = ask(choose(backend, repo, path), lambda backlog: backlog.export())
    text = json.dumps(file, indent=2, ensure_ascii=False)
    if out is None:
        print(text)
        return
    try:
        out.write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{out} cannot be written: {error.strerror}.", "Name a file that you may write, in a folder that exists."
        ) from None
    thoughts = file.get("thoughts")
    print(f"Wrote {len(thoughts) if isinstance(thoughts, list) else 0} items to {out}.")


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backlog file; - for standard input.")],
    repo: Repo = "",
    backend: BackendChoice = None,
    path: ClonePath = None,
    as_json: AsJson = False,
) -> None:
    """Add the items of a backlog file. What is in the backlog already stays as it is."""
    content = _read_file(file)
    added = ask(choose(backend, repo, path), lambda backlog: backlog.import_(content))
    if as_json:
        print_json(ImportAnswer(tuple(added)))
        return
    new = [one.entry for one in added if one.new]
    print("\n".join([*show.added(new), show.counted(len(new), "item", len(added) - len(new))]))


def _read_file(file: Path) -> Mapping[str, object]:
    """The content of a backlog file. Raises UserError that names the file, line and column."""
    from bot.client.backlog_file import MAX_BYTES, data_of, parse

    piped = str(file) == "-"
    name = "The standard input" if piped else str(file)
    try:
        if piped:
            raw = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with file.open("rb") as source:
                raw = source.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}.", "Name a backlog file.") from None
    return data_of(parse(raw, name))
