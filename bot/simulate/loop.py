"""An event loop whose time is virtual: when nothing is ready, it jumps to the next timer.

Promise: two plays with the same callbacks run them in the same order; there is no clock, thread, socket or file
descriptor in it. Ready callbacks run in the order in which they became ready, as asyncio promises; disorder comes from
the seeded delays of the model. Timers of the same moment run in the order in which they were set.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from heapq import heappop, heappush
from typing import Any, NoReturn, cast


class Stuck(RuntimeError):
    """Nothing is ready and no timer is set: somebody waits for what never comes."""


class _Soon(asyncio.Handle):
    """A handle that is made without asking whether the loop is debugged."""

    __slots__ = ()

    _source_traceback: None
    _repr: None

    def __init__(
        self, callback: Callable[..., object], args: Sequence[Any], loop: VirtualLoop, context: Context | None
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class VirtualLoop(asyncio.BaseEventLoop):
    """`on_task` is told each new task, so that the model knows which process it belongs to."""

    # What asyncio's loop has and does not tell type checkers of.
    _ready: deque[Any]
    _scheduled: list[Any]
    _stopping: bool

    def __init__(self, on_task: Callable[[asyncio.Task[Any], Context | None], None]) -> None:
        super().__init__()
        self._virtual = 0.0
        self._clock_resolution = 1e-6
        self._on_task = on_task
        self._count = 0
        self.set_task_factory(cast("Any", self._make))

    def time(self) -> float:
        """Virtual seconds since the beginning."""
        return self._virtual

    def _run_once(self) -> None:
        """Turns as asyncio's own, but without a selector, until somebody stops the loop.

        Each takes what is ready; if nothing is, it jumps to the next timer.
        """
        timers, ready = self._scheduled, self._ready
        while True:
            while timers and timers[0]._cancelled:
                heappop(timers)._scheduled = False
            if not ready and not self._stopping:
                if not timers:
                    raise Stuck("nothing will ever happen again")
                self._virtual = max(self._virtual, timers[0]._when)
            end = self._virtual + self._clock_resolution
            while timers and timers[0]._when < end:
                handle = heappop(timers)
                handle._scheduled = False
                ready.append(handle)
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle._cancelled:
                    try:
                        handle._context.run(handle._callback, *handle._args)
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException as error:  # noqa: BLE001 - told as asyncio tells it
                        self._failed(handle, error)
            if self._stopping:
                return

    def _failed(self, handle: asyncio.Handle, error: BaseException) -> None:
        message = f"Exception in callback {handle!r}"
        self.call_exception_handler({"message": message, "exception": error, "handle": handle})

    # The stubs tie the arguments to the callback's parameters; these take whatever the callback takes.
    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's, which looks first whether the loop is closed, and for debugging."""
        handle = _Soon(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's, likewise."""
        timer: Any = asyncio.TimerHandle(when, callback, args, self, context)
        heappush(self._scheduled, timer)
        timer._scheduled = True
        return cast("asyncio.TimerHandle", timer)

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As asyncio's, likewise."""
        return self.call_at(self._virtual + delay, callback, *args, context=context)

    def _make(self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **more: Any) -> asyncio.Task[Any]:
        # A name of our own: asyncio's counter goes on over all histories of this process.
        self._count += 1
        more["name"] = more.get("name") or f"t{self._count}"
        task = asyncio.Task(coro, loop=loop, **more)
        self._on_task(task, more.get("context"))
        return task

    def _write_to_self(self) -> None:
        """Nobody else could wake us."""

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> NoReturn:
        """Threads would not be repeatable. Raises RuntimeError."""
        raise RuntimeError(f"the simulation has no threads (asked by {getattr(func, '__qualname__', func)!r})")
