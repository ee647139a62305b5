"""What happens after the answer: how passes over long queues grow, what many items weigh, how many claims a second."""

from __future__ import annotations

import asyncio
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bot.claims import Claimed, claim
from bot.clock import RandomIds, SystemClock
from bot.domain.attempt import Worker, WorkerKind
from bot.domain.line import NEAR, Told, news, order, queued
from bot.domain.locks import parse_lock
from bot.domain.model import AttemptId, InstallationId, IssueKey, Item, RepoId, RepoKey, WorkSpec
from bot.domain.policy_model import Budgets, Policy
from bot.domain.repository import RepoRecord
from bot.domain.schedule import Backlog, schedule
from bot.protocols.ledger import Ledger
from bot.queued import Queues
from bot.starter import read_backlog
from bot.store.engine import SqlStore, open_store
from bot.store.migrate import prepare
from handlers import REGISTRY
from tests.benchmarks.intake import EVENT, body_of
from tests.benchmarks.rows import Goal, Row
from tests.databases import PostgresqlServer
from tests.store.support import a_repo, an_item

SIZES = (1_000, 10_000)
"""Ready items of the measurement of passes: a large backlog, and ten times that."""
DECIDED = (10_000, 40_000)
"""Ready items of the measurement of decisions: neither fits into the caches of a processor, so that only the number of
items makes the difference."""
REPOS, PER_REPO = 40, 10
"""Claims of one round: a repository starts a handful at once, so they are spread."""
PASS = 50.0
"""Milliseconds that a pass over the larger queue may take."""
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@asynccontextmanager
async def opened(address: str | None = None) -> AsyncIterator[SqlStore]:
    """A fresh ledger at the address, or in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="tgs-benchmark-") as folder:
        url = address or f"sqlite:///{Path(folder) / 'benchmark.db'}"
        prepare(url, SystemClock())
        store = open_store(url, SystemClock(), RandomIds())
        try:
            yield store
        finally:
            await store.close()


@dataclass(frozen=True, slots=True)
class Grown:
    """Milliseconds of one scheduling pass, by the number of ready items."""

    millis: dict[int, float]

    @property
    def growth(self) -> float:
        small, large = DECIDED
        return self.millis[large] / self.millis[small]


def scheduling(*, locked: bool) -> Grown:
    """A pass over a backlog of which nothing can start but the first; with `locked` each item wants a path of its own
    while 25 paths are held."""
    found = {}
    for size in DECIDED:
        items = [queued(item) for item in _items(size, locked=locked)]
        held = [(parse_lock(f"held/{number}/**"), size + number) for number in range(25)] if locked else []
        backlog = Backlog(replace(a_repo(), preflight_ok=True), items, [], held, 0, 0, {})
        found[size] = _best(lambda one=backlog: schedule(one, Policy(), NOW, near=NEAR)) * 1e3  # type: ignore[misc]
    return Grown(found)


def sorting() -> Grown:
    """The order of the queue alone, which Python's sort finds in n log n comparisons: what that means on this machine,
    whose memory is slower for the larger queue."""
    return Grown({size: _sorted(_items(size, locked=False)) for size in DECIDED})


def _sorted(items: list[Item]) -> float:
    return _best(lambda: sorted(items, key=order)) * 1e3


def _items(size: int, *, locked: bool) -> list[Item]:
    return [_ready(number, locked=locked) for number in range(1, size + 1)]


def _ready(number: int, *, locked: bool) -> Item:
    key = IssueKey(InstallationId(1), RepoId(10), number)
    spec = WorkSpec(locks=(f"src/part{number}/**",)) if locked else WorkSpec()
    return replace(
        an_item(key), spec=spec, ready_since=NOW - timedelta(seconds=number * 7919 % 86_400), priority=number % 3
    )


def _best(act: Callable[[], object], rounds: int = 7) -> float:
    """Seconds of the processor in the quickest of some runs: the others were disturbed."""
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        act()
        times.append(time.thread_time() - start)
    return min(times)


def many_repositories() -> float:
    """Milliseconds to schedule all of 1,000 repositories with ten ready items each."""
    items = [queued(_ready(number, locked=False)) for number in range(1, 11)]
    backlogs = [Backlog(replace(a_repo(), preflight_ok=True), items, [], [], 0, 0, {}) for _ in range(1_000)]
    return _best(lambda: [schedule(one, Policy(), NOW, near=NEAR) for one in backlogs]) * 1e3


@dataclass(frozen=True, slots=True)
class Weight:
    """What a ledger with many items costs: seconds to start, MiB of the process after each look at everything."""

    start: float
    empty: float
    full: float


async def weight(count: int) -> Weight:
    """A process of its own over a ledger of `count` ready items in repositories of 1,000, each looked at once."""
    with tempfile.TemporaryDirectory(prefix="tgs-benchmark-") as folder:
        url = f"sqlite:///{Path(folder) / 'benchmark.db'}"
        prepare(url, SystemClock())
        store = open_store(url, SystemClock(), RandomIds())
        try:
            for first in range(0, count, 1_000):
                await store.write(lambda tx, one=first // 1_000 + 1: _stock(tx, one))  # type: ignore[misc]
        finally:
            await store.close()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.benchmarks.weigh", url, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
    start, empty, full = (float(word) for word in out.split())
    return Weight(start, empty, full)


def _stock(tx: Ledger, repo: int) -> None:
    key = RepoKey(InstallationId(1), RepoId(repo))
    tx.put_repo(replace(a_repo(key, f"octo/widgets{repo}"), preflight_ok=True))
    for number in range(1, 1_001):
        item = IssueKey(key.installation, key.repo, number)
        tx.insert_item(replace(an_item(item), ready_since=NOW))
        tx.mark(item)


@dataclass(frozen=True, slots=True)
class ClaimRates:
    """Claims a second: one after the other (each waits for its commit), and all at once (commits are shared)."""

    single: float
    together: float


async def claims() -> ClaimRates:
    """Every claim opens an attempt, and is on disk when it counts."""
    rates = []
    for together in (False, True):
        async with opened() as store:
            keys = await _fill(store)
            start = time.perf_counter()
            if together:
                won = await asyncio.gather(*(_claim(store, key) for key in keys))
            else:
                won = [await _claim(store, key) for key in keys]
            rates.append(len(keys) / (time.perf_counter() - start))
            if not all(won):
                raise RuntimeError("a claim of a free item was refused")
    return ClaimRates(*rates)


async def _fill(store: SqlStore) -> list[IssueKey]:
    repos = [RepoKey(InstallationId(1), RepoId(number)) for number in range(1, REPOS + 1)]
    keys = [IssueKey(repo.installation, repo.repo, number) for repo in repos for number in range(1, PER_REPO + 1)]
    for repo in repos:
        await store.write(lambda tx, one=repo: tx.put_repo(_known(one)))  # type: ignore[misc]
    await asyncio.gather(*(store.write(lambda tx, one=key: tx.insert_item(an_item(one))) for key in keys))  # type: ignore[misc]
    return keys


def _known(repo: RepoKey) -> RepoRecord:
    return replace(a_repo(repo, f"octo/widgets{repo.repo}"), rebuilt_at=NOW)


async def _claim(store: SqlStore, key: IssueKey) -> bool:
    policy = Policy(max_parallel=PER_REPO, budgets=Budgets(per_day=10_000.0))
    worker = Worker(WorkerKind.ACTIONS, "actions")
    name = AttemptId(f"a-{key}")
    found = await store.write(
        lambda tx: claim(tx, key, worker, policy=policy, now=NOW, attempt_id=name, base_sha="b" * 40)
    )
    return isinstance(found, Claimed)


@dataclass(frozen=True, slots=True)
class Decoding:
    """Microseconds to read one payload: only the fields we use, checked, against all of it by the standard library."""

    typed: float
    standard: float


def decoding() -> Decoding:
    """Rounds alternate; the medians count."""
    body, reader = body_of(EVENT), REGISTRY[EVENT]
    typed, standard = [], []
    for _ in range(7):
        typed.append(_per_call(lambda: reader.read(body, 1)))
        standard.append(_per_call(lambda: json.loads(body)))
    return Decoding(statistics.median(typed), statistics.median(standard))


def _per_call(act: Callable[[], object], calls: int = 300) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        act()
    return (time.perf_counter() - start) / calls * 1e6


# --- whole passes, the ledger included


@dataclass(frozen=True, slots=True)
class Passes:
    """Milliseconds of a pass over a queue: the first one of a process, and one after an item has changed."""

    first: float
    next: float


async def passes(size: int, address: str | None = None) -> Passes:
    """What a pass reads of the ledger, decides, and compares with what the items were told."""
    key = RepoKey(InstallationId(1), RepoId(10))
    async with opened(address) as store:

        def fill(tx: Ledger) -> None:
            tx.put_repo(replace(a_repo(key), preflight_ok=True))
            for number in range(1, size + 1):
                tx.insert_item(_ready(number, locked=False))

        await store.write(fill)
        queues, taken = Queues(), []
        for number in range(1, 13):
            began = time.perf_counter()
            told = await _pass(store, key, queues)
            taken.append((time.perf_counter() - began) * 1e3)
            await store.write(lambda tx, told=told: tx.tell_places(key, told))  # type: ignore[misc]
            await store.write(lambda tx, one=number: _change(tx, IssueKey(key.installation, key.repo, one)))  # type: ignore[misc]
    return Passes(taken[0], min(taken[2:]))


async def _pass(store: SqlStore, key: RepoKey, queues: Queues) -> dict[int, Told]:
    repo = await store.read(lambda tx: tx.repo(key))
    assert repo is not None
    backlog = await store.read(lambda tx: read_backlog(tx, repo, NOW, queues, disabled=False))
    return news(schedule(backlog, Policy(), NOW, near=NEAR).waiting, backlog.told)


def _change(tx: Ledger, key: IssueKey) -> None:
    item = tx.item(key)
    assert item is not None
    tx.save_item(item, replace(item, priority=item.priority + 1))


# --- for the page


def linearithmic(sizes: tuple[int, int]) -> float:
    """By how much n log n grows between the two."""
    small, large = sizes
    return large * math.log(large) / (small * math.log(small))


async def scheduling_rows(postgresql: PostgresqlServer) -> list[Row]:
    """How long passes take, and how that grows."""
    small, large = SIZES
    found = []
    for words, addresses in (
        ("SQLite", (None, None)),
        ("PostgreSQL", (postgresql.fresh(), postgresql.fresh())),
    ):
        short, long = await passes(small, addresses[0]), await passes(large, addresses[1])
        growth = long.next / short.next
        found += [
            Row(
                f"Pass over {small:,} and {large:,} ready items, ledger included, {words}",
                f"{short.next:.0f} ms, {long.next:.0f} ms",
                f"{growth:.1f} × the time for 10 × the items",
                Goal(
                    f"≤ {PASS:.0f} ms, growing no faster than n log n ({linearithmic(SIZES):.1f} ×)",
                    long.next <= PASS and growth <= linearithmic(SIZES),
                ),
            ),
            Row(
                f"The first such pass of a process, {words}",
                f"{short.first:.0f} ms, {long.first:.0f} ms",
                f"{long.first / short.first:.1f} ×",
            ),
        ]
    small, large = DECIDED
    sort = sorting()
    found.append(
        Row(
            f"Sorting {small:,} and {large:,} ready items in the order of the queue, and nothing else",
            f"{sort.millis[small]:.1f} ms, {sort.millis[large]:.1f} ms",
            f"{sort.growth:.1f} × the time for 4 × the items; n log n is {linearithmic(DECIDED):.1f} ×",
        )
    )
    for locked, words in ((False, "no locks"), (True, "one lock each, 25 paths held")):
        grown = scheduling(locked=locked)
        found.append(
            Row(
                f"The decision alone over {small:,} and {large:,} ready items, {words}",
                f"{grown.millis[small]:.1f} ms, {grown.millis[large]:.1f} ms",
                f"{grown.growth:.1f} × the time for 4 × the items; n log n is {linearithmic(DECIDED):.1f} ×",
            )
        )
    found.append(
        Row(
            "The decisions for 1,000 repositories with ten ready items each",
            f"{many_repositories():.0f} ms",
        )
    )
    return found


async def size_rows(_: PostgresqlServer) -> list[Row]:
    """What many items cost at the start, and in memory."""
    light, heavy = await weight(10_000), await weight(100_000)
    return [
        Row("Start with 10,000 items that all wait to be looked at", f"{light.start:.2f} s"),
        Row("Start with 100,000", f"{heavy.start:.2f} s", f"{heavy.start / light.start:.1f} × the time"),
        Row(
            "Memory with 10,000 and with 100,000 items, after a pass over every repository",
            f"{light.full:.0f} MiB, {heavy.full:.0f} MiB",
            f"{heavy.full / light.full:.1f} × for 10 × the items; {light.empty:.0f} MiB before",
        ),
    ]


async def claim_rows(_: PostgresqlServer) -> list[Row]:
    """Claims, and what reading a payload costs."""
    rates, read = await claims(), decoding()
    return [
        Row("Claims on disk, one after the other", f"{rates.single:,.0f}/s", "1.00"),
        Row(
            "Claims on disk, all at once", f"{rates.together:,.0f}/s", f"{rates.together / rates.single:.1f} × as many"
        ),
        Row("Payload read by `json.loads`, everything, unchecked", f"{read.standard:.0f} µs", "1.00"),
        Row(
            "The same payload decoded and read by its handler",
            f"{read.typed:.0f} µs",
            f"{read.typed / read.standard:.2f}",
        ),
    ]
