"""`tgs server backlog add|remove`: what is in the backlog and what is not.

Thin: parse, call the backlog, print.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bot.cli.answers import AddAnswer, SettledAnswer, print_json
from bot.cli.backends import choose
from bot.cli.backlog import ask
from bot.cli.options import AsJson, BackendChoice, ClonePath, Item, Repo, folder_names, item_ref
from bot.cli.show import say
from bot.cli.tickets import is_ticket_file, read_ticket
from bot.client.backlog import Addition, Settled
from bot.client.plain import plain
from bot.domain.labels import PRIORITIES
from bot.domain.model import ItemState
from bot.errors import UserError


def add(
    item: Annotated[
        str,
        typer.Argument(
            metavar="ITEM",
            help="The plan's folder, an issue as 12 or '#12', or a ticket file (.yaml).",
            autocompletion=folder_names,
            show_default=False,
        ),
    ] = "",
    issue: Annotated[str, typer.Option("--issue", metavar="N", help="The issue's number, instead of ITEM.")] = "",
    title: Annotated[str | None, typer.Option("--title", metavar="TEXT", help="Title of a new issue.")] = None,
    priority: Annotated[
        str | None, typer.Option("--priority", metavar="P", help="high, normal, low or a whole number; higher first.")
    ] = None,
    locks: Annotated[
        list[str] | None, typer.Option("--locks", metavar="GLOB", help="Paths it will touch. May be repeated.")
    ] = None,
    depends_on: Annotated[
        list[str] | None, typer.Option("--depends-on", metavar="N", help="Issue it waits for. May be repeated.")
    ] = None,
    repo: Repo = "",
    backend: BackendChoice = None,
    path: ClonePath = None,
    as_json: AsJson = False,
) -> None:
    """Put a plan, an issue or a ticket into the backlog.

    Adding what is there already changes nothing and is no error.
    """
    if bool(item) == bool(issue):
        raise UserError("What is to be added is not clear.", "Give ITEM or --issue, one of them.")
    ticket = read_ticket(Path(item)) if is_ticket_file(item) else None
    where = choose(backend, repo, path)
    addition = Addition(
        ref=None if ticket else item_ref(issue or item, path),
        ticket=ticket,
        title=title,
        priority=_priority(priority),
        locks=tuple(_pieces(locks)) or None,
        depends_on=tuple(_issue(one) for one in _pieces(depends_on)) or None,
    )
    added = ask(where, lambda backlog: backlog.add(addition))
    if as_json:
        print_json(AddAnswer(added.entry, added.new))
        return
    entry = added.entry
    named = f"{entry.name} ({plain(entry.title)})"
    if not added.new:
        there = "already queued" if entry.state is ItemState.READY else "in the backlog already"
        say(f"{named} is {there}; its state is {entry.state}.")
        return
    say(f"{'Enqueued ticket' if ticket else 'Added'} {named}: {entry.state}.")


def remove(
    item: Item,
    force: Annotated[bool, typer.Option("--force", help="Also when somebody is working on it.")] = False,
    repo: Repo = "",
    backend: BackendChoice = None,
    path: ClonePath = None,
    as_json: AsJson = False,
) -> None:
    """Take an item out of the backlog. The issue and the plan stay."""
    where, ref = choose(backend, repo, path), item_ref(item, path)
    print_settled(ask(where, lambda backlog: backlog.remove(ref, force=force)), as_json)


def print_settled(settled: Settled, as_json: bool) -> None:
    if as_json:
        print_json(SettledAnswer(settled.entry, settled.text, settled.due_at))
    else:
        say(settled.text or f"{settled.entry.name} is {settled.entry.state} now.")


def _priority(text: str | None) -> int | None:
    if text is None:
        return None
    if text.lower() in PRIORITIES:
        return PRIORITIES[text.lower()]
    try:
        return int(text)
    except ValueError:
        raise UserError(f"`{plain(text)}` is no priority.", "Give high, normal, low or a whole number.") from None


def _pieces(values: list[str] | None) -> list[str]:
    """Each option may hold several, separated by commas."""
    return [piece.strip() for value in values or () for piece in value.split(",") if piece.strip()]


def _issue(text: str) -> int:
    if not text.removeprefix("#").isdecimal():
        raise UserError(f"`{plain(text)}` is no issue's number.", "Give --depends-on 12.")
    return int(text.removeprefix("#"))
