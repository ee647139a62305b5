"""Parts that need a GitHub: a whole bot and a whole local GitHub in one process, over HTTP, on one virtual clock.

The local GitHub counts as the real one does, and refuses what goes beyond its limits. The bot keeps its real distances:
a second between writes, its flow of points, its quotas of content. Waiting costs virtual time only.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import tests.world
from bot.localhub.reqlog import LogEntry
from bot.resync import LIST_LAG
from tests.benchmarks.rows import Row, at_least, at_most
from tests.databases import PostgresqlServer
from tests.robustness import test_requests_do_not_grow_with_the_queue as growth
from tests.robustness import test_requests_stay_few as few
from tests.scenarios.steps import merge_by_hand
from tests.scenarios.test_a_rebuild_can_be_paid import ended
from tests.world import World, new_world

ITEMS = 60
"""Items of the measurement of hours."""
BEATS = 5
"""Minutes that an agent works, and tells of. Short, so that GitHub's limits bind and not the number of agents."""
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
LOST = (200, 600)
"""Items of the measurements of a rebuild: a fourth is queued and was shown its place, the rest is over."""
POLICY = (
    "max_parallel: 25\nmax_unreviewed_prs: 100\nassignee: none\n"
    "budgets:\n  per_item: 1000\n  per_day: 1000\n  dispatches_per_day: 1000\n"
)


@asynccontextmanager
async def place(policy: str = POLICY, **settings: object) -> AsyncIterator[World]:
    """A world whose end nobody checks. `settings` are the bot's."""
    tests.world.MAX_ROUNDS = 1_000_000
    with tempfile.TemporaryDirectory(prefix="tgs-benchmark-") as folder:
        async with new_world(Path(folder), policy=policy) as world:
            world.leave_due = world.expected_errors = True
            if settings:
                await world.stop_bot()
                await world.start_bot(**settings)
                await world.settle()
            yield world
            for number in world.repo.issues:
                world.bot_said(number)


def counted(entries: Sequence[LogEntry]) -> list[LogEntry]:
    """What GitHub counts of what the bot sent."""
    return [entry for entry in entries if entry.actor == "installation" and not entry.conditional_hit]


# --- requests of an item and of events


async def request_rows(_: PostgresqlServer) -> list[Row]:
    """What one item costs, and what events cost in queues of different length."""
    async with place("assignee: none\n") as world:
        entries, _free = await few.cost(world, by_command=False)
    sent = [entry for entry in entries if not entry.conditional_hit]
    writes = sum(1 for entry in sent if entry.is_write)
    content = sum(1 for entry in sent if entry.is_content)
    found = [
        Row(
            "GitHub requests of one item with ten progress updates (304s apart)",
            f"{len(sent)} requests, {writes} writes, {content} of them create content",
            f"{len(entries) - len(sent)} more answered 304",
            at_most(max(len(sent) - 30, writes - 24, content - 4), 0, "≤ 30, 24 and 4"),
        )
    ]
    with tempfile.TemporaryDirectory(prefix="tgs-benchmark-") as folder:
        short = await growth.cost(Path(folder) / "short", growth.SHORT)
        long = await growth.cost(Path(folder) / "long", LONG)
    for name, count in long.items():
        found.append(
            Row(
                f"Requests of the event “{name.replace('_', ' ')}” with {growth.SHORT} and {LONG} issues in the queue",
                f"{short[name]}, {count}",
                f"{count / short[name]:.2f} × for {LONG / growth.SHORT:.0f} × the issues",
                at_most(count - short[name], BOUNDS, f"no more than {BOUNDS} apart"),
            )
        )
    return found


LONG = 160
"""Issues of the longer queue."""
BOUNDS = 4
"""Between the lengths lie two places that are told as a bound, each passed by one issue with a start; and a list of a
hundred issues to the page has one page more."""


# --- rebuilding


