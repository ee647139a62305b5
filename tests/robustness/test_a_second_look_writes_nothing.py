"""Looking again at a settled item changes nothing on GitHub: not with what is remembered, not with an empty memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from bot.localhub.actions_model import Conclusion
from bot.protocols.ledger import Ledger
from tests.scenarios.steps import (
    HOUR,
    MINUTE,
    dispatched,
    in_review,
    merge_by_hand,
    paused,
    queued,
    ready,
    reviewed,
    running,
    say,
)
from tests.world import World, new_world

Build = Callable[[World], Awaitable[int]]


async def proposed(world: World) -> int:
    world.thought("5d2a7e", "greet")
    await world.settle()
    [number] = [n for n in world.repo.issues if world.state(n) is not None]
    return number


async def waits_for_a_slot(world: World) -> int:
    await running(world, "First")
    return await ready(world, "Second")


async def held(world: World) -> int:
    number = world.issue()
    world.label(number, "tgs:hold")
    world.label(number, "tgs:ready")
    await world.settle()
    return number


async def held_by_command(world: World) -> int:
    number = await queued(world)
    await say(world, number, "/tgs hold until lunch")
    return number


async def told_progress(world: World) -> int:
    number = await running(world)
    await world.run().beat(1, 3, "reading")
    await world.settle()
    return number


async def red(world: World) -> int:
    number = await in_review(world)
    world.ci(world.pulls()[0].head_sha, "failure")
    await world.settle()
    world.bot_said(number)
    return number


async def paused_in_review(world: World) -> int:
    number = await reviewed(world)
    await paused(world)
    # A pull request learns of the pause when it is looked at next.
    await world.sweep()
    return number


async def done(world: World) -> int:
    number = await reviewed(world)
    merge_by_hand(world, number)
    await world.settle()
    return number


async def done_by_command(world: World) -> int:
    number = await reviewed(world)
    await say(world, number, "/tgs merge")
    return number


async def failed(world: World) -> int:
    number = await running(world)
    await world.run().fail("security.bundle", "the bundle holds a link")
    await world.after(HOUR)
    world.bot_said(number)
    return number


async def cancelled(world: World) -> int:
    number = await queued(world)
    world.unlabel(number, "tgs:ready")
    await world.settle()
    world.bot_said(number)
    return number


async def cancelled_while_it_ran(world: World) -> int:
    number = await running(world)
    await say(world, number, "/tgs stop")
    world.run().end(Conclusion.CANCELLED)
    await world.after(MINUTE)
    world.bot_said(number)
    return number


async def pull_closed(world: World) -> int:
    number = await reviewed(world)
    world.hub.pulls.change_state(world.pulls()[0], "closed", world.as_(world.maria))
    await world.settle()
    world.bot_said(number)
    return number


CASES: dict[str, tuple[str, Build]] = {
    "a plan that waits for its approval": ("proposed", proposed),
    "an item in a paused queue": ("ready", queued),
    "an item that waits for a slot": ("ready", waits_for_a_slot),
    "an item held by label": ("ready", held),
    "an item held by command": ("ready", held_by_command),
    "an item whose run is queued": ("in-progress", dispatched),
    "an item whose agent works": ("in-progress", running),
    "an item whose agent told of its progress": ("in-progress", told_progress),
    "a draft pull request": ("in-review", in_review),
    "a pull request that waits for people": ("in-review", reviewed),
    "a pull request with red checks": ("in-review", red),
    "a pull request in a paused repository": ("in-review", paused_in_review),
    "an item merged by a person": ("done", done),
    "an item merged by command": ("done", done_by_command),
    "an item that failed": ("failed", failed),
    "an item called off in the queue": ("cancelled", cancelled),
    "an item stopped at work": ("cancelled", cancelled_while_it_ran),
    "an item whose pull request was closed": ("cancelled", pull_closed),
}


def touch_everything(world: World) -> Callable[[Ledger], None]:
    def touch(tx: Ledger) -> None:
        tx.touch(world.repo_key)
        for item in tx.items(world.repo_key):
            tx.touch(item.key)

    return touch


def written(world: World) -> list[str]:
    return [f"{e.method} {e.path} {' '.join(e.operations)}" for e in world.hub.log.writes()]


@pytest.mark.parametrize(("state", "build"), CASES.values(), ids=CASES)
async def test_the_second_look_writes_nothing(tmp_path: Path, state: str, build: Build) -> None:
    policy = "mirror:\n  auto_ready: false\n" if build is proposed else None
    async with new_world(tmp_path, policy=policy) as world:
        number = await build(world)
        assert world.state(number) == state
        # Edits that only bring progress may still be due.
        await world.after(3 * MINUTE)
        assert world.state(number) == state
        world.hub.log.clear()
        await world.parts.store.write(touch_everything(world))
        await world.settle()
        assert world.hub.log.entries, "nothing was looked at"
        assert written(world) == []
        await world.restart_bot()
        await world.parts.store.write(touch_everything(world))
        await world.settle()
        assert written(world) == [], "after a restart"
        for issue in world.repo.issues:
            world.bot_said(issue)
