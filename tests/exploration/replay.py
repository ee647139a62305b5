"""Runs coroutines of the product one await at a time, and goes back to any point of them.

A coroutine cannot be copied or compared. But one that has no clock, chance or memory of its own is determined by what
it was called with and what its awaits have returned so far. So a point in it is the list of these answers, and it is
reached again by running the code anew with them. Points are numbered; equal lists are the same point.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any

_SET = re.compile(r"frozenset\(\{([^{}]*)\}\)")


def text(value: object) -> str:
    """The value as text, the same for equal values: sets are written in order."""
    return _SET.sub(lambda found: f"frozenset({{{', '.join(sorted(found[1].split(', ')))}}})", repr(value))


@dataclass(frozen=True, slots=True)
class Raised:
    """An answer that is an exception."""

    error: Exception

    def __repr__(self) -> str:
        return f"Raised({type(self.error).__name__}: {self.error})"


@dataclass(frozen=True, slots=True)
class Ask:
    """What the code awaits: `kind` and `what` say it as values; `run` is what a transaction would carry out."""

    kind: str
    what: tuple[object, ...] = ()
    run: Callable[[Any], Any] | None = None

    def __await__(self) -> Generator[Ask, Any, Any]:
        return (yield self)


@dataclass(frozen=True, slots=True)
class Ended:
    """The code has returned (or raised what nothing in it catches)."""

    value: object


class Points:
    """Every point that was reached in the programs. 0 is no point at all: nothing runs."""

    def __init__(
        self, programs: Callable[[Any], Coroutine[Ask, Any, object]], expected: tuple[type[Exception], ...]
    ) -> None:
        """`programs` starts the program of a name. `expected` is what a program may end with."""
        self._programs = programs
        self._expected = expected
        self._starts: dict[object, int] = {}
        self._after: dict[tuple[int, str], int] = {}
        self._points: list[tuple[object, int, object]] = [(None, 0, None)]
        self._next: dict[int, Ask | Ended] = {}
        self._texts: list[str] = [""]

    def start(self, name: object) -> int:
        """The first point of a program."""
        if name not in self._starts:
            self._starts[name] = len(self._points)
            self._points.append((name, -1, None))
            self._texts.append(text(name))
        return self._starts[name]

    def after(self, point: int, answer: object) -> int:
        """The point behind this one, when what it awaits is answered so."""
        said = text(answer)
        key = (point, said)
        if key not in self._after:
            self._after[key] = len(self._points)
            self._points.append((self._points[point][0], point, answer))
            self._texts.append(said)
        return self._after[key]

    def origin(self, point: int) -> tuple[int, str]:
        """The point before it (-1 for a start), and the answer between them as text."""
        return self._points[point][1], self._texts[point]

    def answered(self, point: int) -> object:
        """What the await before this point returned."""
        return self._points[point][2]

    def name(self, point: int) -> object:
        return self._points[point][0]

    def asks(self, point: int) -> Ask | Ended:
        """What the code awaits at this point."""
        if point not in self._next:
            self._next[point] = self._replay(point)
        return self._next[point]

    def _replay(self, point: int) -> Ask | Ended:
        answers: list[object] = []
        name, before, answer = self._points[point]
        while before != -1:
            answers.append(answer)
            _, before, answer = self._points[before]
        program = self._programs(name)
        try:
            found = program.send(None)
            for given in reversed(answers):
                found = program.throw(given.error) if isinstance(given, Raised) else program.send(given)
        except StopIteration as end:
            return Ended(end.value)
        except self._expected as error:
            return Ended(error)
        program.close()
        return found
