"""The shipped workflow file on the local GitHub's runner: real jobs, the real wheel, artifacts, a pushed branch."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bot.localhub.actions_model import Conclusion, Run
from bot.web.wheel import build_wheel
from bot.workflows import RUN_WORKFLOW, render_run_workflow
from tests.localhub.flow import Flow, flow, log_of
from tests.worker.support import BRANCH, THOUGHT, FakeBot, context, fake_bot, git, make_origin

SCRIPT = {
    "steps": [
        {"progress": {"step": 1, "total": 1, "text": "writing"}},
        {"write": {"path": "search.py", "content": "def search(): ...\n"}},
        {"write": {"path": f"{THOUGHT}/implementation.md", "content": "# Done\n"}},
        {"commit": "Add search"},
    ]
}


@dataclass
class Shipped:
    """A repository with the workflow, and a bot that offers one attempt."""

    world: Flow
    bot: FakeBot

    async def dispatch(self) -> Run:
        workflow = self.world.hub.actions.files.find(self.world.repo, RUN_WORKFLOW)
        assert workflow is not None
        inputs = {"issue": "7", "attempt": "1", "claim_id": "claim-1", "base_sha": self.bot.bundle.base_sha}
        run = self.world.hub.actions.dispatch(workflow, "main", inputs, self.world.as_(self.world.writer))
        await self.world.finished(run)
        return run

    def branch(self) -> str:
        return git(self.bare, "for-each-ref", "--format=%(objectname)", f"refs/heads/{BRANCH}")

    @property
    def bare(self) -> Path:
        return self.world.repo.git_dir


@pytest.fixture
async def shipped(tmp_path: Path) -> AsyncIterator[Shipped]:
    origin = make_origin(tmp_path / "unused")
    wheel = await asyncio.to_thread(build_wheel)
    async with fake_bot(origin) as bot, flow(tmp_path, private=True) as world:
        bot.wheel = wheel.content
        digest = hashlib.sha256(wheel.content).hexdigest()
        text = render_run_workflow(bot.url, f"{bot.url}/dist/{wheel.filename}", digest)
        base = world.commit(
            {
                f".github/workflows/{RUN_WORKFLOW}": text,
                f"{THOUGHT}/plan.md": "# Plan\n",
                f"{THOUGHT}/research.md": "# Research\n",
                f"{THOUGHT}/script.json": json.dumps(SCRIPT),
            }
        )
        bot.repo_url = world.url()
        bot.push_token = world.token(contents="write")
        bot.bundle = context(origin, world.url(), base_sha=base, agent={"adapter": "scripted"})
        yield Shipped(world, bot)


def logs(run: Run) -> str:
    return "\n".join(f"{name}:\n{log_of(job)}" for name, job in run.jobs.items())


async def test_a_dispatched_run_ends_with_a_pushed_branch(shipped: Shipped) -> None:
    run = await shipped.dispatch()
    assert run.conclusion is Conclusion.SUCCESS, logs(run)
    assert run.title == "tgs #7 claim-1"
    head = shipped.branch()
    assert shipped.bot.named("published")[0].body["head_sha"] == head
    assert "search.py" in git(shipped.bare, "ls-tree", "-r", "--name-only", head)
    names = sorted(artifact.name for artifact in shipped.world.hub.actions.artifacts.values())
    assert names[0].startswith("abc123-add-search-")
    assert names[1:] == ["tgs-bundle"]
    for secret in (
        shipped.bot.push_token,
        shipped.bot.token,
        *(call.body["asker"] for call in shipped.bot.named("publish-token")),
    ):
        assert secret not in logs(run)


async def test_a_failed_agent_is_reported_once_and_its_log_is_kept(shipped: Shipped) -> None:
    bundle = shipped.bot.bundle
    agent = bundle.agent.model_copy(update={"adapter": "command", "command": ("sh", "-c", "exit 3")})
    shipped.bot.bundle = bundle.model_copy(update={"agent": agent})
    run = await shipped.dispatch()
    assert run.conclusion is Conclusion.FAILURE
    assert shipped.bot.named("report")[0].body["reason"] == "agent.crash"
    assert shipped.branch() == ""
    assert [a.name.startswith("abc123") for a in shipped.world.hub.actions.artifacts.values()] == [True]


async def test_a_run_with_nothing_to_do_starts_no_further_job(shipped: Shipped) -> None:
    shipped.bot.errors["activate"] = (204, "")
    run = await shipped.dispatch()
    assert run.conclusion is Conclusion.SUCCESS, logs(run)
    assert {name: job.conclusion for name, job in run.jobs.items()} == {
        "start": Conclusion.SUCCESS,
        "agent": Conclusion.SKIPPED,
        "publish": Conclusion.SKIPPED,
    }
