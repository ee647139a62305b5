"""One seed, one history: a troubled stretch, then fair weather, then the account of what does not add up.

The set-up (policy, workers, how many items), the troubles and what people do all follow from the seed. In fair weather
a maintainer tidies up; then everything must come to an end by itself within a day of virtual time.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

import structlog

from bot.domain.claim_record import ClaimRef
from bot.domain.model import Person
from bot.simulate.disk import Disk
from bot.simulate.elsewhere import works_alone
from bot.simulate.ending import judge
from bot.simulate.faults import Fault, Weather
from bot.simulate.hub import Hub
from bot.simulate.loop import VirtualLoop
from bot.simulate.machines import pull_worker, session
from bot.simulate.office import Office
from bot.simulate.oracle import Oracle, Violation
from bot.simulate.people import People
from bot.simulate.process import START, Process, SimClock, adopt
from bot.simulate.replica import Replica
from bot.simulate.setup import Setup
from bot.simulate.sharing import notice_silence
from bot.simulate.things import MAIN, OWNER, WORKFLOW, ModelRun
from bot.simulate.workers import ActionsRun, Site

SETTLE_STEP = 15 * 60.0
"""In fair weather it is looked this often at least whether everything has come to an end."""

SETTLE_LIMIT = 14 * 3600.0
"""Longer than every limit of the product: what has not ended by then is stuck."""

BUSY_LOOKS = 600
"""For a minute, ten times a second."""

DOWN = (2.0, 120.0)
"""How long a process that crashed stays away, in seconds."""


@dataclass
class Told:
    """What came of a history."""

    setup: Setup
    violations: list[Violation]
    steps: int
    faults: Counter[Fault]
    rows: Counter[tuple[str | None, str, str]]
    digest: str
    lines: list[tuple[float, str, str]] = field(default_factory=list)
    hours: float = 0.0


class History:
    """The world of one seed, while it is played."""

    def __init__(self, setup: Setup, loop: VirtualLoop) -> None:
        self.setup = setup
        self._loop = loop
        self.lines: list[tuple[float, str, str]] = []
        self._marks = hashlib.sha256()
        self.weather = Weather(self._rng("weather"), setup.scale, setup.often, setup.only, setup.plenty)
        self.hub = Hub(SimClock().now, self.log)
        self.disk = Disk()
        self.oracle = Oracle(self.hub, self.disk)
        self.oracle.policy = setup.facts
        self.refs: dict[int, ClaimRef] = {}
        self.office = Office(self.hub, self.weather, self.listening, self.oracle.taken)
        self.bots: list[Replica] = []
        self._door = self._rng("door")
        self.site = Site(self.hub, self.weather, self._rng("workers"), self.listening, self.log, self._step, setup.pace)
        alone = self._alone if "claim_refs: true" in setup.policy else None
        self.people = People(
            self.hub, self._rng("people"), self.listening, self._session, plans=setup.plans, alone=alone
        )
        self.hub.on_run = self._on_run
        self._sessions = 0

    def _rng(self, name: str) -> Random:
        return Random(f"{name} {self.setup.seed}")

    def _step(self) -> None:
        self.oracle.steps += 1

    def log(self, who: str, what: str) -> None:
        """One line of the story; also part of its fingerprint."""
        at = self._loop.time()
        self.lines.append((at, who, what))
        self._marks.update(f"{at:.6f} {who} {what}\n".encode())
        if hasattr(self, "oracle"):
            self.oracle.changed()
            if what.startswith("wrote on") and self.hub.comments:
                self.oracle.commented(self.hub.comments[max(self.hub.comments)])

    # --- processes

    def listening(self) -> Replica | None:
        """Whoever has the bot's address now; of several that share it, any."""
        if self.setup.replicas > 1:
            alive = self.alive()
            return self._door.choice(alive) if alive else None
        return self.bots[-1] if self.bots and not self.bots[-1].process.dead else None

    def alive(self) -> list[Replica]:
        """Those that are not dead; they may stand still."""
        return [bot for bot in self.bots if not bot.process.dead]

    def _silent(self, bot: Replica) -> None:
        """The others, if there are any, will notice."""
        if self.setup.shares_ledger:
            notice_silence(self.disk.board, bot.process)

    def start_bot(self) -> Replica:
        """A new process takes the address."""
        rng = self._rng(f"bot {len(self.bots)}")
        skew = timedelta(0)
        if self.weather.planned(Fault.CLOCK_SKEW):
            self.weather.note(Fault.CLOCK_SKEW)
            skew = timedelta(seconds=rng.uniform(-8, 8))
        process = Process(f"bot{len(self.bots) + 1}", rng, skew)
        others = self.alive if self.setup.shares_ledger else None
        bot = Replica(process, self.disk, self.hub, self.weather, self.oracle, self.refs, self.oracle.bug, others,
                      deployment=self.setup.deployment)  # fmt: skip
        self.bots.append(bot)
        self.log(process.name, "starts")
        bot.start()
        return bot

    async def _crash(self) -> None:
        bot = self.listening()
        if bot is None or not bot.process.up:
            return
        self.weather.note(Fault.CRASH)
        self.log(bot.process.name, "crashes")
        bot.process.kill()
        self._silent(bot)
        await asyncio.sleep(self.weather.between(*DOWN))
        if len(self.alive()) < self.setup.replicas and (self.setup.replicas > 1 or self.listening() is None):
            self.start_bot()

    async def _zombie(self) -> None:
        """The process stands still, another takes its place if it can, and then it goes on for a while."""
        bot = self.listening()
        if bot is None or not bot.process.up:
            return
        if self.setup.shares_ledger:
            await self._busy(bot)
        self.weather.note(Fault.ZOMBIE_BOT)
        self.log(bot.process.name, "stands still")
        bot.process.pause()
        self._silent(bot)
        await asyncio.sleep(self.weather.between(5, 60))
        replaced = self.setup.replicas == 1 and self.setup.shares_ledger and self.listening() is bot
        if replaced:
            self.start_bot()
        await asyncio.sleep(self.weather.between(1, 1500 if self.setup.replicas == 1 else 200))
        if bot.process.dead:
            return
        self.log(bot.process.name, "wakes up and goes on")
        bot.process.resume()
        if not replaced:
            return  # it is the one, or one of them, again
        await asyncio.sleep(self.weather.between(1, 600))
        if not bot.process.dead:
            self.log(bot.process.name, "is stopped")
            bot.process.kill()
            if self.disk.board.runs(bot.process):
                self._silent(bot)  # whoever ran nothing is not missed

    async def _busy(self, bot: Replica) -> None:
        """Waits a while for a moment in which the process is in the middle of a run: then it matters who goes on."""
        for _ in range(BUSY_LOOKS):
            if self.disk.board.runs(bot.process):
                return
            await asyncio.sleep(0.1)

    async def _lose_ledger(self) -> None:
        """The machine with the database burns; another one begins with an empty ledger and what GitHub shows."""
        self.weather.note(Fault.LEDGER_LOST)
        self.log("the machine", "burns, and the database with it")
        for bot in self.alive():
            bot.process.kill()
            self._silent(bot)
        await asyncio.sleep(self.weather.between(*DOWN))
        if self.alive():
            return  # the disk was saved: a process that was to come back runs on it
        self.disk.lose()
        self.oracle.lost()
        for _ in range(self.setup.replicas):
            self.start_bot()

    async def _refuse(self) -> None:
        bot = self.listening()
        if bot is not None:
            self.weather.note(Fault.DATABASE_REFUSES)
            seconds = self.weather.between(1, 90)
            self.log(bot.process.name, f"finds its database refusing for {seconds:.0f} s")
            bot.process.refuses_until = self._loop.time() + seconds

    # --- workers and people

    def _on_run(self, run: ModelRun) -> None:
        self.oracle.dispatched(run.claim_id)
        ActionsRun(self.site, run)

    def _session(self, person: Person, number: int) -> None:
        self._sessions += 1
        self._loop.create_task(session(self.site, person, number, self._sessions))

    def _alone(self, person: Person, number: int) -> None:
        self._sessions += 1
        self._loop.create_task(works_alone(self.site, self.refs, person, number, self._sessions))

    # --- the story

    async def play(self) -> None:
        """From the first push to the last judgement."""
        setup = self.setup
        self.hub.commit(MAIN, {WORKFLOW: "name: run\n", "README.md": "# Hi\n", ".tgs/policy.yml": setup.policy}, OWNER)
        for _ in range(setup.replicas):
            self.start_bot()
        await asyncio.sleep(self.weather.between(1, 40))
        await self._troubled()
        self.weather.clear()
        for bot in self.alive():
            if bot.process.paused or (setup.replicas == 1 and bot is not self.bots[-1]):
                bot.process.kill()
                self._silent(bot)
        while len(self.alive()) < setup.replicas:
            self.start_bot()
        for bot in self.alive():
            bot.process.refuses_until = -1.0
        self.log("maintainer", "fair weather begins")
        await asyncio.sleep(setup.settle)
        self.people.tidy(brisk=setup.brisk)
        end = self._loop.time() + SETTLE_LIMIT
        pause = setup.settle
        while self._loop.time() < end:
            await asyncio.sleep(pause)
            self.people.reviews()
            if not judge(self, dry=True):
                # And it stays so: what came to rest may begin anew when a late webhook says that somebody wants it.
                await asyncio.sleep(setup.settle)
                if not judge(self, dry=True):
                    break
            pause = min(pause * 1.5, SETTLE_STEP)
        judge(self)
        for bot in self.bots:
            bot.process.kill()
        await asyncio.sleep(1)

    async def _troubled(self) -> None:
        """People, workers and faults at their seeded times."""
        setup, rng = self.setup, self._rng("plan")
        plan: list[tuple[float, Callable[[], Any]]] = []
        for _ in range(setup.items):
            plan.append((rng.uniform(0, setup.length / 4), self.people.begins))
        plan += [(rng.uniform(0, setup.length), self.people.acts) for _ in range(setup.acts)]
        for fault, what in (
            (Fault.CRASH, self._crash),
            (Fault.ZOMBIE_BOT, self._zombie),
            (Fault.DATABASE_REFUSES, self._refuse),
            (Fault.LEDGER_LOST, self._lose_ledger),
        ):
            for _ in range(self.weather.planned(fault)):
                plan.append((rng.uniform(0, setup.length), what))
        for turn in range(setup.pull_workers):
            self._loop.create_task(pull_worker(self.site, f"machine{turn + 1}"))
        begin = self._loop.time()
        for at, act in sorted(plan, key=lambda one: one[0]):
            await asyncio.sleep(max(begin + at - self._loop.time(), 0.0))
            done = act()
            if isinstance(done, Coroutine):
                self._loop.create_task(done)
        await asyncio.sleep(max(begin + setup.length - self._loop.time(), 0.0))

    def told(self) -> Told:
        for table in ("items", "attempts", "events"):
            for row in self.disk.rows(f"SELECT * FROM {table}"):  # noqa: S608 - names of ours
                self._marks.update(repr(sorted(row.items())).encode())
        return Told(
            self.setup,
            self.oracle.violations,
            self.oracle.steps,
            self.weather.counts,
            self.oracle.rows,
            self._marks.hexdigest(),
            self.lines,
            self._loop.time() / 3600,
        )


