"""The backlog as people read it on a terminal and in a pipe: the same text, no colours needed, nothing obeyed.

Promise: foreign text (titles, names, reasons) is made harmless first. The short table fits the width; what is to be
copied (commands, paths, the wide table) is never wrapped.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TextIO

from bot.client.backlog import Claim, Entry, Finding, LockHeld
from bot.client.plain import plain
from bot.domain.model import ItemState
from bot.texts.phrases import at

_SENTENCES = {"title": 2, "now": 3}
"""Columns that are wrapped, and how they share the width."""
_NUMBERS = frozenset({"#", "place", "prio", "tries", "pull"})
ON_ACTIONS = "actions"
"""Who has an item that a run of Actions works on, as the bot names it."""
SHORTEST_LEASE = timedelta(minutes=10)
"""Of the leases that the bot gives; used where a server does not say when the claim was made."""
EMPTY = "The backlog is empty. Label an issue `tgs:ready`, or commit a plan under tgs/thoughts/."


def items(entries: Sequence[Entry], *, wide: bool = False) -> str:
    """The list. `wide`: every column, one line an item, however long."""
    return _wide(entries) if wide else _short(entries)


def _short(entries: Sequence[Entry]) -> str:
    from rich.table import Table

    columns: list[tuple[str, Callable[[Entry], str]]] = [
        ("#", lambda entry: str(entry.number or "")),
        ("state", lambda entry: entry.state.value),
        ("place", lambda entry: str(entry.position or "")),
        ("prio", lambda entry: str(entry.priority or "")),
        ("title", lambda entry: entry.title),
        ("now", going_on),
    ]
    # On eighty columns every empty one costs words in the others.
    columns = [(name, cell) for name, cell in columns if any(cell(entry) for entry in entries)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, _ in columns:
        if name in _SENTENCES:
            table.add_column(name, ratio=_SENTENCES[name])
        else:
            table.add_column(name, justify="right" if name in _NUMBERS else "left", no_wrap=True)
    for entry in entries:
        table.add_row(*(_safe(cell(entry)) for _, cell in columns))
    return _rendered(table)


def _wide(entries: Sequence[Entry]) -> str:
    columns: list[tuple[str, Callable[[Entry], str]]] = [
        ("state", lambda entry: entry.state.value),
        ("place", lambda entry: str(entry.position or "")),
        ("prio", lambda entry: str(entry.priority or "")),
        ("title", lambda entry: entry.title),
        ("plan", lambda entry: entry.dir or ""),
        ("added", lambda entry: _time(entry.added_at)),
        ("claimed", lambda entry: _time(entry.claimed_at)),
        ("started", lambda entry: _time(entry.started_at)),
        ("completed", lambda entry: _time(entry.completed_at)),
        ("by", lambda entry: entry.claimed_by or ""),
        ("tries", lambda entry: str(entry.attempts or "")),
        ("waiting", lambda entry: " ".join(entry.waiting)),
    ]
    if any(entry.number is not None for entry in entries):
        columns.insert(0, ("#", lambda entry: str(entry.number or "")))
        columns.insert(-1, ("pull", lambda entry: "" if entry.pull_request is None else f"#{entry.pull_request}"))
    return pairs([tuple(cell(entry) for _, cell in columns) for entry in entries], [name for name, _ in columns])


def going_on(entry: Entry) -> str:
    """One sentence or more about what happens with the item."""
    said = []
    if entry.pull_request is not None:
        said.append(f"Pull request #{entry.pull_request}.")
    if entry.claimed_by:
        by = "runs on Actions" if entry.claimed_by == ON_ACTIONS else f"is with {entry.claimed_by}"
        said.append(f"Attempt {entry.attempts} {by}.")
    if entry.state is ItemState.PROPOSED and not entry.waiting:
        said.append("It waits for an approval.")
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
    if not held.context and entry.number is not None:
        lines += ["", "Read first:", f"  the issue: gh issue view {entry.number}"]
    if held.context:
        lines += ["", "Read first:", *(f"  {plain(path)}" for path in held.context)]
    if "heartbeat" in commands:
        lines += ["", f"{_often(held)} meanwhile:", f"  {commands['heartbeat']}"]
    if ends := [line for name, line in commands.items() if name != "heartbeat"]:
        lines += ["", "At the end:", *(f"  {line}" for line in ends)]
    return "\n".join(lines)


def _often(held: Claim) -> str:
    """How often to give a sign of life: two of them may get lost before the lease ends."""
    since, until = held.entry.claimed_at, held.lease_until
    lease = until - since if since is not None and until is not None else SHORTEST_LEASE
    minutes = int(lease.total_seconds() // 180)
    return f"Every {minutes} minutes" if minutes > 1 else "Every minute"


def added(entries: Sequence[Entry]) -> list[str]:
    """What came into the backlog, one line each."""
    return [
        f"added: {entry.name} ({plain(entry.title)})" if entry.number is not None else f"added: {entry.name}"
        for entry in entries
    ]


def counted(new: int, what: str, known: int) -> str:
    """How many came in. `what`: one of them in a word."""
    return f"{new or 'No'} new {what}{'' if new == 1 else 's'}, {known} known before."


def findings(found: Sequence[Finding]) -> str:
    """What does not fit together, each with what to do."""
    lines = []
    for finding in found:
        severity = "fixed" if finding.fixed else finding.severity
        # Some messages name their folder themselves; once is enough.
        where = f"{finding.item}: " if finding.item and finding.item not in finding.message else ""
        lines.append(problem(severity, f"{where}{finding.message}", "" if finding.fixed else finding.remedy))
    return "\n".join(lines)


def problem(severity: str, what: str, remedy: str) -> str:
    """One thing that is wrong: two sentences, wrapped at words, the lines after the first indented."""
    text = plain(f"{severity}: {what}")
    if remedy:
        text = f"{text}{'' if text.endswith(('.', '!', '?')) else '.'} {plain(remedy)}"
    return wrapped(text)


def wrapped(text: str, hang: str = "    ") -> str:
    """At the width of the terminal; in a pipe at 80 columns. Lines after the first stand `hang` further in."""
    width = shutil.get_terminal_size().columns
    indent = text[: len(text) - len(text.lstrip())]
    return textwrap.fill(text, width, subsequent_indent=indent + hang, break_long_words=False, break_on_hyphens=False)


def locks(held: Sequence[LockHeld]) -> str:
    """The paths that are held; only the header when there are none."""
    rows = [(lock.path, lock.mode, lock.item, lock.owner, _time(lock.since)) for lock in held]
    return pairs(rows, ("path", "mode", "item", "held by", "since"))


def pairs(rows: Sequence[tuple[str, ...]], head: Sequence[str]) -> str:
    """A plain table whose lines are never wrapped. Columns of numbers are flush right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in head:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(_safe(cell) for cell in row))
    return _rendered(table, width=10_000)


def for_reading(text: str, stream: TextIO) -> str:
    """Sentences for a stream: wrapped at words on a terminal, and in a pipe one line each, as they are."""
    return "\n".join(wrapped(line, "") for line in text.split("\n")) if stream.isatty() else text


def say(text: str) -> None:
    """Sentences on standard output."""
    print(for_reading(text, sys.stdout))


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
