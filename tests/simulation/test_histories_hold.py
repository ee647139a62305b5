"""A handful of histories hold, and a seed is one history: here, again, and in another process.

`make simulate SEEDS=1000` plays many more.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from bot.simulate.faults import Fault
from bot.simulate.history import play
from bot.simulate.loop import Stuck, VirtualLoop
from bot.simulate.setup import setup_of

TELL = """
from bot.simulate.history import play
from bot.simulate.setup import setup_of
print(play(setup_of({seed})).digest)
"""


@pytest.mark.parametrize("seed", [1, 3, 8])
def test_what_must_hold_does(seed: int) -> None:
    told = play(setup_of(seed))
    assert not told.violations
    assert told.steps > 50


def test_without_trouble_there_is_none() -> None:
    told = play(setup_of(9, scale=0.0))
    assert not told.violations
    assert set(told.faults) <= {Fault.WEBHOOK_REORDERED}


def test_a_seed_is_one_history_whatever_else_differs() -> None:
    here = play(setup_of(13)).digest
    other = subprocess.run(
        [sys.executable, "-c", TELL.format(seed=13)],
        env=os.environ | {"PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == here == play(setup_of(13)).digest
    assert play(setup_of(14)).digest != here


def test_time_jumps_to_the_next_timer_and_nothing_waits_for_ever() -> None:
    loop = VirtualLoop(lambda _task, _context: None)

    async def a_year_later() -> float:
        await asyncio.sleep(365 * 86_400)
        return asyncio.get_running_loop().time()

    try:
        assert loop.run_until_complete(a_year_later()) == 365 * 86_400
        waiting = loop.create_future()
        with pytest.raises(Stuck):
            loop.run_until_complete(waiting)
        with pytest.raises(RuntimeError, match="no threads"):
            loop.run_in_executor(None, print)
    finally:
        loop.close()
