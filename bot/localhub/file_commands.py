"""The files a step writes to talk back: GITHUB_OUTPUT, GITHUB_ENV, GITHUB_PATH.

Promise: `name=value` lines and `name<<END … END` blocks, as documented; anything else is an error
that fails the step, as in GitHub's runner.
"""

from __future__ import annotations

from pathlib import Path


class FileCommandError(Exception):
    """A line of a command file that is neither `name=value` nor the start of a block."""


def read_pairs(file: Path) -> dict[str, str]:
    """Names and values. Raises FileCommandError."""
    pairs: dict[str, str] = {}
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n") if file.exists() else []
    at = 0
    while at < len(lines):
        line = lines[at].rstrip("\r")
        at += 1
        if not line:
            continue
        equals, block = line.find("="), line.find("<<")
        if block > 0 and (equals < 0 or block < equals):
            name, end = line[:block], line[block + 2 :]
            value: list[str] = []
            while at < len(lines) and lines[at].rstrip("\r") != end:
                value.append(lines[at])
                at += 1
            if at == len(lines) or not end:
                raise FileCommandError(f"Unable to process file command: Matching delimiter not found '{end}'")
            at += 1
            pairs[name] = "\n".join(value)
        elif equals > 0:
            pairs[line[:equals]] = line[equals + 1 :]
        else:
            raise FileCommandError(f"Unable to process file command: Invalid format '{line}'")
    return pairs


def read_list(file: Path) -> list[str]:
    """The non-empty lines."""
    if not file.exists():
        return []
    text = file.read_text(encoding="utf-8", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]
