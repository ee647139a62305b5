"""Handing values to later steps and jobs of the same run.

Promise: a value is one line without control characters, so that it cannot forge another output; outside Actions the
outputs go nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bot.errors import TgsError

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*\Z")


class Outputs:
    """Appends to the file that `GITHUB_OUTPUT` names."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        path = environment.get("GITHUB_OUTPUT", "")
        self._path = Path(path) if path else None

    def write(self, name: str, value: str) -> None:
        """Writes one output. Raises TgsError for a name or value that is not one plain line."""
        if _NAME.match(name) is None or not value.isprintable():
            raise TgsError(f"the output {name!r} is not one plain line")
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{name}={value}\n")
