"""Two processes on one queue, of which one is killed or stands still in the middle of its runs.

Nothing is lost, what the dead one ran runs again soon, and one that wakes up too late changes nothing: neither in the
ledger nor, where an act must happen once, outside of it. A sample is a part of the 2,000 events.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bot.domain.model import IssueKey
from bot.store.ledger import SqlLedger
from tests.databases import PostgresqlServer
from tests.effort import by_effort, more
from tests.queue.drivers import DEAD_AFTER, FastClock, Opened, between_processes
from tests.store.support import REPO

ROOT = Path(__file__).parents[2]
EVENTS = by_effort(200, 500, 2_000)
ROUNDS = by_effort(1, 2, 4)
KEYS = 50
IN_THE_MIDDLE = 5
PATIENCE = 60.0
LOOK = 0.05

pytestmark = more


@dataclass
class Town:
    """The database that the processes share, seen from outside."""

    url: str
    clock: FastClock
    acts: Path
    opened: Opened
    watch: psycopg.Connection[tuple[object, ...]]

    @contextmanager
    def replica(self, name: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.queue.replica", self.url, str(self.clock.began), name, str(self.acts)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    async def mark(self, count: int, chance: random.Random) -> None:
        def unit(tx: SqlLedger) -> None:
            tx.mark(IssueKey(REPO.installation, REPO.repo, chance.randrange(KEYS)))

        for _ in range(count // 10):
            await asyncio.gather(*(self.opened.store.write(unit) for _ in range(10)))

    def lines(self) -> list[tuple[int, str, str, int]]:
        """(key, what, who, epoch) as committed, in the order of the commits."""
        found = self.watch.execute("SELECT number, kind, actor, cause FROM events ORDER BY id").fetchall()
        return [(int(str(key)), str(kind), str(who), int(str(epoch))) for key, kind, who, epoch in found]

    def running(self, name: str) -> set[int]:
        """Keys that the process began and did not end."""
        newest = {key: (kind, who) for key, kind, who, _ in self.lines()}
        return {key for key, found in newest.items() if found == ("began", name)}

    async def until_running(self, name: str, chance: random.Random) -> None:
        """There is so much to do that the process is in the middle of several runs."""
        deadline = time.monotonic() + PATIENCE
        while len(self.running(name)) < IN_THE_MIDDLE:
            assert time.monotonic() < deadline, f"{name} does nothing"
            await self.mark(10, chance)

    async def until(self, what: str, is_so: Callable[[], object]) -> None:
        """Looks until it is so."""
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            assert time.monotonic() < deadline, what
            await asyncio.sleep(LOOK)

    async def settled(self) -> None:
        def over() -> bool:
            row = self.watch.execute(
                "SELECT count(*) FROM keys WHERE wanted_rev <> seen_rev OR next_due_at IS NOT NULL"
            ).fetchone()
            return row == (0,)

        await self.until("every key was seen", over)

    def check(self) -> None:
        """No write of an overtaken run, no act twice."""
        newest: dict[int, int] = {}
        for key, kind, who, epoch in self.lines():
            assert epoch >= newest.get(key, 0), f"{who} wrote {kind!r} of #{key} although run {newest[key]} had begun"
            newest[key] = epoch
        twice = {act: count for act, count in Counter(self.acts.read_text().splitlines()).items() if count > 1}
        assert not twice


@asynccontextmanager
async def a_town(postgresql: PostgresqlServer, tmp_path: Path) -> AsyncIterator[Town]:
    url, clock = postgresql.fresh(), FastClock()
    with psycopg.connect(url, autocommit=True) as watch:
        async with between_processes(url, clock, "the marker") as opened:
            yield Town(url, clock, tmp_path / "acts", opened, watch)


async def test_what_a_killed_process_ran_runs_again_soon_and_nothing_is_lost(
    postgresql: PostgresqlServer, tmp_path: Path
) -> None:
    async with a_town(postgresql, tmp_path) as town:
        with town.replica("first") as first, town.replica("second"):
            chance = random.Random(1)
            await town.mark(EVENTS // 2, chance)
            await town.until_running("first", chance)
            await town.mark(EVENTS // 2, chance)
            await town.until_running("first", chance)
            first.kill()
            first.wait()
            killed = time.monotonic()
            orphans = town.running("first")
            assert orphans
            await town.until("orphans run again", lambda: not town.running("first"))
            assert time.monotonic() - killed < 2 * DEAD_AFTER
            await town.settled()
        town.check()
        assert {who for _, _, who, _ in town.lines()} == {"first", "second"}


async def test_a_process_that_wakes_up_too_late_changes_nothing(postgresql: PostgresqlServer, tmp_path: Path) -> None:
    async with a_town(postgresql, tmp_path) as town:
        with town.replica("first") as first, town.replica("second"):
            chance = random.Random(2)
            await town.mark(EVENTS // 2, chance)
            for _ in range(ROUNDS):
                await town.mark(EVENTS // 4, chance)
                await town.until_running("first", chance)
                first.send_signal(signal.SIGSTOP)
                assert town.running("first")
                await town.until("another one took over", lambda: not town.running("first"))
                first.send_signal(signal.SIGCONT)
            await town.settled()
            town.check()
            first.terminate()
            assert first.stdout is not None
            assert "refused\n" in first.stdout.readlines()
