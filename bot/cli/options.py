"""Options and arguments that several commands share, and how the words that name an item are read."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from bot.cli.answers import json_wanted
from bot.cli.backends import Backend, clone_root
from bot.client.backlog import ItemRef
from bot.client.plain import plain
from bot.domain.model import FailureReason, ItemState
from bot.domain.thoughts import THOUGHTS_DIR, parse_dir
from bot.errors import UserError

_NUMBER = re.compile(r"#?([1-9][0-9]{0,8})")


def reason_codes(incomplete: str) -> list[str]:
    """For the shell's completion."""
    return [code.value for code in FailureReason if code.value.startswith(incomplete)]


def folder_names(incomplete: str) -> list[str]:
    """Plan folders of the clone here that begin so, for the shell's completion."""
    root = clone_root(None)
    folder = None if root is None else root / THOUGHTS_DIR
    if folder is None or not folder.is_dir():
        return []
    names = sorted(one.name for one in folder.iterdir() if one.is_dir())
    return [name for full in names for name in (f"{THOUGHTS_DIR}/{full}", full) if name.startswith(incomplete)]


def _note_json(value: bool) -> bool:
    json_wanted.set(value)
    return value


AsJson = Annotated[bool, typer.Option("--json", callback=_note_json, help="Print JSON for programs.")]
Repo = Annotated[
    str,
    typer.Option("--repo", metavar="OWNER/NAME", help="The repository; else that of the clone here."),
]
BackendChoice = Annotated[
    Backend | None,
    typer.Option(
        "--backend",
        metavar="KIND",
        help=f"Where the backlog is: {', '.join(Backend)}. Else the server if TGS_SERVER_URL is set, else GitHub.",
    ),
]
ClonePath = Annotated[
    Path | None,
    typer.Option("--path", metavar="FOLDER", help="The clone to work in; else the one here."),
]
Item = Annotated[
    str,
    typer.Argument(
        metavar="ITEM",
        help="The plan's folder, or the issue as 12 or '#12'.",
        autocompletion=folder_names,
    ),
]
States = Annotated[
    list[ItemState] | None,
    typer.Option("--state", metavar="STATE", help=f"Only these: {', '.join(ItemState)}. May be repeated."),
]


def item_ref(text: str, path: Path | None = None) -> ItemRef:
    """Which item a word means: `12`, `#12`, a plan's folder from anywhere in the clone, or the folder's name alone.

    Raises UserError when it can be none of them; whether there is such an item is not asked.
    """
    if number := _NUMBER.fullmatch(text.strip()):
        return ItemRef(number=int(number[1]))
    wanted = text.strip().rstrip("/")
    for candidate in (wanted, f"{THOUGHTS_DIR}/{wanted}", _inside_clone(wanted, path)):
        if candidate is not None and parse_dir(candidate) is not None:
            return ItemRef(dir=candidate)
    raise UserError(
        f"`{plain(text)}` is neither an issue's number nor the folder of a plan.",
        f"Give 12, '#12' or a folder such as {THOUGHTS_DIR}/a1b2c3-title (6 to 40 characters of 0-9 and a-z, a dash, "
        "and the title).",
    )


def _inside_clone(text: str, path: Path | None) -> str | None:
    """The path from the clone's root, when the text leads into the clone from here."""
    root = clone_root(path)
    if root is None:
        return None
    base = path if path is not None else Path.cwd()
    # Only the text is joined: a link inside the clone must not lead to another folder unseen.
    joined = Path(os.path.normpath(base.absolute() / text))
    try:
        return joined.relative_to(root).as_posix()
    except ValueError:
        return None
