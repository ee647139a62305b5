"""Trees as values: what a tree object's content says, which paths it may hold, what changes make of one. Pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from bot.localhub.git_model import GitError

TREE: Final = "040000"
LINK: Final = "160000"
MODES: Final = frozenset({"100644", "100755", "120000", TREE, LINK})

Entry = tuple[str, str]
"""Mode and object id."""


def tree_rows(data: bytes) -> Iterable[tuple[str, str, str]]:
    """(mode, id, name) of each entry of a tree's content."""
    at = 0
    while at < len(data):
        end = data.index(b"\0", at)
        mode, _, name = data[at:end].partition(b" ")
        yield mode.decode().zfill(6), data[end + 1 : end + 21].hex(), os.fsdecode(name)
        at = end + 21


def tree_content(entries: Mapping[str, Entry]) -> bytes:
    """The content of the tree with these entries, name -> (mode, id)."""
    rows = [(os.fsencode(name), mode, sha) for name, (mode, sha) in entries.items()]
    # Git sorts a folder as if its name ended in a slash.
    rows.sort(key=lambda row: row[0] + b"/" if row[1] == TREE else row[0])
    return b"".join(b"%s %s\0%s" % (mode.lstrip("0").encode(), name, bytes.fromhex(sha)) for name, mode, sha in rows)


def written(files: Mapping[str, Entry], write: Callable[[str, bytes], str]) -> str:
    """Writes the tree of these files (path -> entry), and those below it; its id."""
    here: dict[str, Entry] = {}
    below: dict[str, dict[str, Entry]] = {}
    for path, entry in files.items():
        name, slash, rest = path.partition("/")
        if slash:
            below.setdefault(name, {})[rest] = entry
        else:
            here[name] = entry
    for name, inner in below.items():
        here[name] = (TREE, written(inner, write))
    return write("tree", tree_content(here))


def changed(
    files: Mapping[str, Entry],
    changes: Sequence[tuple[str, str | None, str | None]],
    below: Callable[[str], Mapping[str, Entry]],
) -> dict[str, Entry]:
    """The files of a tree after (path, mode, id) rows: id None removes the path with all below it, a folder replaces
    what was there by the files `below` that tree. Raises GitError for a path or mode that no tree may hold."""
    out = dict(files)
    for path, mode, sha in changes:
        if odd_path(path) or (sha is not None and mode not in MODES):
            raise GitError(("write-tree",), f"Invalid path '{path}' or mode {mode}")
        if sha is None or mode == TREE:
            for gone in [p for p in out if p == path or p.startswith(f"{path}/")]:
                del out[gone]
    for path, mode, sha in changes:
        if mode is None or sha is None:
            continue
        new = {f"{path}/{name}": entry for name, entry in below(sha).items()} if mode == TREE else {path: (mode, sha)}
        for name in new:
            # A file takes the place of a folder, and a folder that of a file.
            above = {name[:at] for at, letter in enumerate(name) if letter == "/"}
            for gone in [p for p in out if p in above or p.startswith(f"{name}/")]:
                del out[gone]
        out |= new
    return out


def odd_path(path: str) -> bool:
    """Whether git would refuse this path, for this system or for another one that people clone to."""
    parts = path.split("/")
    return any(p in {"", ".", ".."} or p.rstrip(" .").lower() in {".git", "git~1"} or "\0" in p for p in parts)
