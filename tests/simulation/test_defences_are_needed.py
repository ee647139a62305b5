"""Each defence, taken away, is missed: the simulation finds the invariant violated that the defence keeps.

A simulation that finds nothing has shown nothing until this holds.
"""

from __future__ import annotations

import pytest

from bot.simulate.history import play
from bot.simulate.setup import setup_of
from tests.effort import by_effort, more
from tests.simulation.controls import CONTROLS

QUICK = (
    "calls under an old fence are taken",
    "runs of a day are not counted",
    "a delivery under another id is another command",
    "GitHub is answered before the commit",
)
CHOSEN = by_effort(QUICK, tuple(CONTROLS), tuple(CONTROLS))
"""A sample takes those that are found within a second."""

MOST = 2_000
"""Histories within which the violation must be found; most are found in the first ones."""


@more
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CHOSEN)
def test_it_is_found_when(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    control = CONTROLS[name]
    control.take_away(monkeypatch)
    for seed in range(MOST):
        told = play(control.shape(setup_of(seed)), control.prepare, until=control.broken)
        if any(violation.invariant in control.broken for violation in told.violations):
            return
    raise AssertionError(f"{MOST:,} histories did not show that {name}")
