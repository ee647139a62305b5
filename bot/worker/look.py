"""What a second opinion is asked about, and what comes of asking: values between the worker and the adapters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bot.domain.bundle import ContextBundle
from bot.domain.opinion import Opinion
from bot.domain.usage import Usage


@dataclass(frozen=True, slots=True)
class CheckSaid:
    """An acceptance check that passed, and its last lines."""

    command: str
    said: str


@dataclass(frozen=True, slots=True)
class Look:
    """The change, for somebody who did not make it. Every text is data that others wrote.

    `diff` is the difference, critical paths first; `cut`: it goes on in `file`, which holds all of it. `touched` are
    the critical paths that changed. `command` is what policy names for agents that are programs. `mark` fences texts in
    a prompt and is drawn for this look.
    """

    diff: str
    cut: bool
    file: Path
    touched: tuple[str, ...]
    plan: str
    checks: tuple[CheckSaid, ...]
    command: tuple[str, ...]
    mark: str


@dataclass(frozen=True, slots=True)
class Looked:
    """The opinion, or why there is none, and what asking for it used."""

    opinion: Opinion
    usage: Usage | None = None


def look_json(context: ContextBundle, look: Look) -> bytes:
    """The look as a program gets it on its standard input."""
    form = {
        "context": context.model_dump(mode="json"),
        "diff": look.diff,
        "diff_file": str(look.file),
        "cut": look.cut,
        "touched": list(look.touched),
        "plan": look.plan,
        "checks": [{"command": check.command, "said": check.said} for check in look.checks],
    }
    return json.dumps(form).encode("utf-8")
