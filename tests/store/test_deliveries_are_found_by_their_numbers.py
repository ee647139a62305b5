"""Deliveries are numbered as they come, so since when they came is found without an index of times."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert

from bot.store.engine import SqlStore
from bot.store.prune import prune
from bot.store.since import first_since
from bot.store.tables import deliveries
from tests.store.support import START, ask

DAY = timedelta(days=1)


async def came(store: SqlStore, times: dict[int, timedelta]) -> None:
    """Deliveries with these numbers were received so long after the start, and routed."""
    rows = [
        {"id": number, "guid": f"guid-{number}", "event": "push", "received_at": START + after, "routed_at": START}
        for number, after in times.items()
    ]
    await store.write(lambda ledger: ledger.connection.execute(insert(deliveries), rows))


def left(path: Path) -> list[int]:
    return [number for (number,) in ask(path, "SELECT id FROM deliveries ORDER BY id")]


async def since(store: SqlStore, after: timedelta) -> int:
    return await store.read(lambda ledger: first_since(ledger.connection, START + after))


async def test_before_the_first_delivery_there_is_none(store: SqlStore) -> None:
    assert await since(store, DAY) == 0


@pytest.mark.parametrize("seed", range(10))
async def test_it_finds_what_a_look_at_each_of_them_finds(store: SqlStore, seed: int) -> None:
    chance = random.Random(seed)
    numbers = sorted(chance.sample(range(1, 200), chance.randint(1, 40)))
    hours = sorted(chance.randint(0, 100) for _ in numbers)
    times = {number: timedelta(hours=hour) for number, hour in zip(numbers, hours, strict=True)}
    await came(store, times)
    for hour in range(-1, 102, 7):
        found = await since(store, timedelta(hours=hour))
        young = [number for number, after in times.items() if after >= timedelta(hours=hour)]
        assert [number for number in numbers if number >= found] == young


async def test_a_clock_that_was_wrong_for_a_while_takes_nothing_young_with_it(store: SqlStore, path: Path) -> None:
    ten, wrong = timedelta(days=10), timedelta(days=-300)
    await came(store, {number: timedelta(0) for number in range(1, 6)})
    await came(store, {number: wrong if number == 8 else ten for number in range(6, 12)})
    await prune(store, START + ten)
    assert [number for number in left(path) if number != 8] == [6, 7, 9, 10, 11]
