"""A job that repeats a call because its answer was lost is answered as if for the first time."""

from __future__ import annotations

from pathlib import Path

from tests.scenarios.steps import in_review
from tests.world import new_world


async def test_the_report_of_what_was_published_may_come_again_after_the_attempt_has_ended(tmp_path: Path) -> None:
    async with new_world(tmp_path) as world:
        number = await in_review(world)
        [attempt] = await world.attempts(number)
        assert not attempt.live
        assert attempt.report is not None
        run = world.run()
        run.attempt, run.fence = attempt.id, attempt.fence

        async def say(head: str, fence: int) -> int:
            body = {"fence": fence, "head_sha": head}
            bearer = run.oidc("publish", "publish")
            return (await run.call("POST", f"/attempts/{run.attempt}/published", bearer, body))[0]

        head = attempt.report.head_sha
        assert head is not None
        assert await say(head, run.fence) == 200
        assert await say("0" * 40, run.fence) == 409
        assert await say(head, run.fence + 1) == 409
        await world.settle()
        assert len(world.pulls()) == 1
        assert await world.attempts(number) == [attempt]
