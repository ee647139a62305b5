"""The life of an item equals the matrix that people reviewed, cell by cell.

`transition_matrix.txt` names for every state (and for "nothing yet") and every event either the state after it with
the row of the picture, or the refusal by its name. A change of the rules is a change of that file, seen in review.
"""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from bot.domain.lifecycle import TABLE, ItemEvent, Move, Refusal, move
from bot.domain.model import ItemState

MATRIX = Path(__file__).with_name("transition_matrix.txt")
NOTHING = "nothing yet"
LINE = re.compile(r"  (?P<event>[a-z_]+) +(?:→ (?P<to>[a-z-]+) (?P<row>T\d+[a-z]?)|✗ (?P<refusal>[a-z ]+))")

Cell = tuple[ItemState | None, ItemEvent]
CELLS: list[Cell] = list(product([None, *ItemState], ItemEvent))


def read() -> dict[Cell, Move | Refusal]:
    """The file as data. Fails on a line that is neither a state, a cell, a comment nor empty."""
    cells: dict[Cell, Move | Refusal] = {}
    state: ItemState | None = None
    for number, line in enumerate(MATRIX.read_text("utf-8").splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        if not line.startswith(" "):
            state = None if line == NOTHING else ItemState(line)
            continue
        found = LINE.fullmatch(line)
        assert found is not None, f"line {number} of {MATRIX.name} is not a cell: {line!r}"
        cell = (state, ItemEvent(found["event"]))
        assert cell not in cells, f"line {number} of {MATRIX.name} says a cell again: {line!r}"
        cells[cell] = Refusal(found["refusal"]) if found["refusal"] else Move(ItemState(found["to"]), found["row"])
    return cells


REVIEWED = read()


def test_the_matrix_has_every_cell() -> None:
    missing = [f"{state.value if state else NOTHING} × {event.value}" for state, event in CELLS]
    present = {f"{state.value if state else NOTHING} × {event.value}" for state, event in REVIEWED}
    assert [name for name in missing if name not in present] == []


@pytest.mark.parametrize(
    ("state", "event"),
    CELLS,
    ids=[f"{event.value} when it is {state.value if state else NOTHING}" for state, event in CELLS],
)
def test_the_rules_answer_as_the_matrix_says(state: ItemState | None, event: ItemEvent) -> None:
    assert move(state, event) == REVIEWED[state, event]


def test_every_state_is_entered_and_every_state_but_those_that_end_is_left() -> None:
    assert {found.to for found in TABLE.values()} == set(ItemState)
    left = {state for (state, _), found in TABLE.items() if found.to is not state}
    assert left >= set(ItemState) - {ItemState.DONE}


def test_every_refusal_is_given_somewhere() -> None:
    assert {found for found in REVIEWED.values() if isinstance(found, Refusal)} == set(Refusal)
