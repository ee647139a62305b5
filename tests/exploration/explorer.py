"""Visits every state that a small system can reach, breadth first, and says what is wrong with the first bad one.

Promise: `explore` returns only after every reachable state was visited once, or with the shortest trace to a state
that breaks a rule. States that are the same but for the names of equal parts may be counted as one (`same`): the rules
must not tell such parts apart. The whole graph is kept, so that "from everywhere one can get there" can be decided.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Flaw:
    """A rule that does not hold: which, and the shortest way there."""

    what: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        steps = "\n".join(f"  {number}. {step}" for number, step in enumerate(self.trace, start=1))
        return f"{self.what}\n{steps}"


@dataclass(frozen=True, slots=True)
class Explored:
    """What was visited. `flaw` None: every rule holds in every state."""

    states: int
    steps: int
    depth: int
    flaw: Flaw | None = None


class Explorer(Generic[S]):
    """`moves` names every step that is possible in a state; `wrong` says which rule a state breaks; `goals` are names
    of things that must stay reachable, and whether a state has them."""

    def __init__(
        self,
        moves: Callable[[S], Iterable[tuple[str, S]]],
        wrong: Callable[[S], str | None],
        goals: Callable[[S], dict[str, bool]] | None = None,
        same: Callable[[S], Hashable] = lambda state: state,
    ) -> None:
        self._moves = moves
        self._wrong = wrong
        self._goals = goals
        self._same = same

    def explore(self, start: S) -> Explored:
        """Everything reachable from `start`."""
        number: dict[Hashable, int] = {self._same(start): 0}
        came: list[tuple[int, str]] = [(-1, "")]
        depths = array("i", [0])
        froms, tos = array("i"), array("i")
        states: list[S] = [start]
        wrong = self._wrong(start)
        if wrong is not None:
            return Explored(1, 0, 0, Flaw(wrong, ()))
        todo = deque([0])
        while todo:
            here = todo.popleft()
            for label, state in self._moves(states[here]):
                key = self._same(state)
                there = number.get(key)
                if there is None:
                    there = number[key] = len(came)
                    came.append((here, label))
                    depths.append(depths[here] + 1)
                    states.append(state)
                    wrong = self._wrong(state)
                    if wrong is not None:
                        return Explored(len(came), len(froms), depths[there], Flaw(wrong, _trace(came, there)))
                    todo.append(there)
                froms.append(here)
                tos.append(there)
        flaw = self._unreachable(states, froms, tos, came)
        return Explored(len(came), len(froms), max(depths), flaw)

    def _unreachable(
        self, states: list[S], froms: array[int], tos: array[int], came: list[tuple[int, str]]
    ) -> Flaw | None:
        """The first state from which a goal cannot be reached any more."""
        if self._goals is None:
            return None
        has = [self._goals(state) for state in states]
        back: list[list[int]] = [[] for _ in states]
        for here, there in zip(froms, tos, strict=True):
            if here != there:
                back[there].append(here)
        for goal in has[0]:
            good = bytearray(len(states))
            todo = [index for index, found in enumerate(has) if found[goal]]
            for index in todo:
                good[index] = 1
            while todo:
                for before in back[todo.pop()]:
                    if not good[before]:
                        good[before] = 1
                        todo.append(before)
            lost = good.find(0)
            if lost >= 0:
                return Flaw(f"{goal} cannot be reached any more", _trace(came, lost))
        return None


def _trace(came: list[tuple[int, str]], index: int) -> tuple[str, ...]:
    steps: list[str] = []
    while index > 0:
        index, label = came[index]
        steps.append(label)
    return tuple(reversed(steps))
