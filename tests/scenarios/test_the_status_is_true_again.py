"""GitHub may do what it was asked and not say so: then nobody knows what the status comment says, and it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.localhub.faults import Fault, FaultKind
from tests.scenarios.steps import MINUTE, queued, scene


@pytest.mark.parametrize(
    "kind", [FaultKind.ERROR_AFTER, FaultKind.DISCONNECT_AFTER], ids=["an error", "a closed connection"]
)
async def test_a_text_that_is_wanted_again_is_written_again(tmp_path: Path, kind: FaultKind) -> None:
    async with scene(tmp_path) as world:
        number = await queued(world)
        before = world.status(number)
        world.expected_errors = True
        lost = world.hub.faults.add(Fault(kind, "POST", r"/graphql"))
        world.label(number, "tgs:hold")
        await world.settle()
        assert lost.hits == 1
        assert "on hold" in world.status(number)

        world.unlabel(number, "tgs:hold")
        await world.after(10 * MINUTE)

        assert world.status(number) == before
