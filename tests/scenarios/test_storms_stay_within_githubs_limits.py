"""Many items at once, a GitHub that counts, a GitHub that is away: nothing is lost and nothing is overrun.

Two hundred issues become ready at once; a sample takes fewer of the same.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import tests.world
from bot.github.pace import BURST, POINTS_PER_SECOND
from bot.localhub.faults import Fault, FaultKind
from bot.localhub.limits import Quota
from bot.localhub.reqlog import LogEntry
from tests.effort import by_effort, more
from tests.scenarios.steps import scene
from tests.world import World

ISSUES = by_effort(12, 40, 200)
AWAY = min(ISSUES, 60)
"""During an outage: here each try takes its time after the other, and more would never be at rest."""
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
pytestmark = more

POLICY = "max_parallel: 3\nassignee: none\n"


@pytest.fixture
def spaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes a second apart, as in a real deployment."""
    settings = World.settings

    def slowly(world: World, **changes: Any) -> Any:
        return settings(world, write_spacing_seconds=1, **changes)

    monkeypatch.setattr(World, "settings", slowly)
    # Each item takes some looks before all of them are at rest.
    monkeypatch.setattr(tests.world, "MAX_ROUNDS", 100 * ISSUES)


def storm(world: World, count: int) -> list[int]:
    numbers = [world.issue(f"Piece {n}") for n in range(count)]
    for number in numbers:
        world.label(number, "tgs:ready")
    world.hub.log.clear()
    return numbers


def most_within(times: list[datetime], span: timedelta) -> int:
    """The largest number of these times within any such span."""
    return max((sum(at <= other < at + span for other in times[n:]) for n, at in enumerate(times)), default=0)


def ours(world: World) -> list[LogEntry]:
    return [entry for entry in world.hub.log.entries if entry.actor == "installation"]


async def served(world: World, numbers: list[int]) -> None:
    """Nothing was lost: each issue has its one status comment, and either works or says why it waits."""
    working = [number for number in numbers if world.state(number) == "in-progress"]
    assert len(working) == 3
    for number in numbers:
        assert world.status(number)
        item = await world.item(number)
        assert item is not None
        assert number in working or (item.state.value == "ready" and item.waiting), number


async def test_a_storm_of_ready_issues_stays_within_the_limits(tmp_path: Path, spaced: None) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        numbers = storm(world, ISSUES)
        await world.settle()
        await world.after(ISSUES * 5 * SECOND)
        await served(world, numbers)
        entries = ours(world)
        # GitHub never had to refuse anything.
        assert {entry.status for entry in entries} <= {200, 201, 204, 304, 404}
        writes = [entry.time for entry in entries if entry.is_write]
        assert all(after - before >= SECOND for before, after in pairwise(writes))
        contents = [entry.time for entry in entries if entry.is_content]
        assert len(contents) >= len(numbers)
        assert most_within(contents, MINUTE) <= 80
        assert most_within(contents, HOUR) <= 500


async def test_a_github_that_allows_less_loses_nothing_either(tmp_path: Path, spaced: None) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        assert world.installation is not None
        world.hub.limits.override(world.installation.id, Quota(content_per_minute=5, points_per_minute=150))
        numbers = storm(world, 12)
        await world.settle()
        await world.after(20 * MINUTE)
        await served(world, numbers)
        refused = [entry.time for entry in ours(world) if entry.status in {403, 429}]
        # It learns: the refusals are few, and not in a row.
        assert 0 < len(refused) <= 8
        assert most_within(refused, 10 * SECOND) == 1


async def test_an_outage_of_half_an_hour_drains_without_a_stampede(tmp_path: Path, spaced: None) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        world.expected_errors = True
        away = world.hub.faults.add(Fault(FaultKind.ERROR_BEFORE, status=503, count=None))
        numbers = storm(world, AWAY)
        await world.after(30 * MINUTE)
        tries = len(world.hub.log.entries)
        # While GitHub is away it is asked less and less.
        assert tries < AWAY * 60
        away.count = 0
        world.hub.log.clear()
        back = world.clock.now()
        await world.after(15 * MINUTE)
        await served(world, numbers)
        seconds = Counter(int((entry.time - back).total_seconds()) for entry in ours(world))
        assert max(seconds.values()) <= BURST + POINTS_PER_SECOND
        first_minute = sum(count for second, count in seconds.items() if second < 60)
        assert first_minute < 900
        assert {entry.status for entry in ours(world)} <= {200, 201, 204, 304, 404}
