"""A program of a few lines works on tasks: three workers, a question answered while it waits, and one that is not."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest
from pydantic import SecretStr

from bot.clock import RandomIds
from bot.domain.attempt import Outcome
from bot.domain.model import FailureReason, Person
from bot.domain.policy_model import Policy
from bot.domain.questions import AskedQuestion, QuestionStatus
from bot.domain.sessions import SessionStatus
from bot.domain.workers import DEFAULT_TOKEN_LIFE
from bot.errors import UserError
from bot.localhub.actions_model import Conclusion
from bot.worker import machine, task_worker
from bot.worker.log import RunLog
from bot.worker.machine_api import MachineApi
from bot.worker.task_worker import Parked, TaskWorker
from tests.scenarios.steps import item_of, last_attempt, merge_by_hand, ready, say, scene
from tests.world import World

POLICY = "workers: pull\nmax_parallel: 3\nmax_unreviewed_prs: 9\nmirror: {enabled: false}\nallow_unisolated: true\n"
WORK = b"# v2 git bundle\nnot judged here, the gate has tests of its own\n"

T = TypeVar("T")


@asynccontextmanager
async def workers(world: World, count: int, wait: float = 0.4) -> AsyncIterator[list[TaskWorker]]:
    """Workers with tokens of their own, made known to the bot."""
    repo = await world.repo_record()
    by = Person(world.maria.id, "maria")
    async with aiohttp.ClientSession() as session:
        found = []
        for index in range(count):
            _, secret = await world.parts.engine.pull.create_token([repo], by, f"box-{index}", DEFAULT_TOKEN_LIFE)
            api = MachineApi(session, world.url, SecretStr(secret))
            name = f"box-{index}"
            found.append(TaskWorker(api, repo.full_name, name, new_id=RandomIds().new, inline_wait=wait))
            await found[-1].start()
        yield found


async def during(world: World, call: Awaitable[T]) -> T:
    """The outcome of a call, while the bot works."""

    async def run() -> T:
        return await call

    return await world.meanwhile(run())


async def publish(world: World, number: int) -> None:
    """The run that publishes what was handed in."""
    run = world.run()
    assert await run.activate() == 200
    actions = world.hub.actions
    actions.job_finished(run.job("start"), Conclusion.SUCCESS, {"attempt": run.attempt, "publish_only": "true"})
    actions.job_started(run.job("publish"))
    attempt = await last_attempt(world, number)
    assert attempt.gate_report is not None
    status, grant = await run.call(
        "POST", f"/attempts/{run.attempt}/publish-token", run.oidc("publish", "publish"),
        {"fence": attempt.fence, "asker": run.asker, "bundle_digest": attempt.gate_report.bundle_digest,
         "head_sha": "0" * 40, "base_sha": "0" * 40},
    )  # fmt: skip
    assert status == 200, grant
    sha = world.hub.git.commit(
        world.repo, {"shop.py": "import requests\n"}, by=world.app.bot, branch=grant["branch"], parent=attempt.base_sha
    )
    body = {"fence": attempt.fence, "head_sha": sha}
    published = f"/attempts/{run.attempt}/published"
    assert (await run.call("POST", published, run.oidc("publish", "publish"), body))[0] == 200
    actions.job_finished(run.job("publish"), Conclusion.SUCCESS)
    await world.settle()


async def test_three_workers_take_three_tasks_one_asks_and_all_is_completed(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world, workers(world, 3, wait=20) as boxes:
        numbers = {await ready(world, f"Task {index}") for index in range(3)}
        tasks = [await during(world, box.claim_work()) for box in boxes]
        assert {task.issue for task in tasks if task is not None} == numbers
        with pytest.raises(UserError):
            await boxes[0].claim_work()
        first, task = boxes[0], boxes[0].current_task
        assert task is not None

        asking = asyncio.create_task(first.request_clarification("Which library?", ["requests", "httpx"]))
        while not (said := world.bot_said(task.issue)):
            await world.settle()
            await asyncio.sleep(0.005)
        assert "> Which library?" in said[0]
        assert world.state(task.issue) == "in-progress"
        world.comment(task.issue, "1")
        assert await during(world, asking) == "requests"
        assert (await first.send_heartbeat(1, 2, "writing")).cancel is False

        bundle = tmp_path / "bundle"
        bundle.write_bytes(WORK)
        await first.complete_task(bundle, "Used requests.")
        assert first.current_task is None
        await world.settle()
        await publish(world, task.issue)
        merge_by_hand(world, task.issue)
        await world.settle()
        world.bot_said(task.issue)
        assert world.state(task.issue) == "done"
        for box in boxes[1:]:
            held = box.current_task
            assert held is not None
            await box.fail_task(FailureReason.POLICY_DENIED, "not today")
            await world.settle()
            assert world.state(held.issue) == "failed"
            world.bot_said(held.issue)


def test_machine_and_policy_give_people_the_same_minute_to_answer() -> None:
    assert (task_worker.INLINE_WAIT, machine.INLINE_WAIT, Policy().questions.inline_wait) == (60.0, 60.0, 60)


async def test_a_policy_that_lets_nobody_wait_frees_a_patient_worker_at_once(tmp_path: Path) -> None:
    policy = f"{POLICY}questions: {{inline_wait: 0}}\n"
    async with scene(tmp_path, policy=policy) as world, workers(world, 1, wait=60) as (box,):
        number = await ready(world)
        await during(world, box.claim_work())
        with pytest.raises(Parked):
            await during(world, box.request_clarification("Which library?"))
        await world.settle()
        world.bot_said(number)
        assert (box.current_task, world.state(number)) == (None, "needs-input")


async def test_a_question_that_nobody_answers_frees_the_worker_and_another_goes_on(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world, workers(world, 2, wait=0.05) as (first, second):
        number = await ready(world)
        await during(world, first.claim_work())
        notes = tmp_path / "notes"
        notes.write_bytes(b"looked at both libraries\n")
        with pytest.raises(Parked):
            await during(world, first.request_clarification("Which library?", notes=notes))
        await world.settle()
        assert len(world.bot_said(number)) == 1
        assert world.state(number) == "needs-input"
        assert first.current_task is None
        assert (await last_attempt(world, number)).outcome is Outcome.ASKED

        await say(world, number, "requests, please")
        assert (await item_of(world, number)).answered
        task = await during(world, second.claim_work())
        assert task is not None
        assert await second.request_clarification("Which library?") == "requests, please"
        assert await second.earlier_notes(tmp_path / "taken")
        assert (tmp_path / "taken").read_bytes() == b"looked at both libraries\n"


async def test_a_question_of_a_worker_that_went_on_without_an_answer_waits_for_nobody(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world, workers(world, 1, wait=0.05) as (box,):
        number = await ready(world)
        task = await during(world, box.claim_work())
        assert task is not None
        asking, puller = world.parts.engine.asking, await last_attempt(world, number)
        asked = AskedQuestion("x", "Which library?")
        await world.meanwhile(asking.ask(puller.id, puller.fence, [asked], 0, lambda: False))
        await world.settle()
        assert len(world.bot_said(number)) == 1
        await box.fail_task(FailureReason.AGENT_CRASH, "went on and fell")
        await world.settle()
        (question,) = await world.parts.store.read(lambda tx: tx.questions(world.key(number)))
        assert question.status is QuestionStatus.WITHDRAWN
        world.comment(number, "1: requests")
        await world.settle()
        assert world.bot_said(number) == []


async def test_an_answer_that_comes_while_the_worker_gives_up_is_not_lost(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world, workers(world, 1, wait=0.05) as (box,):
        number = await ready(world)
        await during(world, box.claim_work())
        task = box.current_task
        assert task is not None
        asking = box.request_clarification("Which library?")
        with pytest.raises(Parked):
            await asking
        # The bot has not looked yet: the question, the end of the attempt and the answer are all there at once.
        await world.settle()
        world.comment(number, "1: httpx")
        await world.settle()
        world.bot_said(number)
        assert (await item_of(world, number)).answered


async def test_an_agent_goes_on_at_once_when_people_answer_while_its_machine_waits(tmp_path: Path) -> None:
    script = {
        "steps": [
            {"ask": [{"id": "name", "text": "Which name?"}]},
            {"write": {"path": "name.txt", "content": "{{answer:name}}\n"}},
            {"commit": "Name it"},
        ]
    }
    policy = f"{POLICY}agent: {{adapter: scripted, command: [script.json]}}\n"
    async with (
        scene(tmp_path, policy=policy, files={"script.json": json.dumps(script)}) as world,
        workers(world, 1, wait=20) as (box,),
    ):
        number = await ready(world)
        await during(world, box.claim_work())
        clone = tmp_path / "clone"
        await asyncio.to_thread(subprocess.run, ["git", "clone", "-q", world.repo.git_dir, clone], check=True)

        @asynccontextmanager
        async def source() -> AsyncIterator[Path]:
            yield clone

        log = RunLog(tmp_path / "log", world.clock.now)
        working = asyncio.create_task(box.execute_work_order(source, tmp_path / "out", log, allow_unisolated=True))
        while not world.bot_said(number):
            await world.settle()
            await asyncio.sleep(0.01)
        world.comment(number, "1: Ada")
        outcome = await during(world, working)
        world.bot_said(number)
        log.close()

        assert outcome.succeeded, outcome
        (attempt,) = await world.attempts(number)
        assert attempt.gate_report is not None
        assert box.current_task is None


async def test_a_session_that_is_idle_for_35_minutes_has_ended(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        repo, sessions = await world.repo_record(), world.parts.engine.sessions
        owner = f"person:{world.maria.id}/maria"
        opened = await sessions.create(repo, owner, "talk-1")
        await world.after(timedelta(minutes=25))
        await sessions.update_activity(repo, owner, opened.session.id)
        await world.after(timedelta(minutes=35))
        (now,) = await sessions.list(repo)
        assert now.status is SessionStatus.TERMINATED
