"""Who approved an item may be lost with the ledger and the status comment: then nobody is told that it is approved."""

from __future__ import annotations

from pathlib import Path

from bot.domain.attempt import AttemptPhase
from bot.localhub.actions_model import Conclusion
from tests.scenarios.steps import HOUR, last_attempt, scene
from tests.scenarios.test_a_lost_ledger_is_rebuilt import lose
from tests.scenarios.test_repositories_and_plans import mirrored
from tests.world import AUTO_POLICY


async def test_a_plan_whose_approval_is_not_known_is_approved_anew_when_its_run_has_ended(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=AUTO_POLICY) as world:
        world.thought("a1b2c3", "one")
        await world.settle()
        number = mirrored(world, "a1b2c3-one")
        await world.run().start()
        [status] = [c for c in world.comments(number) if "<!-- tgs:status -->" in c.body]
        world.hub.comments.delete(status, world.as_(world.maria))
        await lose(world)
        assert (await last_attempt(world, number)).phase is AttemptPhase.SUSPECT
        world.run().end(Conclusion.FAILURE)
        await world.after(HOUR)
        assert len(world.runs()) == 2
        assert world.state(number) == "in-progress"
        assert "not approved yet" not in world.status(number)
