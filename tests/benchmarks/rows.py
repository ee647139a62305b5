"""What a part of the benchmark hands back: lines of a table, each with its goal where there is one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.databases import PostgresqlServer


@dataclass(frozen=True, slots=True)
class Goal:
    """`words` say what is wanted; the measured value has to be on the right side of the limit."""

    words: str
    met: bool

    def __str__(self) -> str:
        return f"{self.words}: {'met' if self.met else '**missed**'}"


def at_most(value: float, limit: float, words: str) -> Goal:
    return Goal(words, value <= limit)


def at_least(value: float, limit: float, words: str) -> Goal:
    return Goal(words, value >= limit)


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    value: str
    ratio: str = ""
    goal: Goal | None = None


Part = Callable[[PostgresqlServer], Awaitable[Sequence[Row]]]
"""Measures and tells. Databases that it needs come from the server."""
