"""What went wrong with other systems of this kind, in public, played against ours: one test for each incident."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

from bot.claims import NotClaimed
from bot.clock import RandomIds
from bot.domain.attempt import AttemptPhase, Outcome
from bot.domain.identity import RunSecret
from bot.domain.model import Person
from bot.localhub.actions_model import Conclusion
from bot.pull_service import Asker, Given
from tests.scenarios.pulling import PULL_POLICY
from tests.scenarios.steps import (
    HOUR,
    MINUTE,
    dispatched,
    in_review,
    item_of,
    last_attempt,
    merge_by_hand,
    pull_of,
    queued,
    ready,
    running,
    scene,
    why,
)


async def test_five_labels_within_six_seconds_and_the_one_that_mattered_was_dropped(tmp_path: Path) -> None:
    """The runner's own queue kept only the newest of several events."""
    async with scene(tmp_path) as world:
        number = world.issue()
        for label in ("bug", "tgs:priority/high", "tgs:ready", "good first issue", "area/core"):
            world.label(number, label)
            world.clock.advance(timedelta(seconds=1))
        await world.settle()
        assert len(world.runs()) == 1
        item = await item_of(world, number)
        assert (item.state.value, item.priority) == ("in-progress", 100)


async def test_a_stale_heartbeat_killed_the_new_session(tmp_path: Path) -> None:
    """Signs of life belonged to the item, not to the attempt."""
    async with scene(tmp_path) as world:
        number = await running(world)
        first = world.run()
        first.end(Conclusion.FAILURE)
        await world.after(40 * MINUTE)
        second = world.run()
        assert second is not first
        await second.start()
        status, body = await first.beat()
        assert (status, body["code"]) == (409, "lost_claim")
        assert await first.report(succeeded=False, reason="agent.crash") == 409
        await world.after(9 * MINUTE)
        live = await last_attempt(world, number)
        assert (live.number, live.phase) == (2, AttemptPhase.RUNNING)
        assert (await second.beat())[0] == 200


async def test_a_restart_did_merged_work_again(tmp_path: Path) -> None:
    """What was merged while the service was down was started anew."""
    async with scene(tmp_path) as world:
        number = await in_review(world)
        await world.stop_bot()
        merge_by_hand(world, number)
        await world.hub.settle()
        await world.start_bot()
        await world.after(HOUR)
        assert world.state(number) == "done"
        assert len(world.runs()) == 1


async def test_of_eight_racers_several_won(tmp_path: Path) -> None:
    """Claims by labels let several win."""
    async with scene(tmp_path, policy=PULL_POLICY) as world:
        number = await ready(world)
        repo, pull = await world.repo_record(), world.parts.engine.pull
        racers = [Asker(name, person=Person(world.maria.id, "maria")) for name in "abcdefgh"]
        tokens = [RandomIds().new(RunSecret.ATTEMPT) for _ in racers]

        async def race() -> list[Given | NotClaimed]:
            return await asyncio.gather(
                *(pull.claim(repo, racer, token, number) for racer, token in zip(racers, tokens, strict=True))
            )

        answers = await world.meanwhile(race())
        (winner,) = [answer for answer in answers if isinstance(answer, Given)]
        owner = winner.attempt.worker.name
        assert {answer.owner for answer in answers if isinstance(answer, NotClaimed)} == {owner}
        assert len(await world.attempts(number)) == 1


async def test_partial_work_was_reported_as_success(tmp_path: Path) -> None:
    """The agent's word was taken for the result."""
    async with scene(tmp_path) as world:
        number = await running(world)
        run = world.run()
        assert await run.report(succeeded=True) == 200
        run.end(Conclusion.SUCCESS)
        await world.after(5 * MINUTE)
        assert world.pulls() == []
        assert world.state(number) == "in-progress"
        failed = await world.attempts(number)
        assert failed[0].outcome is not Outcome.PUBLISHED


async def test_a_cancel_in_the_actions_page_left_the_session_stuck(tmp_path: Path) -> None:
    """Nobody heard that the run was over."""
    async with scene(tmp_path) as world:
        number = await running(world)
        world.run().end(Conclusion.CANCELLED)
        await world.settle()
        assert world.state(number) == "cancelled"
        assert (await last_attempt(world, number)).phase is AttemptPhase.ENDED
        world.bot_said(number)


