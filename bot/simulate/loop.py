"""An event loop whose time is virtual: when nothing is ready, it jumps to the next timer.

Promise: two plays with the same callbacks run them in the same order; there is no clock, thread, socket or file
descriptor in it. Ready callbacks run in the order in which they became ready, as asyncio promises; disorder comes from
the seeded delays of the model. Timers of the same moment run in the order in which they were set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, NoReturn, cast


class Stuck(RuntimeError):
    """Nothing is ready and no timer is set: somebody waits for what never comes."""


class _Jump:
    """What the loop takes for its selector: instead of waiting, time passes."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[object]:
        if timeout is None:
            raise Stuck("nothing will ever happen again")
        if timeout > 0:
            self._loop.jump(timeout)
        return []

    def close(self) -> None:
        """There is nothing to close."""


class VirtualLoop(asyncio.BaseEventLoop):
    """`on_task` is told each new task, so that the model knows which process it belongs to."""

    def __init__(self, on_task: Callable[[asyncio.Task[Any], Context | None], None]) -> None:
        super().__init__()
        self._virtual = 0.0
        self._selector = _Jump(self)
        self._clock_resolution = 1e-6
        self._on_task = on_task
        self._count = 0
        self.set_task_factory(cast("Any", self._make))

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self._virtual

    def jump(self, seconds: float) -> None:
        """Time passes up to the next timer, exactly."""
        timers: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]
        self._virtual = max(self._virtual, timers[0].when()) if timers else self._virtual + seconds

    def _make(self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **more: Any) -> asyncio.Task[Any]:
        # A name of our own: asyncio's counter goes on over all histories of this process.
        self._count += 1
        more["name"] = more.get("name") or f"t{self._count}"
        task = asyncio.Task(coro, loop=loop, **more)
        self._on_task(task, more.get("context"))
        return task

    def _process_events(self, event_list: list[object]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody else could wake us."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> NoReturn:
        """Threads would not be repeatable. Raises RuntimeError."""
        raise RuntimeError(f"the simulation has no threads (asked by {getattr(func, '__qualname__', func)!r})")
