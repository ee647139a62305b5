"""What an item is built from, judged before anything runs: the plan's folder, front matter and acceptance commands.

Promise: pure. A plan that cannot be worked on stops the start with the reason and its remedy, whoever approved it; it
costs no run and uses up no attempt. Only plans are judged: what the text of an issue gets wrong leaves the defaults.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bot.domain.front_matter import CODE_INVALID, FrontMatterResult, from_plan
from bot.domain.model import Item, Problem
from bot.domain.thoughts import CODE_MISSING, CODE_TOO_LARGE, CODE_UNSAFE

CODE_EMPTY: Final = "plan_empty"

OF_THE_FOLDER: Final = frozenset({CODE_MISSING, CODE_TOO_LARGE, CODE_UNSAFE})
"""What is wrong with a folder although its plan may be the approved one."""
UNUSABLE: Final = OF_THE_FOLDER | {CODE_INVALID, CODE_EMPTY}
"""Findings with which nothing is started: without a readable plan its wishes, checks and bounds are not known."""


def read_plan(text: str, name: str) -> FrontMatterResult:
    """The plan's front matter; a plan that says nothing beside it is an error. `name` is the file's path."""
    result = from_plan(text, name)
    if result.matter is None or _says_something(text, result):
        return result
    problem = Problem(CODE_EMPTY, f"`{name}` is empty.", "Write down what is to be built.")
    return replace(result, matter=None, errors=(*result.errors, problem))


def _says_something(text: str, result: FrontMatterResult) -> bool:
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    if result.found:
        end = next((at for at, line in enumerate(lines[1:], 1) if line.rstrip() in ("---", "...")), 0)
        lines = lines[end + 1 :]
    return any(map(str.isalnum, "".join(lines)))


def unusable(item: Item) -> Problem | None:
    """Why nothing may be started for the item as its plan stands; None when nothing speaks against it."""
    if item.thought is None or item.passed is not None:
        return None
    return next((finding for finding in item.findings if finding.code in UNUSABLE), None)
