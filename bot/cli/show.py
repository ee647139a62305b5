"""The backlog as people read it on a terminal and in a pipe: the same text, no colours needed, nothing obeyed.

Promise: foreign text (titles, names, reasons) is made harmless first. The short table fits the width; what is to be
copied (commands, paths, the wide table) is never wrapped.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime

from bot.client.backlog import Claim, Entry, Finding, LockHeld
from bot.client.http import plain
from bot.texts.phrases import at

EMPTY = "The backlog is empty. Label an issue `tgs:ready`, or commit a plan under tgs/thoughts/."


def items(entries: Sequence[Entry], *, wide: bool = False) -> str:
    """The list. `wide`: every column, one line an item, however long."""
    return _wide(entries) if wide else _short(entries)


def _short(entries: Sequence[Entry]) -> str:
    from rich.table import Table

    numbered = any(entry.number is not None for entry in entries)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    if numbered:
        table.add_column("#", justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("place", justify="right", no_wrap=True)
    table.add_column("prio", justify="right", no_wrap=True)
    table.add_column("title", ratio=2)
    table.add_column("now", ratio=3)
    for entry in entries:
        cells = [entry.state.value, str(entry.position or ""), str(entry.priority or ""), entry.title, going_on(entry)]
        if numbered:
            cells.insert(0, str(entry.number or ""))
        table.add_row(*(_safe(cell) for cell in cells))
    return _rendered(table)


def _wide(entries: Sequence[Entry]) -> str:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    names = ["#", "state", "place", "prio", "title", "plan", "added", "claimed", "started", "completed", "by", "tries"]
    for name in [*names, "pull", "waiting"]:
        right = name in {"#", "place", "prio", "tries", "pull"}
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    for entry in entries:
        times = (entry.added_at, entry.claimed_at, entry.started_at, entry.completed_at)
        table.add_row(
            *(
                _safe(cell)
                for cell in (
                    str(entry.number or ""),
                    entry.state.value,
                    str(entry.position or ""),
                    str(entry.priority or ""),
                    entry.title,
                    entry.dir or "",
                    *(_time(when) for when in times),
                    entry.claimed_by or "",
                    str(entry.attempts or ""),
                    "" if entry.pull_request is None else f"#{entry.pull_request}",
                    " ".join(entry.waiting),
                )
            )
        )
    return _rendered(table, width=10_000)


def going_on(entry: Entry) -> str:
    """One sentence or more about what happens with the item."""
    said = []
    if entry.pull_request is not None:
        said.append(f"Pull request #{entry.pull_request}.")
    if entry.claimed_by:
        said.append(f"Attempt {entry.attempts} is with {entry.claimed_by}.")
    return " ".join([*said, *entry.waiting])


def claim(held: Claim, commands: Mapping[str, str]) -> str:
    """All that is needed to work on a claimed item."""
    entry = held.entry
    rows = [
        ("plan", entry.dir or ""),
        ("branch", held.branch),
        ("base", held.base_sha or ""),
        ("attempt", f"{held.attempt} (fence {held.fence})" if held.attempt else ""),
        ("lease", f"until {at(held.lease_until)}" if held.lease_until is not None else ""),
    ]
    lines = [f"{entry.name}  {plain(entry.title)}" if entry.number is not None else plain(entry.title)]
    lines += [f"  {name:<9}{plain(value)}" for name, value in rows if value]
    if held.context:
        lines += ["", "Read first:", *(f"  {plain(path)}" for path in held.context)]
    if commands:
        lines += ["", "At the end:", *(f"  {line}" for line in commands.values())]
    return "\n".join(lines)


def findings(found: Sequence[Finding]) -> str:
    """What does not fit together, each with what to do."""
    lines = []
    for finding in found:
        severity = "fixed" if finding.fixed else finding.severity
        where = f"{finding.item}: " if finding.item else ""
        lines.append(problem(severity, f"{where}{finding.message}", "" if finding.fixed else finding.remedy))
    return "\n".join(lines)


def problem(severity: str, what: str, remedy: str) -> str:
    """One thing that is wrong: two sentences, wrapped at words, the lines after the first indented."""
    text = plain(f"{severity}: {what}")
    if remedy:
        text = f"{text}{'' if text.endswith(('.', '!', '?')) else '.'} {plain(remedy)}"
    return wrapped(text)


def wrapped(text: str) -> str:
    """At the width of the terminal; in a pipe at 80 columns."""
    width = shutil.get_terminal_size().columns
    return textwrap.fill(text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def locks(held: Sequence[LockHeld]) -> str:
    """The paths that are held; only the header when there are none."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("path", "mode", "item", "held by", "since"):
        table.add_column(name, no_wrap=True)
    for lock in held:
        cells = (lock.path, lock.mode, lock.item, lock.owner, _time(lock.since))
        table.add_row(*(_safe(cell) for cell in cells))
    return _rendered(table, width=10_000)


def pairs(rows: Sequence[tuple[str, ...]], head: Sequence[str]) -> str:
    """A plain table whose lines are never wrapped."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in head:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*(_safe(cell) for cell in row))
    return _rendered(table, width=10_000)


def _rendered(table: object, width: int | None = None) -> str:
    from rich.console import Console

    console = Console(width=width, no_color=True, highlight=False)
    with console.capture() as shown:
        console.print(table)
    # Cells are padded to the full width; what is copied from the terminal or piped on should not be.
    return "\n".join(line.rstrip() for line in shown.get().splitlines())


def _time(when: datetime | None) -> str:
    return "" if when is None else at(when)


def _safe(text: str) -> str:
    from rich.markup import escape

    return escape(plain(text))