def play(
    setup: Setup, prepare: Callable[[History], None] = lambda _history: None, *, until: Collection[str] = ()
) -> Told:
    """Plays one history, to its end or `until` one of these invariants is violated.

    `prepare` may change the world before it begins (negative controls).
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    troubles: list[dict[str, Any]] = []
    loop = VirtualLoop(adopt)
    loop.set_exception_handler(lambda _loop, context: troubles.append(context))

    async def whole() -> Told:
        history = History(setup, loop)
        history.oracle.enough = frozenset(until)
        prepare(history)
        story = loop.create_task(history.play())
        found = loop.create_task(history.oracle.found.wait())
        await asyncio.wait([story, found], return_when=asyncio.FIRST_COMPLETED)
        if story.done():
            story.result()
        for context in troubles:
            error = context.get("exception")
            if error is not None and type(error).__name__ not in {"Gone", "CancelledError"}:
                history.oracle.broken("no errors", type(error).__name__, f"{context['message']}: {error!r}")
        return history.told()

    # One history leaves little behind; looking for cycles in the middle of it costs a tenth of its time.
    collects = gc.isenabled()
    gc.disable()
    try:
        return loop.run_until_complete(whole())
    finally:
        dissolve(loop)
        if collects:
            gc.enable()


def dissolve(loop: VirtualLoop) -> None:
    """The end of a world: whatever still waits is let go."""
    for _ in range(10):
        tasks = asyncio.all_tasks(loop)
        if not tasks:
            break
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
    loop.close()


__all__ = ["START", "History", "Told", "dissolve", "play"]