async def rebuild_rows(_: PostgresqlServer) -> list[Row]:
    """What comes back from GitHub after the database was lost, and what that costs."""
    seconds, requests = {}, {}
    for count in LOST:
        async with place("max_parallel: 1\nmax_unreviewed_prs: 100\nassignee: none\n") as world:
            for number in range(count // 4):
                world.label(world.issue(f"Piece {number}"), "tgs:ready")
            await world.settle()
            await world.after(HOUR)
            await world.stop_bot()
            ended(world, count - count // 4)
            await world.hub.settle()
            for file in (world.tmp / "data").glob("tgs.db*"):
                file.unlink()
            world.clock.advance(HOUR)
            world.hub.log.clear()
            began = time.process_time()
            await world.start_bot(write_spacing_seconds=1)
            await world.after(LIST_LAG + MINUTE)
            seconds[count] = time.process_time() - began
            requests[count] = len(counted(world.hub.log.entries))
            rebuilt = await world.parts.store.read(lambda tx, key=world.repo_key: tx.items(key))  # type: ignore[misc]
            if len(rebuilt) != count:
                raise RuntimeError(f"{len(rebuilt)} of {count} items came back")
    small, large = LOST
    each = (requests[large] - requests[small]) / (large - small)
    return [
        Row(
            f"A lost ledger with {small} and {large} items comes back from GitHub and is at rest again",
            f"{requests[small]} and {requests[large]} requests, {seconds[small]:.1f} and {seconds[large]:.1f} s of "
            "processor (the local GitHub's included)",
            f"{each:.3f} requests an item; 10,000 take {each * 10_000:,.0f}, or {each * 10_000 / 5_000 * 60:.0f} "
            "minutes of GitHub's smallest limit",
            at_most(each, 0.05, "≤ 0.05 requests an item"),
        )
    ]


# --- items an hour


async def hour_rows(_: PostgresqlServer) -> list[Row]:
    """How many items an hour one installation's limits allow."""
    async with place(write_spacing_seconds=1, budget_per_day=100_000) as world:
        world.hub.log.clear()
        numbers = [world.issue(f"Piece {number}") for number in range(ITEMS)]
        for number in numbers:
            world.label(number, "tgs:ready")
        began = world.clock.now()
        done = await _work(world, numbers)
        entries = counted(world.hub.log.entries)
    refused = sum(1 for entry in entries if entry.status in {403, 429})
    # The first and the last quarter are the run-up and the end.
    first, last = done[len(done) // 4], done[-len(done) // 4]
    rate = (len(done) * 3 // 4 - len(done) // 4) / ((last - first) / HOUR)
    whole = len(done) / ((done[-1] - began) / HOUR)
    writes = sum(1 for entry in entries if entry.is_write) / len(done)
    content = sum(1 for entry in entries if entry.is_content) / len(done)
    return [
        Row(
            f"Items an hour within one installation's limits, 25 agents at once, {BEATS} minutes of work each",
            f"{rate:.0f} in full flow, {whole:.0f} from the first label to the last merge",
            f"{len(entries) / len(done):.1f} requests, {writes:.1f} writes, {content:.1f} with content an item; "
            f"GitHub refused {refused}",
            at_least(rate, 100, "≥ 100"),
        )
    ]


async def _work(world: World, numbers: Sequence[int]) -> list[datetime]:
    """Works all items to their ends; when each was over."""
    begun: dict[int, int] = {}
    published: dict[int, int] = {}
    over: dict[int, datetime] = {}
    while len(over) < len(numbers):
        await world.after(MINUTE)
        for index, _run in enumerate(sorted(world.runs(), key=lambda run: run.id)):
            run = world.run(index)
            step = begun.get(index)
            if step is None:
                await run.start()
                begun[index] = 0
            elif step < BEATS:
                await run.beat(step + 1, BEATS, f"step {step}")
                begun[index] = step + 1
            elif index not in published:
                world.ci(await run.publish({f"file-{index}.txt": "x\n"}))
                published[index] = int(run.run.inputs["issue"])
        for number in set(published.values()) - over.keys():
            if world.state(number) == "in-review":
                merge_by_hand(world, number)
        await world.settle()
        for number in numbers:
            if number not in over and world.state(number) == "done":
                over[number] = world.clock.now()
    return sorted(over.values())
