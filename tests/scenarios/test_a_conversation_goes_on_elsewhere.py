"""A real agent's job asks, the next one goes on with its conversation and its work, on another machine."""

from __future__ import annotations

import asyncio
import json
import subprocess
from datetime import timedelta
from pathlib import Path

import aiohttp
from pydantic import SecretStr

from bot.localhub.actions_model import Conclusion
from bot.worker.api import Api
from bot.worker.outcome import RunOutcome
from bot.worker.outputs import Outputs
from bot.worker.run import RunSettings, run_attempt
from tests.scenarios.steps import dispatched, scene
from tests.world import World

POLICY = "agent:\n  adapter: scripted\n  command: [script.json]\nallow_unisolated: true\n"
SCRIPT = {
    "steps": [
        {"write": {"path": "begun.txt", "content": "first half\n"}},
        {"run": "echo left > uncommitted.txt"},
        {
            "ask": [
                {
                    "id": "greeting",
                    "text": "Which greeting?",
                    "choices": [{"label": "Hello"}, {"label": "Moin moin"}],
                }
            ]
        },
        {"write": {"path": "greeting.txt", "content": "{{answer:greeting}}\n"}},
        {"commit": "Greet with {{answer:greeting}}"},
    ]
}


async def work(world: World, tmp_path: Path, *, end: bool = True) -> tuple[RunOutcome, Path]:
    """The newest run's agent job, as its machine does it: the outcome, and where the bundle is."""
    run = world.run()
    assert await run.activate() == 200
    jobs = world.hub.actions
    outputs = {"attempt": run.attempt, "fence": str(run.fence), "handoff": run.handoff}
    jobs.job_finished(run.job("start"), Conclusion.SUCCESS, outputs)
    jobs.job_started(run.job("agent"))
    machine = tmp_path / run.attempt
    await asyncio.to_thread(subprocess.run, ["git", "clone", "-q", world.repo.git_dir, machine / "source"], check=True)
    settings = RunSettings(run.attempt, run.fence, SecretStr(run.handoff), machine / "source", machine / "out")
    async with aiohttp.ClientSession() as session:
        api = Api(session, world.url)
        outcome = await world.meanwhile(run_attempt(settings, api, world.clock.now, Outputs({}), asyncio.Event()))
    if end:
        jobs.finish(run.run, Conclusion.SUCCESS)
    await world.settle()
    return outcome, machine


def made(machine: Path) -> dict[str, str]:
    """The files that the bundle adds."""
    source = machine / "source"
    bundle = machine / "out" / "bundle" / "tgs.bundle"
    subprocess.run(["git", "-C", source, "fetch", "-q", bundle, "HEAD:refs/heads/made"], check=True)
    listing = subprocess.run(
        ["git", "-C", source, "diff", "--name-only", "HEAD...made"], check=True, capture_output=True, text=True
    )
    shown = {}
    for name in listing.stdout.split():
        file = subprocess.run(["git", "-C", source, "show", f"made:{name}"], check=True, capture_output=True, text=True)
        shown[name] = file.stdout
    return shown


async def test_conversation_and_work_go_on_where_they_were(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY, files={"script.json": json.dumps(SCRIPT)}) as world:
        number = await dispatched(world)
        first, _ = await work(world, tmp_path)
        assert [question.id for question in first.asked] == ["greeting"]
        assert world.state(number) == "needs-input"
        world.bot_said(number)
        world.push({"elsewhere.txt": "the default branch moves on\n"})

        world.comment(number, "2")
        await world.settle()
        world.bot_said(number)
        second, machine = await work(world, tmp_path, end=False)

        assert second.succeeded, second
        assert made(machine) == {
            "begun.txt": "first half\n", "uncommitted.txt": "left\n", "greeting.txt": "Moin moin\n"
        }  # fmt: skip
        asked, resumed = await world.attempts(number)
        assert (resumed.resumes, resumed.base_sha) == (asked.id, asked.base_sha)


async def test_without_the_conversation_a_fresh_one_is_told_question_and_answer(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY, files={"script.json": json.dumps(SCRIPT)}) as world:
        number = await dispatched(world)
        await work(world, tmp_path)
        world.bot_said(number)
        later = world.clock.now() + timedelta(days=31)
        assert await world.parts.store.write(lambda tx: tx.drop_carried(later, 9)) == 2

        world.comment(number, "1: Guten Tag")
        await world.settle()
        world.bot_said(number)
        second, machine = await work(world, tmp_path, end=False)

        assert second.succeeded, second
        assert made(machine)["greeting.txt"] == "Guten Tag\n"
        assert "a fresh one was told of question and answer" in world.status(number)


ASKING = """\
import json, os
context = json.load(open(os.environ["TGS_CONTEXT"]))
result = open(os.environ["TGS_RESULT"], "w")
if context["resume"] is None:
    talk = os.path.expanduser("~/talk.txt")
    open(talk, "w").write("so far")
    open("begun.txt", "w").write("begun")
    question = {"id": "name", "text": "Which name?"}
    json.dump({"outcome": "asked", "questions": [question], "session": "talk-1", "transcript": talk}, result)
else:
    name = context["resume"]["answers"]["name"][0]
    said = open(os.environ["TGS_TRANSCRIPT"]).read()
    open("name.txt", "w").write(f"{said}, {name}")
    json.dump({"outcome": "done"}, result)
"""


async def test_any_program_may_ask_and_go_on(tmp_path: Path) -> None:
    policy = POLICY.replace("scripted", "command").replace("[script.json]", "[python3, ask.py]")
    async with scene(tmp_path, policy=policy, files={"ask.py": ASKING}) as world:
        number = await dispatched(world)
        first, _ = await work(world, tmp_path)
        assert [question.text for question in first.asked] == ["Which name?"]
        world.bot_said(number)
        world.comment(number, "Ada")
        await world.settle()
        world.bot_said(number)
        second, machine = await work(world, tmp_path, end=False)
        assert second.succeeded, second
        assert made(machine) == {"begun.txt": "begun", "name.txt": "so far, Ada"}
