"""From the pull request to the merge: checks, conflicts, stops; and webhooks that are lost, doubled or reordered."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.localhub.hooks import HookFault, HookFaultKind
from tests.scenarios.steps import (
    HOUR,
    MINUTE,
    in_review,
    item_of,
    merge_by_hand,
    pull_of,
    ready,
    reviewed,
    say,
    scene,
    settled_for,
    timeline,
    why,
)
from tests.world import World


async def test_red_checks_are_told_once_and_green_ones_make_the_draft_ready(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await in_review(world)
        pull = pull_of(world, number)
        world.ci(pull.head_sha, "pending")
        await world.settle()
        assert pull.issue.draft
        assert world.bot_said(number) == []
        world.ci(pull.head_sha, "failure")
        await world.settle()
        [told] = world.bot_said(number)
        assert "tests" in told
        assert "Checks failed" in await why(world, number)
        [refused] = await say(world, number, "/tgs merge")
        assert "failed" in refused
        assert pull.issue.merged_at is None
        await settled_for(world, HOUR, number)
        assert pull.issue.draft
        # Somebody mends it on the branch.
        world.ci(world.push({"fix.txt": "x\n"}, branch=pull.head_ref), "success")
        await world.settle()
        [wanted] = world.bot_said(number)
        assert "ready for review" in wanted
        assert not pull.issue.draft
        await say(world, number, "/tgs merge")
        await world.after(MINUTE)
        assert world.state(number) == "done"


async def test_without_any_checks_the_draft_is_made_ready_after_ten_minutes(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await in_review(world)
        await world.after(9 * MINUTE)
        assert pull_of(world, number).issue.draft
        [early] = await say(world, number, "/tgs merge")
        assert "not finished" in early
        await world.after(2 * MINUTE)
        assert not pull_of(world, number).issue.draft
        assert len(world.bot_said(number)) == 1
        await say(world, number, "/tgs merge")
        await world.after(MINUTE)
        assert world.state(number) == "done"


async def test_a_conflict_is_named_and_nothing_is_merged(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await ready(world)
        await world.run().work({"README.md": "# One\n"})
        world.ci(pull_of(world, number).head_sha)
        world.push({"README.md": "# Another\n"})
        await world.after(3 * MINUTE)
        world.bot_said(number)
        answers = await say(world, number, "/tgs merge")
        await world.after(MINUTE)
        answers += world.bot_said(number)
        assert any("conflict" in answer for answer in answers), answers
        assert pull_of(world, number).issue.merged_at is None
        assert "conflict" in await why(world, number)
        assert world.state(number) == "in-review"


async def test_stopping_in_review_leaves_the_pull_request_open_and_a_later_merge_counts(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await reviewed(world)
        [answer] = await say(world, number, "/tgs stop not now")
        assert "stays open" in answer
        assert world.state(number) == "cancelled"
        assert pull_of(world, number).issue.state == "open"
        merge_by_hand(world, number)
        await world.after(2 * MINUTE)
        assert world.state(number) == "done"
        assert world.record(number).state == "closed"


async def test_a_head_that_moved_after_the_command_is_not_merged_unseen(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await reviewed(world)
        pull = pull_of(world, number)
        sha = world.push({"late.txt": "x\n"}, branch=pull.head_ref)
        world.ci(sha, "pending")
        [answer] = await say(world, number, "/tgs merge")
        assert "not finished" in answer
        assert pull.issue.merged_at is None


# --- webhooks ---------------------------------------------------------------------------------------


async def whole_loop(world: World, *, sweeps: bool) -> int:
    """From the label to the merge; with `sweeps` the bot finds out by looking, as it does every ten minutes."""

    async def look() -> None:
        await world.settle()
        for _ in range(3 if sweeps else 0):
            await world.after(10 * MINUTE)
            await world.sweep()
            await world.settle()

    number = world.issue()
    world.label(number, "tgs:ready")
    await look()
    assert world.state(number) == "in-progress"
    sha = await world.run().work()
    await look()
    assert world.state(number) == "in-review"
    world.ci(sha)
    await look()
    assert not pull_of(world, number).issue.draft
    assert len(world.bot_said(number)) == 1
    merge_by_hand(world, number)
    await look()
    await world.after(MINUTE)
    assert world.state(number) == "done"
    return number


@pytest.mark.parametrize("kind", [HookFaultKind.DUPLICATE, HookFaultKind.DELAY], ids=["doubled", "reordered"])
async def test_doubled_and_reordered_webhooks_change_nothing(tmp_path: Path, kind: HookFaultKind) -> None:
    async with scene(tmp_path) as world:
        world.hub.hooks.faults.append(HookFault(kind, count=None))
        number = await whole_loop(world, sweeps=False)
        assert len(world.runs()) == 1
        assert len(world.pulls()) == 1
        assert timeline(world, number).count("commented") == 2


async def test_if_every_webhook_is_lost_the_sweep_finds_everything(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        world.hub.hooks.faults.append(HookFault(HookFaultKind.DROP, count=None))
        number = await whole_loop(world, sweeps=True)
        assert len(world.runs()) == 1
        assert len(world.pulls()) == 1
        # A withdrawn wish and a closed issue are seen as well.
        other = world.issue("Other")
        world.label(other, "tgs:hold")
        world.label(other, "tgs:ready")
        await world.sweep()
        await world.settle()
        assert world.state(other) == "ready"
        world.close(other)
        await world.after(10 * MINUTE)
        await world.sweep()
        await world.settle()
        assert world.state(other) == "cancelled"
        await settled_for(world, HOUR, number)


async def test_a_doubled_command_is_carried_out_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await ready(world, labels=["tgs:hold"])
        world.hub.hooks.faults.append(HookFault(HookFaultKind.DUPLICATE, event="issue_comment", count=None))
        answers = await say(world, number, "/tgs priority 5")
        assert len(answers) == 1
        assert (await item_of(world, number)).priority == 5


async def test_a_command_whose_webhook_was_lost_is_carried_out_after_the_next_sweep(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await ready(world, labels=["tgs:hold"])
        world.hub.hooks.faults.append(HookFault(HookFaultKind.DROP, event="issue_comment"))
        assert await say(world, number, "/tgs priority 5") == []
        await world.after(10 * MINUTE)
        await world.sweep()
        await world.settle()
        [answer] = world.bot_said(number)
        assert "5" in answer
        await world.sweep()
        await world.settle()
        assert world.bot_said(number) == []
