"""What an event costs on GitHub does not depend on how many issues wait: counted in a short and in a longer queue.

Each world has its queue filled and looked through once. Then the same things happen in both, and the local GitHub's own
log is counted for some minutes, answers 304 apart, which are one for each hundred issues that a list shows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from tests.scenarios.steps import scene
from tests.world import World

SHORT, LONG = 8, 18
"""Both are longer than the part of a queue that is told its places, and no bound of a place lies between them."""

POLICY = "max_parallel: 1\nmax_unreviewed_prs: 100\nassignee: none\n"
WHILE = timedelta(minutes=6)


async def one_more(world: World) -> None:
    world.label(world.issue("One more"), "tgs:ready")


async def one_is_published(world: World) -> None:
    run = world.run()
    await run.start()
    world.ci(await run.publish({"x.txt": "x\n"}))


async def paused_and_resumed(world: World) -> None:
    number = max(world.repo.issues)
    for words in ("/tgs pause tests", "/tgs resume"):
        world.comment(number, words)
        await world.after(WHILE)
        assert world.bot_said(number)


async def swept(world: World) -> None:
    await world.sweep()


async def started_anew(world: World) -> None:
    await world.restart_bot()


EVENTS: tuple[Callable[[World], Awaitable[None]], ...] = (
    one_more,
    one_is_published,
    paused_and_resumed,
    swept,
    started_anew,
)


async def cost(tmp: Path, waiting: int) -> dict[str, int]:
    """The requests of each event with so many issues in the queue."""
    found = {}
    async with scene(tmp, policy=POLICY) as world:
        for number in range(waiting + 1):
            world.label(world.issue(f"Piece {number}"), "tgs:ready")
        await world.settle()
        await world.after(WHILE)
        # What was labelled a moment ago is looked at twice; that is over after two looks.
        await world.sweep()
        await world.after(WHILE)
        for event in EVENTS:
            world.hub.log.clear()
            await event(world)
            await world.settle()
            await world.after(WHILE)
            found[event.__name__] = sum(1 for entry in world.hub.log.entries if not entry.conditional_hit)
        for number in list(world.repo.issues):
            world.bot_said(number)
    return found


async def test_an_event_costs_as_many_requests_in_a_long_queue_as_in_a_short_one(tmp_path: Path) -> None:
    short, long = await cost(tmp_path / "short", SHORT), await cost(tmp_path / "long", LONG)
    assert long == short
    assert min(short.values()) > 0
