"""Does the agent get small tasks done under the prompts as they are? Offline the scripted agent plays, which proves the
tasks and their checks; with `RUN_REAL_AGENT=1` and a model key the real one does, which judges the prompts.

`make eval` prints a line for each task with the prompt's version, so that two versions can be compared.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import aiohttp
import pytest
import yaml
from pydantic import SecretStr

from bot.worker.api import Api
from bot.worker.model_proxy import access_from
from bot.worker.outputs import Outputs
from bot.worker.prompts import IMPLEMENT, prompt
from bot.worker.run import RunSettings, run_attempt
from tests.eval.tasks import TASKS, Task
from tests.worker.support import ATTEMPT_TOKEN, GIT_ENV, HANDOFF, NOW, fake_bot, git, make_origin

REAL = os.environ.get("RUN_REAL_AGENT") == "1"
KEY = os.environ.get("ANTHROPIC_API_KEY", "")
MINUTES = 20
"""For one task of the real agent."""


async def no_pause(_: float) -> None:
    return None


def agent(task: Task) -> tuple[dict[str, object], dict[str, str]]:
    """How the agent is run, and the files that it needs in the repository."""
    if REAL:
        return {"adapter": "claude-code", "max_turns": 40, "timeout_minutes": MINUTES}, {}
    script = yaml.safe_dump({"steps": task.solution})
    return {"adapter": "scripted", "command": ["agent.yml"], "timeout_minutes": MINUTES}, {"agent.yml": script}


@pytest.mark.timeout(MINUTES * 60 if REAL else 60)
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
async def test_a_task_gets_done(task: Task, tmp_path: Path) -> None:
    how, files = agent(task)
    origin = make_origin(tmp_path / "hub", {**task.files, **files})
    wishes = {"type": task.type, "acceptance": task.acceptance, "budget_usd": 2.0 if REAL else None}
    async with fake_bot(
        origin, title=task.title, body=task.body, agent=how, spec=wishes, thought=None, allow_unisolated=True
    ) as bot:
        given = RunSettings(
            bot.bundle.attempt,
            bot.bundle.fence,
            SecretStr(HANDOFF),
            origin.source,
            tmp_path / "out",
            model=access_from({"ANTHROPIC_API_KEY": KEY}) if REAL else None,
        )
        async with aiohttp.ClientSession() as session:
            api = Api(session, bot.url, no_pause, lambda _: ATTEMPT_TOKEN)
            outcome = await run_attempt(given, api, lambda: NOW, Outputs({}), asyncio.Event())
    turns = outcome.usage.turns if outcome.usage is not None else 0
    cost = outcome.usage.cost_microusd / 1e6 if outcome.usage is not None else 0.0
    doubts = ", ".join(doubt.kind.value for doubt in outcome.doubts) or "none"
    version = (outcome.prompt_version or prompt(IMPLEMENT).version)[:12]
    line = f"{version} | {task.name} | {outcome.reason or 'done'} | {turns} turns | {cost:.2f} USD | doubts: {doubts}"
    sys.stdout.write(f"\n{line}\n")
    assert outcome.succeeded, (outcome.reason, outcome.detail)
    assert outcome.doubts == ()
    made = tmp_path / "made"
    git(tmp_path, "clone", "-q", str(origin.source), str(made))
    git(made, "fetch", "-q", str(tmp_path / "out/bundle/tgs.bundle"), "HEAD")
    git(made, "checkout", "-q", "FETCH_HEAD")
    checked = await asyncio.create_subprocess_exec("sh", "-c", task.hidden, cwd=made, env=GIT_ENV)
    assert await checked.wait() == 0
