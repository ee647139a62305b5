"""The first loop: label, claim, run, pull request, CI, merge, done."""

from __future__ import annotations

from pathlib import Path

from tests.world import new_world


async def test_a_labelled_issue_is_claimed_and_dispatched(tmp_path: Path) -> None:
    async with new_world(tmp_path) as world:
        number = world.issue()
        world.label(number, "tgs:ready")
        await world.settle()
        assert world.state(number) == "in-progress"
        print(world.status(number))
        assert len(world.runs()) == 1
