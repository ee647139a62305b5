"""What one item costs on GitHub, by the local GitHub's own log: requests that count, writes, created content.

The item is not the first of its repository: labels and token are known. Its run tells of its progress ten times. What
a command costs (reading it, its author's role and everything it decides about anew, the merge, the reactions) is
counted apart, and so are answers 304, which GitHub does not count.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bot.localhub.reqlog import LogEntry
from tests.scenarios.steps import merge_by_hand, reviewed
from tests.world import World, new_world

MAX_REQUESTS = 30
MAX_WRITES = 24
MAX_CONTENT = 4
MAX_COMMAND = 10
BEATS = 10
MINUTE = timedelta(minutes=1)


def without_the_command(entries: list[LogEntry], since: int) -> list[LogEntry]:
    """All but the requests from the command on to the merge, and the reactions after it."""
    merged = next(n for n, entry in enumerate(entries) if entry.method == "PUT" and entry.path.endswith("/merge"))
    rest = entries[:since] + entries[merged + 1 :]
    return [entry for entry in rest if not entry.path.endswith("/reactions")]


async def first_item(world: World) -> None:
    """An item from its label to its end."""
    number = await reviewed(world, "First")
    merge_by_hand(world, number)
    await world.after(5 * MINUTE)


async def cost(world: World, *, by_command: bool) -> tuple[list[LogEntry], int]:
    """The requests of the second item, and how many of them the command cost (answers 304 not counted)."""
    await first_item(world)
    world.hub.log.clear()
    number = world.issue("Second")
    world.label(number, "tgs:ready")
    await world.settle()
    run = world.run()
    await run.start()
    for step in range(BEATS):
        world.clock.advance(MINUTE)
        assert (await run.beat(step + 1, BEATS, f"step {step}"))[0] == 200
        await world.settle()
    sha = await run.publish({"second.txt": "second\n"})
    world.ci(sha)
    await world.settle()
    world.bot_said(number)
    since = len(world.hub.log.entries)
    if by_command:
        world.comment(number, "/tgs merge")
    else:
        merge_by_hand(world, number)
    await world.settle()
    await world.after(5 * MINUTE)
    assert world.state(number) == "done"
    entries = list(world.hub.log.entries)
    if not by_command:
        return entries, 0
    rest = without_the_command(entries, since)
    return rest, sum(1 for e in entries if not e.conditional_hit) - sum(1 for e in rest if not e.conditional_hit)


@pytest.mark.parametrize("by_command", [False, True], ids=["merged by a person", "merged by a command"])
async def test_an_item_costs_few_requests(tmp_path: Path, by_command: bool) -> None:
    async with new_world(tmp_path) as world:
        entries, command = await cost(world, by_command=by_command)
    counted = [e for e in entries if not e.conditional_hit]
    writes = [e for e in counted if e.is_write]
    content = [e for e in counted if e.is_content]
    seen = (len(counted), len(writes), len(content))
    free = sum(1 for e in entries if e.conditional_hit)
    told = "\n".join(
        f"{'W' if e.is_write else ' '}{'C' if e.is_content else ' '} {e.method} {e.path} {' '.join(e.operations)}"
        for e in counted
    )
    words = f"{seen[0]} requests ({command} more for the command, {free} free), {seen[1]} writes, {seen[2]} content:"
    words = f"{words}\n{told}"
    assert seen[0] <= MAX_REQUESTS, words
    assert seen[1] <= MAX_WRITES, words
    assert seen[2] <= MAX_CONTENT, words
    # The counting counts: a run with ten beats cannot cost nothing.
    assert min(seen) > 0, words
    assert command <= MAX_COMMAND, words
