"""Many histories, in as many processes as asked for, and the sum of what came of them."""

from __future__ import annotations

import gc
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context

from bot.simulate.faults import Fault
from bot.simulate.history import Told, play
from bot.simulate.setup import setup_of

CHUNK = 20
"""Histories that a process is given at once: handing them over costs little, and the end is not far for any."""

FEW = 200
"""With fewer histories than this the chunks are small, so that no process is idle at the end."""


@dataclass
class Sum:
    """What came of many histories. `broken`: seed → what was violated."""

    histories: int = 0
    steps: int = 0
    faults: Counter[Fault] = field(default_factory=Counter)
    rows: Counter[tuple[str | None, str, str]] = field(default_factory=Counter)
    broken: dict[int, list[str]] = field(default_factory=dict)
    hours: float = 0.0

    def add(self, other: Sum) -> None:
        self.histories += other.histories
        self.steps += other.steps
        self.faults.update(other.faults)
        self.rows.update(other.rows)
        self.broken.update(other.broken)
        self.hours += other.hours

    def take(self, told: Told) -> None:
        self.histories += 1
        self.steps += told.steps
        self.faults.update(told.faults)
        self.rows.update(told.rows)
        self.hours += told.hours
        if told.violations:
            self.broken[told.setup.seed] = [str(one) for one in told.violations]

    @property
    def line(self) -> str:
        """The last line of every run."""
        violations = sum(len(found) for found in self.broken.values())
        return (
            f"simulated: {self.histories:,} schedules, {self.steps:,} steps, {self.faults.total():,} faults, "
            f"{violations:,} violations"
        )


def play_some(seeds: Iterable[int]) -> Sum:
    """Plays these seeds one after the other, here."""
    found = Sum()
    for seed in seeds:
        found.take(play(setup_of(seed)))
        _settle_in()
    return found


@cache
def _settle_in() -> None:
    """What the first history has left is there for good: the garbage collector need not walk it again and again."""
    gc.collect()
    gc.freeze()


def play_many(
    seeds: Iterable[int],
    *,
    processes: int,
    seconds: float | None = None,
    chunk: int = CHUNK,
    heard: Callable[[Sum], None],
) -> Sum:
    """Plays the seeds in order until they or the seconds are used up. `heard` is told the sum so far.

    The sum is the same for every number of processes as long as all the seeds are played.
    """
    end = None if seconds is None else time.monotonic() + seconds
    chunks = _chunks(iter(seeds), chunk)
    total = Sum()
    if processes == 1:
        for seeds_of_one in chunks:
            if end is not None and time.monotonic() >= end:
                break
            total.add(play_some(seeds_of_one))
            heard(total)
        return total
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running: set[Future[Sum]] = set()
        while True:
            over = end is not None and time.monotonic() >= end
            while not over and len(running) < processes * 2 and (some := next(chunks, None)):
                running.add(pool.submit(play_some, some))
            if not running:
                return total
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for one in done:
                total.add(one.result())
            heard(total)


def chunk_for(histories: int | None) -> int:
    """How many histories a process is given at once when so many are to be played (None: nobody knows)."""
    return 4 if histories is None or histories < FEW else CHUNK


def _chunks(seeds: Iterator[int], size: int) -> Iterator[list[int]]:
    while chunk := list(itertools.islice(seeds, size)):
        yield chunk