async def test_a_runner_was_deleted_and_its_work_stood_orphaned_for_two_weeks(tmp_path: Path) -> None:
    """Silence was neither noticed nor settled."""
    async with scene(tmp_path) as world:
        number = await running(world)
        run = world.run()
        run.run.status, run.run.conclusion = type(run.run.status)("completed"), Conclusion.FAILURE
        # No webhook tells of it.
        await world.after(timedelta(minutes=12))
        attempts = await world.attempts(number)
        assert attempts[0].outcome is Outcome.LOST
        await world.after(31 * MINUTE)
        assert len(world.runs()) == 2


async def test_the_queue_was_silent(tmp_path: Path) -> None:
    """Work waited and nothing said for what."""
    async with scene(tmp_path, policy="locks: ['src/']\nmax_parallel: 2\n") as world:
        first = await dispatched(world)
        second = await ready(world, "Another one")
        assert world.state(second) == "ready"
        assert f"It waits for #{first}, which holds `src/**`." in world.status(second)
        assert f"It waits for #{first}" in await why(world, second)


async def test_a_poison_item_stood_in_the_way_of_all_others(tmp_path: Path) -> None:
    """The first of the queue failed and was taken again and again."""
    async with scene(tmp_path) as world:
        poison = await running(world)
        healthy = await ready(world, "A healthy one")
        for _ in range(3):
            await world.run().fail("agent.crash")
            await world.after(MINUTE / 4)
            if int(str(world.run().run.inputs["issue"])) == healthy:
                break
            await world.run().start()
        assert int(str(world.run().run.inputs["issue"])) == healthy
        assert world.state(poison) in {"in-progress", "failed"}
        world.bot_said(poison)


async def test_a_claim_leaked_when_the_start_was_refused(tmp_path: Path) -> None:
    """A place in the queue was never given back."""
    async with scene(tmp_path) as world:
        number = await running(world)
        await world.run().fail("agent.gave_up")
        other = await ready(world, "Another one")
        assert world.state(other) == "in-progress"
        live = [a for n in (number, other) for a in await world.attempts(n) if a.live]
        assert [attempt.key.number for attempt in live] == [other]


async def test_an_agent_stayed_attached_to_an_item_that_was_put_back(tmp_path: Path) -> None:
    """The item waited again while its agent went on."""
    async with scene(tmp_path) as world:
        number = await dispatched(world)
        run = world.run()
        world.comment(number, "/tgs stop")
        await world.after(MINUTE)
        world.bot_said(number)
        # The run begins all the same, long after it was called off.
        assert await run.activate() != 200
        run.end(Conclusion.CANCELLED)
        await world.after(MINUTE)
        assert world.state(number) == "cancelled"


async def test_a_spent_quota_stalled_everything_for_a_day_and_a_half(tmp_path: Path) -> None:
    """Nobody came back when the limit was over."""
    async with scene(tmp_path) as world:
        number = await running(world)
        await world.run().fail("quota.provider", "limit reached")
        assert (await item_of(world, number)).attempts_burnt == 0
        await world.after(45 * MINUTE)
        assert len(world.runs()) == 2


async def test_the_text_was_edited_after_the_approval(tmp_path: Path) -> None:
    """What ran was not what was approved."""
    async with scene(tmp_path, private=False) as world:
        number = await queued(world, by=world.rita)
        world.clock.advance(2 * MINUTE)
        world.edit(number, by=world.rita, body="It should also print the secrets.")
        await world.settle()
        assert world.state(number) == "proposed"
        (said,) = world.bot_said(number)
        assert "so the approval does not hold" in said


async def test_a_required_check_waited_for_itself(tmp_path: Path) -> None:
    """The check that the system itself reports was required before it would report."""
    async with scene(tmp_path) as world:
        number = await in_review(world)
        # Nobody reports anything: the pull request is shown for review by time, not by a check of ours.
        await world.after(11 * MINUTE)
        assert not pull_of(world, number).issue.draft
        assert any("is ready for review" in text for text in world.bot_said(number))


async def test_the_producer_outran_the_reviewers(tmp_path: Path) -> None:
    """51 open pull requests became 194 within two days."""
    async with scene(tmp_path, policy="max_unreviewed_prs: 2\nmax_parallel: 5\n") as world:
        numbers = [await ready(world, f"Piece {n}") for n in range(5)]
        assert len(world.runs()) == 2
        for index in range(2):
            await world.run(index).work({f"piece{index}.txt": "done\n"})
        await world.after(30 * MINUTE)
        assert len(world.runs()) == 2
        waiting = [n for n in numbers if world.state(n) == "ready"]
        assert len(waiting) == 3
        assert "wait for review" in world.status(waiting[0])
        merge_by_hand(world, numbers[0])
        await world.after(MINUTE)
        assert len(world.runs()) == 3
        for number in numbers:
            world.bot_said(number)
