"""The three commands that docs/pull-workers.md gives to a person, typed one after another against a running bot."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from bot.domain.attempt import WorkerKind
from tests.cli.test_a_backlog_of_a_server import at
from tests.docs.pages import blocks
from tests.scenarios.steps import last_attempt, pull_of, ready, scene


async def shell(script: str, cwd: Path, **env: str) -> None:
    """Runs a line as a person would, in their clone."""
    who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
           for what, value in (("NAME", "Maria"), ("EMAIL", "maria@example.org"))}  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        "bash", "-euc", script, cwd=cwd, env={"PATH": os.environ["PATH"], "HOME": str(cwd)} | who | env
    )
    assert await process.wait() == 0, script


async def test_next_then_work_then_complete_ends_in_a_pull_request(tmp_path: Path) -> None:
    [page] = [block for block in blocks("sh") if block.mark == "session"]
    take, push, finish = page.text.splitlines()
    async with scene(tmp_path, policy="workers: pull\n") as world:
        number = await ready(world)
        maria = at(world, tmp_path, "maria")
        remote = world.hub.html_url.replace("://", f"://maria:{world.hub.user_token('maria')}@")
        await shell(f"git clone --quiet {remote}/{world.repo.full_name}.git clone", tmp_path)
        taken = await maria.type(f"{take} --json")
        assert taken.code == 0, taken
        attempt = await last_attempt(world, number)
        assert (attempt.worker.kind, world.state(number)) == (WorkerKind.INTERACTIVE, "in-progress")
        assert attempt.branch in json.dumps(json.loads(taken.out))
        too_early = await maria.type(finish)
        assert too_early.code == 6, too_early
        assert attempt.branch in too_early.err
        await shell("echo hello > hello.txt; git add -A; git commit -qm Hello", tmp_path / "clone")
        await shell(f"{push} --quiet", tmp_path / "clone", BRANCH=attempt.branch)
        done = await maria.type(finish)
        assert done.code == 0, done
        assert world.state(number) == "in-review"
        assert attempt.branch in str(pull_of(world, number).head_ref)
        assert (await maria.type(take)).code == 3
        world.leave_due = True
