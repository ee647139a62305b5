"""A week in the life of a bot, on the virtual clock: what it holds in memory must not grow with what has passed.

Work comes and goes every hour, the sweep and the housekeeping run as in a deployment. The local GitHub lives in the
same process and remembers everything, so that the process as a whole says nothing: what is weighed is what can be
reached from the bot's own parts and caches.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import sys
import types
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from bot.store.prune import prune
from tests.benchmarks.hub import HOUR, MINUTE, place
from tests.benchmarks.rows import Goal, Row
from tests.databases import PostgresqlServer
from tests.scenarios.steps import merge_by_hand
from tests.world import World

DAYS = 7
EARLY = 2
"""By the end of this day caches that fill by themselves have been filled by as many items as they are going to hold."""
EVERY = timedelta(hours=1)
"""A new item every hour."""
WITHIN = 0.10
"""What it holds on the last day differs from that of the early day by no more than this share."""
POLICY = "max_parallel: 3\nmax_unreviewed_prs: 20\nassignee: none\nbudgets:\n  per_item: 1000\n  per_day: 1000\n"

NEVER = (
    type,
    types.ModuleType,
    types.CodeType,
    types.FrameType,
    types.CoroutineType,
    types.GeneratorType,
    types.AsyncGeneratorType,
    types.BuiltinFunctionType,
    asyncio.AbstractEventLoop,
    asyncio.Future,
)
"""What leads out of the bot: into the interpreter, and by what waits into whoever waits."""

FOREIGN = ("tests.", "bot.localhub", "_pytest")


def held(*roots: object) -> Counter[str]:
    """Bytes that can be reached from these, by the type that holds them."""
    seen: set[int] = set()
    todo: list[object] = list(roots)
    found: Counter[str] = Counter()
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, NEVER) or type(one).__module__.startswith(FOREIGN):
            continue
        seen.add(id(one))
        if isinstance(one, types.FunctionType):
            todo += [cell.cell_contents for cell in one.__closure__ or () if _filled(cell)]
            continue
        found[f"{type(one).__module__}.{type(one).__qualname__}"] += sys.getsizeof(one)
        todo += gc.get_referents(one)
    return found


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True


def caches() -> Iterable[object]:
    """The functions of the product that remember their answers."""
    wrapper = type(functools.lru_cache(lambda: None))
    for one in gc.get_objects():
        if isinstance(one, wrapper) and (getattr(one, "__module__", "") or "").startswith(("bot.", "handlers")):
            yield one


def weigh(world: World) -> Counter[str]:
    gc.collect()
    return held(world.parts, *caches())


async def live(world: World, span: timedelta, every: timedelta = EVERY) -> None:
    """Time passes with work in it: an item comes, is worked on, asked about, merged; each fifth fails and is closed."""
    end = world.clock.now() + span
    while world.clock.now() < end:
        began = world.clock.now()
        number = world.issue(f"Piece {len(world.repo.issues)}")
        world.label(number, "tgs:ready")
        await world.polls(2 * MINUTE)
        run = world.run()
        await run.start()
        for step in range(3):
            await run.beat(step + 1, 3, f"step {step}")
            await world.polls(2 * MINUTE)
        world.comment(number, "/tgs why")
        await world.polls(MINUTE)
        if number % 5 == 0:
            await run.fail("no_changes")
            world.close(number)
        else:
            world.ci(await run.publish({f"file-{number}.txt": "x\n"}))
            await world.polls(12 * MINUTE)
            merge_by_hand(world, number)
        await world.polls(max(every - (world.clock.now() - began), MINUTE))
        world.bot_said(number)


async def keep_house(world: World) -> None:
    """What the deployment does once a day."""
    await prune(world.parts.store, world.clock.now())
    await world.parts.bundles.prune()


async def rows(_: PostgresqlServer) -> list[Row]:
    """A week."""
    days: list[Counter[str]] = []
    async with place(POLICY, budget_per_day=100_000) as world:
        ledger = world.tmp / "data" / "tgs.db"
        sizes = []
        for _day in range(DAYS):
            await live(world, 24 * HOUR)
            await keep_house(world)
            days.append(weigh(world))
            sizes.append(_size(ledger))
            # What the local GitHub noted is of no use here, and would fill the machine.
            world.hub.log.clear()
        items = len(world.repo.issues)
    weights = [day.total() / 2**20 for day in days]
    ratio = weights[-1] / weights[EARLY - 1]
    return [
        Row(
            f"Memory of a bot at the ends of {DAYS} days with {items} items, sweeps and housekeeping",
            ", ".join(f"{weight:.2f}" for weight in weights) + " MiB",
            f"day {DAYS}: {ratio:.2f} of day {EARLY}",
            Goal("within ± 10 %", abs(ratio - 1) <= WITHIN),
        ),
        Row(
            "Its ledger on disk",
            ", ".join(f"{size:.1f}" for size in sizes) + " MiB",
            f"{(sizes[-1] - sizes[0]) / (DAYS - 1) / (items / DAYS) * 1024:.0f} KiB an item",
        ),
    ]


def _size(ledger: Path) -> float:
    with contextlib.suppress(FileNotFoundError):
        return sum(path.stat().st_size for path in ledger.parent.glob("tgs.db*")) / 2**20
    return 0.0
