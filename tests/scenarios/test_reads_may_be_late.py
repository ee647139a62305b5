"""GitHub may show a branch as it was before the last push: what seems to be gone then is not called off."""

from __future__ import annotations

from pathlib import Path

from tests.scenarios.steps import MINUTE, item_of, scene
from tests.scenarios.test_repositories_and_plans import PROPOSE, mirrored
from tests.world import World


def head_of_main(world: World) -> str:
    head = world.hub.git.bare(world.repo).ref("refs/heads/main")
    assert head is not None
    return head


def main_is_at(world: World, sha: str) -> None:
    world.hub.git.bare(world.repo).run("update-ref", "refs/heads/main", sha)


async def proposed_and_then_unread(world: World, before: str) -> int:
    """The issue of a plan that the older commit, which the next look finds, does not have."""
    number = mirrored(world, "b1b2c3-two")
    main_is_at(world, before)
    await world.parts.store.write(lambda tx: tx.mark(world.repo_key))
    await world.settle()
    assert world.state(number) == "proposed"
    return number


async def test_a_plan_that_an_older_commit_does_not_have_is_not_called_off(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=PROPOSE) as world:
        world.thought("a1b2c3", "one")
        before = head_of_main(world)
        world.thought("b1b2c3", "two")
        after = head_of_main(world)
        await world.settle()
        number = await proposed_and_then_unread(world, before)
        main_is_at(world, after)
        await world.after(5 * MINUTE)
        assert world.state(number) == "proposed"
        thought = (await item_of(world, number)).thought
        assert thought is not None
        assert thought.commit_sha == after


async def test_a_branch_that_was_really_moved_back_is_believed_after_a_while(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=PROPOSE) as world:
        before = head_of_main(world)
        world.thought("b1b2c3", "two")
        await world.settle()
        number = await proposed_and_then_unread(world, before)
        await world.after(5 * MINUTE)
        assert world.state(number) == "cancelled"
