"""A handful of histories hold, and a seed is one history: here, again, and in another process.

`make simulate SEEDS=1000` plays many more.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from bot.cli.exits import Exit
from bot.cli.main import app
from bot.simulate import coverage
from bot.simulate.faults import Fault
from bot.simulate.history import play
from bot.simulate.loop import Stuck, VirtualLoop
from bot.simulate.setup import Setup, setup_of
from bot.simulate.sharing import notice_silence
from bot.simulate.things import MARIA
from bot.store import memory
from tests.simulation.stage import staged

TELL = """
from bot.simulate.history import play
from bot.simulate.setup import setup_of
print(play(setup_of({seed})).digest)
"""


@pytest.mark.parametrize("seed", [3, 7, 8, 23])
def test_what_must_hold_does(seed: int) -> None:
    told = play(setup_of(seed))
    assert not told.violations
    assert told.steps > 50


def test_a_history_is_the_same_when_every_statement_takes_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the simulation leaves out around a statement changes nothing that the product reads or writes."""
    quick = play(setup_of(7))
    monkeypatch.setattr(memory, "quick", lambda connection, driver, begin: connection)
    memory.memory_ledger.cache_clear()
    try:
        assert play(setup_of(7)).digest == quick.digest
    finally:
        memory.memory_ledger.cache_clear()


def test_a_process_that_stands_still_loses_its_runs_to_the_other_and_writes_nothing_when_it_wakes_up() -> None:
    setup = Setup(0, scale=0.0, policy="attempts: 1\n", replicas=2)
    with staged(setup=setup) as stage:
        stage.history.site.result = lambda: None  # type: ignore[method-assign]
        stage.history.site.questions = lambda: ()  # type: ignore[method-assign]
        first = stage.bot
        second = stage.does(stage.history.start_bot)
        stage.passes(minutes=1)
        number = stage.does(lambda: stage.hub.open_issue("Thing", "It should.", MARIA, ["tgs:ready"])).number
        while not stage.history.disk.rows("SELECT 1 FROM attempts WHERE number = ?", number):
            stage.passes(minutes=0.0005)
        # In the middle of the start; whoever it is, the other one goes on with it.
        owner = next(bot for bot in (first, second) if stage.history.disk.board.runs(bot.process))
        owner.process.pause()
        stage.does(lambda: notice_silence(stage.history.disk.board, owner.process))
        stage.passes(minutes=2)
        assert len(stage.hub.runs) == 1
        owner.process.resume()
        stage.passes(minutes=30)
        assert len(stage.hub.runs) == 1
        assert stage.state(number) in {"in-review", "failed", "done"}


def test_a_large_set_that_has_not_shown_everything_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    one = ["simulate", "--seeds", "1", "--jobs", "1"]
    small = CliRunner().invoke(app, one)
    assert (small.exit_code, "not seen enough: " in small.output) == (Exit.OK, True)
    monkeypatch.setattr(coverage, "FAIR", 1)
    assert CliRunner().invoke(app, one).exit_code == Exit.INTERNAL


def test_without_trouble_there_is_none() -> None:
    told = play(setup_of(9, scale=0.0))
    assert not told.violations
    assert set(told.faults) <= {Fault.WEBHOOK_REORDERED}


def test_a_seed_is_one_history_whatever_else_differs() -> None:
    here = play(setup_of(21)).digest
    other = subprocess.run(
        [sys.executable, "-c", TELL.format(seed=21)],
        env=os.environ | {"PYTHONHASHSEED": "77"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == here == play(setup_of(21)).digest
    assert play(setup_of(23)).digest != here


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
