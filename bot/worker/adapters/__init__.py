"""The agents that can work on an item: one protocol, one explicit table, and scripts that a repository brings along.

A script is a file `tgs/adapters/<name>.sh` or an executable `tgs/adapters/<name>` of the repository, at the commit the
work starts from. It gets and gives what the `command` adapter's program does, and has no other rights. A name of the
table goes first, so a repository cannot put a script in an adapter's place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from bot.errors import UserError
from bot.worker.adapters.base import Adapter
from bot.worker.adapters.claude_code import ClaudeCodeAdapter
from bot.worker.adapters.command import CommandAdapter
from bot.worker.adapters.scripted import ScriptedAdapter

ADAPTERS: Final[Mapping[str, Adapter]] = MappingProxyType(
    {"claude-code": ClaudeCodeAdapter(), "command": CommandAdapter(), "scripted": ScriptedAdapter()}
)

SCRIPTS: Final = "tgs/adapters"
"""Where a repository keeps adapters of its own."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,49}")


def adapter_named(name: str, work: Path) -> Adapter:
    """The adapter of that name for the repository in `work`. Raises UserError naming those there are."""
    known = ADAPTERS.get(name)
    if known is not None:
        return known
    folder = work / SCRIPTS
    if _NAME.fullmatch(name):
        # The paths are relative: what runs is the file as the agent's user sees it in its working directory.
        if (folder / f"{name}.sh").is_file():
            return CommandAdapter(("sh", f"{SCRIPTS}/{name}.sh"))
        if os.access(folder / name, os.X_OK) and (folder / name).is_file():
            return CommandAdapter((f"./{SCRIPTS}/{name}",))
    raise UserError(
        f"There is no agent adapter {name!r}.",
        f"Use one of: {', '.join(sorted(ADAPTERS))}; or add {SCRIPTS}/{name}.sh to the repository.",
    )
