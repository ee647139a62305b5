"""A week in the life of a bot, on the virtual clock: what it holds must not grow with what has passed.

Work comes and goes every hour, the sweep and the housekeeping run as in a deployment, but what is old goes after two
days instead of weeks and months, so that most of the week lies behind the time for which things are kept. From then on
an item that comes costs what its slim row costs, because the details of another one go.

The local GitHub lives in the same process and remembers everything, so that the process as a whole says nothing: what
is weighed is what can be reached from the bot's own parts and caches. `TGS_WEEK_DAYS` makes the week shorter or longer.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import sqlite3
import sys
import types
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path

from bot.app import keep_house
from bot.store.prune import Keep
from tests.benchmarks.hub import HOUR, MINUTE, place
from tests.benchmarks.rows import Goal, Row, at_most
from tests.databases import PostgresqlServer
from tests.scenarios.steps import merge_by_hand
from tests.world import World

FULL = 3
"""At the end of this day, and of each after it, the details of two days are kept, and caches that fill are full."""
DAYS = max(int(os.environ.get("TGS_WEEK_DAYS", "7")), FULL + 1)
EVERY = timedelta(hours=1)
"""A new item every hour."""
WITHIN = 0.10
"""What it holds on the last day differs from that of the first full day by no more than this share."""
KEPT = timedelta(days=2)
"""For so long everything is kept that is kept for a time."""
KEEP = Keep(**{field.name: KEPT for field in fields(Keep)})
SLIM = 4.0
"""KiB that may be left of an item for ever: its row, its last attempt, what it cost, and their indexes."""
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


async def rows(_: PostgresqlServer) -> list[Row]:
    """A week."""
    days: list[Counter[str]] = []
    async with place(POLICY, budget_per_day=100_000) as world:
        ledger = world.tmp / "data" / "tgs.db"
        sizes: list[Size] = []
        for _day in range(DAYS):
            for _hour in range(24):
                await live(world, HOUR)
                await keep_house(world.parts, KEEP)
            days.append(weigh(world))
            sizes.append(_size(ledger))
            # What the local GitHub noted is of no use here, and would fill the machine.
            world.hub.log.clear()
        items = sizes[-1].items
    after = sizes[FULL - 1 :]
    slim = (after[-1].used - after[0].used) / max(after[-1].items - after[0].items, 1)
    whole = (sizes[1].used - sizes[0].used) / (sizes[1].items - sizes[0].items)
    weights = [day.total() / 2**20 for day in days]
    ratio = weights[-1] / weights[FULL - 1]
    return [
        Row(
            f"Memory of a bot at the ends of {DAYS} days with {items} items, sweeps and housekeeping",
            ", ".join(f"{weight:.2f}" for weight in weights) + " MiB",
            f"day {DAYS}: {ratio:.2f} of day {FULL}",
            Goal("within ± 10 %", abs(ratio - 1) <= WITHIN),
        ),
        Row(
            f"Its ledger's file at the ends of the days; from day {FULL} on as much goes as comes",
            ", ".join(f"{size.file / 1024:.2f}" for size in sizes) + " MiB",
            f"day {DAYS}: {after[-1].file / after[0].file:.2f} of day {FULL}",
            Goal("at most 1.2, for the slim rows that stay", after[-1].file <= 1.2 * after[0].file),
        ),
        Row(
            f"What an item adds to the ledger: until day 2, and after day {FULL}",
            f"{whole:.1f} KiB, {slim:.1f} KiB",
            f"{slim / whole:.2f}",
            at_most(slim, SLIM, f"at most {SLIM:.0f} KiB for ever"),
        ),
    ]


@dataclass(frozen=True, slots=True)
class Size:
    """KiB of the ledger's file without its log, and those of them that hold something; items in it."""

    file: float
    used: float
    items: int


def _size(ledger: Path) -> Size:
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:

        def number(statement: str) -> int:
            return int(connection.execute(statement).fetchone()[0])

        pages, free = number("PRAGMA page_count"), number("PRAGMA freelist_count")
        page = number("PRAGMA page_size") / 1024
        return Size(pages * page, (pages - free) * page, number("SELECT count(*) FROM items"))
