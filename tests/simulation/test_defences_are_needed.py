"""Each defence, taken away, is missed: the simulation finds the invariant violated that the defence keeps.

A simulation that finds nothing has shown nothing until this holds.
"""

from __future__ import annotations

import pytest

from bot.simulate.history import play, setup_of
from tests.simulation.controls import CONTROLS

MOST = 2_000
"""Histories within which the violation must be found; most are found in the first ones."""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", CONTROLS)
def test_it_is_found_when(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    control = CONTROLS[name]
    control.take_away(monkeypatch)
    for seed in range(MOST):
        told = play(control.shape(setup_of(seed)), control.prepare, until=control.broken)
        if any(violation.invariant in control.broken for violation in told.violations):
            return
    raise AssertionError(f"{MOST:,} histories did not show that {name}")
