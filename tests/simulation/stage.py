"""A simulated world in which nothing happens by itself: for short stories about one defect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from bot.simulate.history import History, dissolve
from bot.simulate.hub import Hub
from bot.simulate.loop import VirtualLoop
from bot.simulate.office import Office
from bot.simulate.process import adopt
from bot.simulate.replica import Replica
from bot.simulate.setup import Setup
from bot.simulate.things import MAIN, OWNER, WORKFLOW

T = TypeVar("T")


@dataclass
class Stage:
    """The world, and the hand that lets time pass."""

    history: History
    loop: VirtualLoop

    @property
    def hub(self) -> Hub:
        return self.history.hub

    @property
    def bot(self) -> Replica:
        return self.history.bots[-1]

    @property
    def office(self) -> Office:
        return self.history.office

    @property
    def seconds(self) -> float:
        return self.loop.time()

    def passes(self, minutes: float) -> None:
        """Time passes, and everything that is due happens."""
        self.loop.run_until_complete(asyncio.sleep(minutes * 60))

    def does(self, act: Callable[[], T]) -> T:
        """Somebody does something, now."""

        async def now() -> T:
            return act()

        return self.loop.run_until_complete(now())

    def asks(self, call: Callable[[Replica], Coroutine[Any, Any, T]]) -> T:
        """A call that the bot serves."""
        return self.loop.run_until_complete(self.bot.process.answer(lambda: call(self.bot)))

    def state(self, number: int) -> str | None:
        rows = self.history.disk.rows("SELECT state FROM items WHERE number = ?", number)
        return rows[0]["state"] if rows else None


@contextmanager
def staged(policy: str = "", setup: Setup | None = None) -> Iterator[Stage]:
    """A repository with one bot, in fair weather unless a set-up says otherwise. What must always hold is checked."""
    given = setup or Setup(seed=0, scale=0.0, policy=policy)
    loop = VirtualLoop(adopt)
    try:

        async def build() -> History:
            history = History(given, loop)
            files = {WORKFLOW: "name: run\n", "README.md": "# Hi\n", ".tgs/policy.yml": given.policy}
            history.hub.commit(MAIN, files, OWNER)
            history.start_bot()
            return history

        stage = Stage(loop.run_until_complete(build()), loop)
        stage.passes(minutes=1)
        yield stage
        assert not stage.history.oracle.violations
    finally:
        dissolve(loop)
