"""What an agent adapter gets and gives.

Promise: an adapter starts processes only through the session, so that each runs as the agent's user, in the workspace,
with the allow-listed environment, within the time that is left, and ends when the attempt must stop. It changes nothing
outside the workspace, and what it returns is a hint that gate and evidence check.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from bot.domain.bundle import ContextBundle
from bot.domain.model import FailureReason
from bot.domain.questions import AskedQuestion
from bot.domain.usage import Usage
from bot.worker.isolation import Launcher
from bot.worker.look import Look, Looked
from bot.worker.model_proxy import ModelDoor
from bot.worker.process import MAX_LINE, Finished, Graces, LineSplitter, run
from bot.worker.workspace import Workspace

ProgressSink = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class AgentResult:
    """What the agent says about its work. `reason` is None exactly when it says that it succeeded or asks.

    `asked` ends the attempt with questions for people. `session_id` and `transcript` (a file in the workspace) are what
    the same conversation needs to go on later, on another machine too; the worker hands them to the bot. `usage` counts
    this run alone. `not_before` (aware UTC): when a spent quota is filled again. `prompt_version`: SHA-256 of
    the prompt's file.
    """

    summary: str = ""
    reason: FailureReason | None = None
    detail: str = ""
    asked: tuple[AskedQuestion, ...] = ()
    transcript: Path | None = None
    session_id: str | None = None
    usage: Usage | None = None
    not_before: datetime | None = None
    prompt_version: str = ""

    @property
    def succeeded(self) -> bool:
        return self.reason is None and not self.asked


@dataclass(frozen=True, slots=True)
class Resume:
    """A conversation to go on with: the file `transcript` is checked and readable for the agent's user.

    `answers` are by the id of the question: labels of choices, or one free text.
    """

    session_id: str
    transcript: Path
    answers: Mapping[str, tuple[str, ...]]


def no_words() -> Sequence[str]:
    """Nobody has anything to say."""
    return ()


@dataclass(frozen=True, slots=True)
class Session:
    """One run of an agent. `deadline` is in seconds of the running loop's clock.

    `resume`: go on with that conversation instead of beginning one. `steer` gives what people said to the running agent
    since it was last called, oldest first. `model` is the way to the model that holds no key; None: there is none.
    """

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
    resume: Resume | None = None
    steer: Callable[[], Sequence[str]] = no_words
    model: ModelDoor | None = None

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.deadline - asyncio.get_running_loop().time())

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        on_line: Callable[[str], None] | None = None,
        max_line: int = MAX_LINE,
    ) -> Finished:
        """Runs one process to its end; lines of more than `max_line` bytes are cut.

        Raises OSError when it cannot be started.
        """
        lines = LineSplitter(on_line or self.on_line, max_line)
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

    async def look(self, session: Session, look: Look) -> Looked:
        """Gives a second opinion on a change, in a session that remembers nothing of how it was made. The session's
        directory holds the changed files and is thrown away afterwards. Raises UserError for a wrong configuration."""
        ...
