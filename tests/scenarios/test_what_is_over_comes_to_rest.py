"""People end things while others are in the middle of them: nothing is done twice, and nothing stays open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bot.domain.attempt import AttemptPhase
from bot.domain.model import ItemState
from bot.localhub.actions_model import Conclusion
from bot.localhub.faults import FaultKind
from tests.scenarios.steps import (
    MINUTE,
    fault,
    in_review,
    item_of,
    last_attempt,
    merge_by_hand,
    paused,
    pull_of,
    running,
    say,
    scene,
)
from tests.scenarios.test_claims_between_deployments import POLICY, refs, session, taken_by_maria
from tests.world import World


def close_pull(world: World, pull: Any) -> None:
    world.hub.pulls.change_state(pull, "closed", world.as_(world.maria))


def delete(world: World, number: int) -> None:
    world.hub.issues.delete(world.record(number), world.as_(world.owner))


async def merged_beside_a_run(world: World) -> int:
    """Called off, taken up again, and while the second run works somebody merges what the first one had published."""
    number = await in_review(world)
    await say(world, number, "/tgs stop")
    await say(world, number, "/tgs retry")
    await world.run().start()
    assert (await last_attempt(world, number)).number == 2
    merge_by_hand(world, number)
    await world.settle()
    assert world.state(number) == "done"
    assert (await last_attempt(world, number)).phase is AttemptPhase.CANCELLING
    return number


async def test_what_was_opened_and_closed_before_the_answer_came_is_not_opened_again(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        world.expected_errors = True
        number = await running(world)
        unread = fault(world, FaultKind.ERROR_BEFORE, "GET", r"/pulls\?", status=502, count=None)
        lost = fault(world, FaultKind.ERROR_AFTER, "POST", r"/pulls\?", status=502)
        await world.run().publish()
        await world.settle()
        assert lost.hits
        [pull] = world.pulls()
        close_pull(world, pull)
        world.hub.faults.planned.remove(unread)
        await world.after(10 * MINUTE)
        assert world.pulls() == [pull]
        assert world.state(number) == "cancelled"
        world.bot_said(number)


async def test_a_status_whose_answer_was_lost_is_brought_up_to_date(tmp_path: Path) -> None:
    """It is found later by its mark, and says what was so when it was written."""
    async with scene(tmp_path) as world:
        world.expected_errors = True
        await paused(world)
        number = world.issue()
        unread = fault(world, FaultKind.ERROR_BEFORE, "GET", rf"/{number}/comments", status=502, count=None)
        lost = fault(world, FaultKind.ERROR_AFTER, "POST", rf"/{number}/comments", status=502)
        world.label(number, "tgs:ready")
        await world.settle()
        assert lost.hits
        assert world.status(number).startswith("**Ready")
        world.close(number)
        world.hub.faults.planned.remove(unread)
        await world.after(10 * MINUTE)
        assert world.state(number) == "cancelled"
        assert world.status(number).startswith("**Called off")


async def test_who_asks_for_more_after_a_merge_is_heard_when_the_run_has_stopped(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await merged_beside_a_run(world)
        world.reopen(number)
        world.label(number, "tgs:ready")
        await world.after(2 * MINUTE)
        assert (await item_of(world, number)).state is ItemState.DONE
        assert world.labels(number) == {"tgs:done", "tgs:ready"}
        world.run().end(Conclusion.CANCELLED)
        await world.after(2 * MINUTE)
        assert world.state(number) == "in-progress"
        assert len(world.runs()) == 3
        world.bot_said(number)


async def test_a_run_of_a_merged_item_ends_when_its_issue_is_deleted(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await merged_beside_a_run(world)
        world.bot_said(number)
        delete(world, number)
        await world.settle()
        world.run().end(Conclusion.CANCELLED)
        await world.after(5 * MINUTE)
        assert not (await last_attempt(world, number)).live


async def test_somebody_elses_claim_of_a_deleted_issue_ends_with_its_ref(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        maria = await taken_by_maria(world)
        delete(world, maria.number)
        await world.after(3 * MINUTE)
        assert (await last_attempt(world, maria.number)).live
        await maria.releases()
        await world.after(3 * MINUTE)
        assert (await item_of(world, maria.number)).state is ItemState.CANCELLED
        assert await refs(world) == []


async def test_a_claim_elsewhere_that_failed_frees_its_paths_beside_an_open_pull_request(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY + "locks: [src/]\n") as world:
        number = await in_review(world)
        await say(world, number, "/tgs stop")
        await paused(world)
        await say(world, number, "/tgs retry")
        maria = session(world, number)
        assert await maria.claims(fence=2)
        await maria.takes_the_label()
        await world.after(2 * MINUTE)
        assert (await last_attempt(world, number)).external
        await maria.releases("tgs:failed")
        await world.after(3 * MINUTE)
        assert world.state(number) == "failed"
        assert pull_of(world, number).issue.state == "open"
        world.bot_said(number)
