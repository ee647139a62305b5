"""What an agent adapter gets and gives.

Promise: an adapter starts processes only through the session, so that each runs as the agent's user, in the workspace,
with the allow-listed environment, within the time that is left, and ends when the attempt must stop. It changes nothing
outside the workspace, and what it returns is a hint that gate and evidence check.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bot.domain.bundle import ContextBundle
from bot.domain.model import FailureReason
from bot.worker.isolation import Launcher
from bot.worker.process import Finished, Graces, LineSplitter, run
from bot.worker.workspace import Workspace

ProgressSink = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class AgentResult:
    """What the agent says about its work. `reason` is None exactly when it says that it succeeded."""

    summary: str = ""
    reason: FailureReason | None = None
    detail: str = ""

    @property
    def succeeded(self) -> bool:
        return self.reason is None


@dataclass(frozen=True, slots=True)
class Session:
    """One run of an agent. `deadline` is in seconds of the running loop's clock."""

    context: ContextBundle
    workspace: Workspace
    work: Path
    launcher: Launcher
    environment: Mapping[str, str]
    stop: asyncio.Event
    deadline: float
    progress: ProgressSink
    on_line: Callable[[str], None]
    graces: Callable[[], Graces] = Graces

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.deadline - asyncio.get_running_loop().time())

    async def run(
        self, argv: Sequence[str], *, stdin: bytes = b"", on_line: Callable[[str], None] | None = None
    ) -> Finished:
        """Runs one process to its end. Raises OSError when it cannot be started."""
        lines = LineSplitter(on_line or self.on_line)
        finished = await run(
            self.launcher,
            argv,
            cwd=self.work,
            env=self.environment,
            stop=self.stop,
            on_output=lines.feed,
            stdin=stdin,
            seconds=self.seconds_left,
            graces=self.graces,
        )
        lines.close()
        return finished


class Adapter(Protocol):
    """One kind of agent. Adapters hold no state between runs."""

    async def run(self, session: Session) -> AgentResult:
        """Works on the item until done, stopped or out of time. Raises UserError for a wrong configuration."""
        ...
