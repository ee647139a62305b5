"""One workspace, one scripted model, and Claude Code working between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from bot.demo.model_api import Conversation, Script, ScriptedModel
from bot.worker.adapters.base import AgentResult, Resume, Session
from bot.worker.adapters.claude_code import ClaudeCodeAdapter
from bot.worker.isolation import Launcher
from bot.worker.model_proxy import ModelAccess, ModelDoor, ModelLimits, open_door
from bot.worker.process import Graces
from bot.worker.workspace import Workspace, agent_environment
from tests.worker.support import Origin, context, git

KEY = "sk-ant-the-real-key-0123456789abcdefghij"
LIMIT = 60.0  # seconds until a run of the real program counts as hung; it takes one or two
NO_LIMITS = ModelLimits()
TOOLS = ["Bash", "Edit", "Read", "Write"]


@dataclass
class Desk:
    """What a test needs around one session. `heard` are progress texts, `lines` what goes to the log."""

    origin: Origin
    place: Workspace
    launcher: Launcher
    heard: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    words: list[str] = field(default_factory=list)
    model: ScriptedModel | None = None
    door: ModelDoor | None = None
    on_progress: Callable[[str], None] = lambda _: None

    @property
    def work(self) -> Path:
        return self.place.work

    def session(self, door: ModelDoor | None, seconds: float = LIMIT, **changes: Any) -> Session:
        agent = {"adapter": "claude-code", "tools": TOOLS, "max_turns": 20} | changes.pop("agent", {})
        bundle = context(self.origin, agent=agent, **changes)

        def progress(step: int, total: int, text: str) -> None:
            self.heard.append(text)
            self.on_progress(text)

        def steer() -> Sequence[str]:
            words, self.words = self.words, []
            return words

        return Session(
            context=bundle,
            workspace=self.place,
            work=self.work,
            launcher=self.launcher,
            environment=agent_environment(self.place, bundle),
            stop=self.stop,
            deadline=asyncio.get_running_loop().time() + seconds,
            progress=progress,
            on_line=self.lines.append,
            graces=lambda: Graces(10, 5),
            steer=steer,
            model=door,
        )

    async def run(
        self,
        script: Script | Callable[[Conversation], Script],
        *,
        resume: Resume | None = None,
        retries: int = 0,
        key: str = KEY,
        limits: ModelLimits = NO_LIMITS,
        **changes: Any,
    ) -> AgentResult:
        """Lets the program work against the script, to its end."""
        self.model = ScriptedModel(script if callable(script) else lambda _: script)
        async with self.model.serve() as url, open_door(ModelAccess(url, SecretStr(key)), limits) as door:
            self.door = door
            session = replace(self.session(door, **changes), resume=resume)
            async with asyncio.timeout(LIMIT):
                return await ClaudeCodeAdapter(retries).run(session)

    @property
    def asked(self) -> list[Conversation]:
        """What the program asked the model in its main conversation."""
        assert self.model is not None
        return self.model.asked

    def git(self, *args: str) -> str:
        return git(self.work, *args)
