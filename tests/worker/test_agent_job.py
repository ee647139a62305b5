"""The agent's job against a stand-in bot: real git, real processes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr

from bot.worker.api import Api
from bot.worker.outputs import Outputs
from bot.worker.process import Graces
from bot.worker.run import RunOutcome, RunSettings, run_attempt
from tests.worker.support import (
    ATTEMPT_TOKEN,
    BASE_FILES,
    HANDOFF,
    LIMIT,
    NOW,
    THOUGHT,
    FakeBot,
    fake_bot,
    git,
    make_origin,
)

DONE = f"echo did >> src/new.py; mkdir -p {THOUGHT}; echo done > {THOUGHT}/implementation.md; git add -A; git commit -qm Work\n"


async def no_pause(_: float) -> None:
    return None


@asynccontextmanager
async def world(tmp_path: Path, script: str, files: Mapping[str, str] | None = None, **changes: Any):  # type: ignore[no-untyped-def]
    """A repository whose agent is `script`, and a bot that offers it."""
    origin = make_origin(tmp_path / "hub", {**BASE_FILES, "agent.sh": script, **(files or {})})
    async with fake_bot(origin, **changes) as bot:
        yield origin, bot


async def work(bot: FakeBot, tmp_path: Path, interrupt: asyncio.Event | None = None, **settings: Any) -> RunOutcome:
    origin_source = bot.git_root / "source"
    given = RunSettings(
        attempt=bot.bundle.attempt,
        fence=bot.bundle.fence,
        handoff=SecretStr(HANDOFF),
        source=origin_source,
        out=tmp_path / "out",
        **{"graces": Graces(interrupt=5, terminate=5), **settings},
    )
    outputs = Outputs({"GITHUB_OUTPUT": str(tmp_path / "outputs")})
    async with aiohttp.ClientSession() as session, asyncio.timeout(LIMIT):
        return await run_attempt(
            given, Api(session, bot.url, no_pause), lambda: NOW, outputs, interrupt or asyncio.Event()
        )


def outputs(tmp_path: Path) -> dict[str, str]:
    text = (tmp_path / "outputs").read_text()
    return dict(line.split("=", 1) for line in text.splitlines())


async def test_a_finished_agent_yields_a_bundle_a_log_and_a_report(tmp_path: Path) -> None:
    script = DONE + 'echo \'::tgs progress 1/2 half way\'; echo \'{"outcome": "done", "summary": "ok"}\' > $TGS_RESULT'
    async with world(tmp_path, script) as (_, bot):
        outcome = await work(bot, tmp_path)
    assert outcome.succeeded
    report = bot.named("report")[0]
    assert report.bearer == ATTEMPT_TOKEN
    assert report.body == {
        "fence": 3, "succeeded": True, "reason": None, "detail": "", "summary": "ok",
        "bundle_digest": outcome.bundle_digest, "isolation": outcome.isolation,
    }  # fmt: skip
    assert outputs(tmp_path) == {
        "log_name": "abc123-add-search-20260304T050607Z.log",
        "bundle_digest": outcome.bundle_digest,
    }
    bundle = tmp_path / "out/bundle/tgs.bundle"
    assert git(tmp_path, "bundle", "list-heads", str(bundle)).endswith("HEAD")
