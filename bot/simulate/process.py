"""One simulated process: its clock, its tasks, and the power switch.

Whatever a process does to the world goes through `gate`: a paused process stands still there, and a dead one can do
nothing any more, not even clean up. Between two gates it works without interruption, as code between two awaits does. A
request that has left it arrives all the same while it stands still (`way.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
"""When every history begins: a Monday morning."""

OWNER: ContextVar[Process | None] = ContextVar("OWNER", default=None)
"""Whose code is running; None: the model itself."""

SEEN: ContextVar[int] = ContextVar("SEEN", default=0)
"""The commit that the running task has seen last."""

BREATH_CHANCE = 0.25
"""How often something else may come in between two steps of a process."""

SLOW_CHANCE = 0.04
"""How often a step of a process takes noticeably long."""


class Gone(BaseException):
    """The process is dead. Not an Exception: nothing in the bot may handle it."""


class Down(Exception):
    """The process gave no answer; whether the call had an effect is unknown to the caller."""


class SimClock:
    """A wall clock over the virtual time of the loop in which it is made, off by `skew`."""

    def __init__(self, skew: timedelta = timedelta(0)) -> None:
        self._start = START + skew
        self._at = 0.0
        self._now = self._start
        self._time = asyncio.get_running_loop().time

    def now(self) -> datetime:
        at = self._time()
        if at != self._at:
            self._at, self._now = at, self._start + timedelta(seconds=at)
        return self._now


class SimIds:
    """Ids that repeat from play to play. Of the form and length that the real ones have."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def new(self, prefix: str) -> str:
        self._count += 1
        # What differs stands in front: some ids are cut.
        return f"{prefix}{self._count:05d}{self._name}{'0' * 36}"


class Process:
    """One process of the bot, or the machine of a worker."""

    def __init__(self, name: str, rng: Random, skew: timedelta = timedelta(0)) -> None:
        self.name = name
        self.clock = SimClock(skew)
        self.ids = SimIds(name)
        self.rng = rng
        self.dead = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self.refuses_until = -1.0
        self.limited_until: datetime | None = None
        self._awake = asyncio.Event()
        self._awake.set()
        self._context: Context = copy_context()
        self._context.run(OWNER.set, self)

    # --- power

    @property
    def paused(self) -> bool:
        return not self._awake.is_set()

    @property
    def up(self) -> bool:
        """Whether a caller gets an answer."""
        return not self.dead and not self.paused

    def kill(self) -> None:
        """The end, wherever its tasks are now."""
        self.dead = True
        self._awake.set()
        for task in sorted(self.tasks, key=lambda one: one.get_name()):
            task.cancel()

    def pause(self) -> None:
        self._awake.clear()

    def resume(self) -> None:
        self._awake.set()

    async def gate(self) -> None:
        """Passes when the process runs. Raises Gone when it is dead."""
        if self.dead:
            raise Gone(self.name)
        while not self._awake.is_set():
            await self._awake.wait()
            if self.dead:
                raise Gone(self.name)

    async def breathe(self) -> None:
        """A gate at which others may come in between."""
        if self.dead or not self._awake.is_set():
            await self.gate()
        chance = self.rng.random()
        if chance < SLOW_CHANCE:
            await asyncio.sleep(0.001 + 0.2 * self.rng.random() ** 3)
            await self.gate()
        elif chance < BREATH_CHANCE:
            await asyncio.sleep(0)
            await self.gate()

    # --- what it knows

    def saw_ledger(self, commit: int) -> None:
        """The running task has just seen the ledger as of this commit."""
        SEEN.set(commit)

    def database_refuses(self) -> bool:
        return self.refuses_until > 0 and asyncio.get_running_loop().time() < self.refuses_until

    # --- tasks

    def spawn(self, coro: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """A task of this process."""
        return asyncio.get_running_loop().create_task(coro, name=name, context=self._context.copy())

    async def answer(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """A call from outside, served by the process. Raises Down when it gives no answer, else what the call raises.

        A paused process lets the caller wait until they give up; it may still do what was asked, later.
        """
        if self.dead:
            raise Down(f"{self.name} is down")
        task = self.spawn(self._serve(call))
        done, _ = await asyncio.wait([task], timeout=10.0)
        if not done:
            task.add_done_callback(_forget)
            raise Down(f"{self.name} does not answer")
        if task.cancelled():
            raise Down(f"{self.name} went down meanwhile")
        error = task.exception()
        if isinstance(error, Gone):
            raise Down(f"{self.name} went down meanwhile")
        if error is not None:
            raise error
        return task.result()

    async def _serve(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        await self.gate()
        result = await call()
        await self.gate()
        return result


def _forget(task: asyncio.Task[Any]) -> None:
    """Nobody waits for its outcome any more."""
    if not task.cancelled():
        task.exception()


def adopt(task: asyncio.Task[Any], context: Context | None) -> None:
    """Notes a new task with the process in whose context it runs."""
    process = OWNER.get() if context is None else context.get(OWNER)
    if process is not None:
        process.tasks.add(task)
        # At once, for nothing tells of the error of a task that nobody waits for until the last one lets go of it.
        task.add_done_callback(process.tasks.discard)
