"""From an approved issue to a merged pull request: `tgs worker run` as a process, and the real runner publishes."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler

from bot.domain.attempt import Outcome, Proof
from bot.domain.model import FailureReason, Person
from bot.domain.workers import DEFAULT_TOKEN_LIFE
from bot.localhub.actions_model import Conclusion
from bot.localhub.runner import ProcessRunner
from bot.web.wheel import build_wheel
from bot.workflows import RUN_WORKFLOW, render_run_workflow
from tests.localhub.flow import log_of
from tests.scenarios.steps import item_of, last_attempt, merge_by_hand, pull_of, ready, scene
from tests.world import World

ROOT = Path(__file__).resolve().parents[2]
POLICY = """\
workers: pull
max_parallel: 3
max_unreviewed_prs: 9
agent:
  adapter: command
  command: [sh, -c, "mkdir -p notes; echo did > notes/$(basename $PWD/..)$$.txt"]
allow_unisolated: true
"""
LIMIT = 60.0
"""Seconds that a worker may take in these tests before it counts as hung."""


@dataclass
class Box:
    """A machine with workers on it. Its git may read the repository as Rita, who may not write."""

    world: World
    folder: Path
    secret: str
    running: list[Process] = field(default_factory=list)

    async def start(self, name: str, *args: str) -> Process:
        """A worker as a process; all share one folder."""
        world = self.world
        self.folder.mkdir(exist_ok=True)
        stored = self.folder / "credentials"
        stored.write_text(world.hub.html_url.replace("://", f"://rita:{world.hub.user_token('rita')}@") + "\n")
        (self.folder / ".gitconfig").write_text(f"[credential]\n\thelper = store --file={stored}\n")
        env = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1", "TGS_SERVER_URL": world.url, "TGS_TOKEN": self.secret,
            "TGS_WORKER_DIR": str(self.folder / "workers"),
        }  # fmt: skip
        code = "from bot.cli.main import main; main()"
        line = ("worker", "run", "--repo", world.repo.full_name, "--name", name, *args)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, *line, env=env, stdout=PIPE, stderr=PIPE
        )
        self.running.append(process)
        return process

    async def ended(self, *processes: Process) -> list[tuple[int | None, str]]:
        """Exit codes and outputs; meanwhile webhooks arrive and passes run."""
        reading = [asyncio.create_task(process.communicate()) for process in processes]
        async with asyncio.timeout(LIMIT):
            while not all(task.done() for task in reading):
                await self.world.settle()
                await asyncio.wait(reading, timeout=0.02)
        await self.world.settle()
        outputs = [(await task)[0] + (await task)[1] for task in reading]
        return [(process.returncode, out.decode()) for process, out in zip(processes, outputs, strict=True)]


async def new_box(world: World, tmp: Path) -> Box:
    repo = await world.repo_record()
    by = Person(world.maria.id, "maria")
    _, secret = await world.parts.engine.pull.create_token([repo], by, "box", DEFAULT_TOKEN_LIFE)
    return Box(world, tmp / "box", secret)


async def with_real_runs(world: World) -> None:
    """The workflow with the bot's own wheel, and a runner that really runs it."""
    wheel = await asyncio.to_thread(build_wheel)
    digest = hashlib.sha256(wheel.content).hexdigest()
    text = render_run_workflow(world.url, f"{world.url}/dist/{wheel.filename}", digest)
    world.push({f".github/workflows/{RUN_WORKFLOW}": text})
    world.hub.actions.runner = ProcessRunner(world.hub)
    await world.settle()


async def test_an_item_is_worked_on_elsewhere_published_by_a_run_and_merged(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        await with_real_runs(world)
        number = await ready(world)
        box = await new_box(world, tmp_path)
        [(code, said)] = await box.ended(await box.start("box-1", "--once"))
        assert code == 0, said
        [run] = world.runs()
        log = "\n".join(log_of(job) for job in run.jobs.values())
        assert run.conclusion is Conclusion.SUCCESS, log
        assert run.inputs["publish_only"] == "true"
        assert {name: job.conclusion for name, job in run.jobs.items()} == {
            "start": Conclusion.SUCCESS, "agent": Conclusion.SKIPPED, "publish": Conclusion.SUCCESS,
        }  # fmt: skip
        assert world.state(number) == "in-review"
        attempt = await last_attempt(world, number)
        assert (attempt.outcome, attempt.worker.name) == (Outcome.PUBLISHED, "box-1")
        pull = pull_of(world, number)
        world.ci(pull.head_sha)
        await world.settle()
        world.bot_said(number)
        merge_by_hand(world, number)
        await world.settle()
        assert world.state(number) == "done"
        # Nothing on the machine, in its output or in the run's logs is or was a right to write.
        places = [said, log, *(p.read_text(errors="replace") for p in box.folder.rglob("*") if p.is_file())]
        assert not [text for text in places if "ghs_" in text]
        await world.parts.bundles.prune()
        assert not list((world.tmp / "data" / "bundles").iterdir())


async def test_the_log_of_a_failure_is_kept_by_the_bot(tmp_path: Path) -> None:
    failing = POLICY.replace("mkdir -p notes", "echo what went wrong; exit 3; mkdir -p notes")
    async with scene(tmp_path, policy=failing) as world:
        number = await ready(world)
        box = await new_box(world, tmp_path)
        [(code, said)] = await box.ended(await box.start("box-1", "--once"))
        assert (code, "agent.crash" in said) == (1, True), said
        attempt = await last_attempt(world, number)
        assert attempt.failure is not None
        assert attempt.failure.reason is FailureReason.AGENT_CRASH
        path = f"/api/v1/repos/{world.repo.full_name}/items/{number}/attempts/{attempt.id}/log"
        headers = {"Authorization": f"Bearer {world.hub.user_token('maria')}"}
        assert world.http is not None
        async with world.http.get(world.url + path, headers=headers) as answer:
            text = await answer.text()
        assert "what went wrong" in text
        world.leave_due = True


async def test_a_worker_that_is_stopped_takes_its_leave_and_the_item_goes_to_the_next(tmp_path: Path) -> None:
    waiting = POLICY.replace("mkdir -p notes", "test $(wc -l < $TGS_STEER) = 0 && exec sleep 60; mkdir -p notes")
    async with scene(tmp_path, policy=waiting) as world:
        number = await ready(world)
        box = await new_box(world, tmp_path)
        worker = await box.start("box-1", "--watch", "--slots", "2", "--grace", "0")
        ending = asyncio.create_task(box.ended(worker))
        async with asyncio.timeout(LIMIT):
            while not any(attempt.started_at for attempt in await world.attempts(number)):
                await asyncio.wait({ending}, timeout=0.02)
        worker.send_signal(signal.SIGTERM)
        [(code, said)] = await ending
        assert code == 0, said
        attempt = await last_attempt(world, number)
        assert attempt.failure is not None
        assert attempt.failure.reason is FailureReason.INFRA_RUNNER_LOST
        assert (await item_of(world, number)).attempts_burnt == 0
        known = await world.parts.store.read(lambda tx: tx.workers(world.repo_key.installation))
        assert [worker.draining_since is not None for worker in known] == [True]
        world.leave_due = True


async def test_three_workers_on_one_machine_take_three_different_items(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        numbers = [await ready(world, title) for title in ("One", "Two", "Three")]
        box = await new_box(world, tmp_path)
        workers = [await box.start(f"box-{n}", "--once") for n in (1, 2, 3)]
        ends = await box.ended(*workers)
        assert [code for code, _ in ends] == [0, 0, 0], ends
        attempts = [attempt for number in numbers for attempt in await world.attempts(number)]
        assert [attempt.number for attempt in attempts] == [1, 1, 1]
        assert {attempt.worker.name for attempt in attempts} == {"box-1", "box-2", "box-3"}
        assert sorted(int(run.inputs["issue"]) for run in world.runs()) == sorted(numbers)
        assert len(list((box.folder / "workers" / "clones").glob("*.git"))) == 1
        [(code, said)] = await box.ended(await box.start("box-4", "--once"))
        assert (code, said.splitlines()[-1]) == (3, "There is nothing to do.")
        world.leave_due = True


async def test_a_worker_that_is_killed_after_the_upload_costs_time_and_nothing_else(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=POLICY) as world:
        kill: list[Callable[[], None]] = []

        @web.middleware
        async def killing(request: web.Request, handler: Handler) -> web.StreamResponse:
            answer = await handler(request)
            if request.method == "PUT" and kill:
                kill.pop()()
            return answer

        world.around_answers = (killing,)
        await world.restart_bot()
        number = await ready(world)
        box = await new_box(world, tmp_path)
        first = await box.start("box-1", "--once")
        kill.append(first.kill)
        [(code, _)] = await box.ended(first)
        assert code == -9
        assert world.runs() == []
        [uploaded] = (world.tmp / "data" / "bundles").iterdir()
        await world.after(timedelta(minutes=25))
        attempt = await last_attempt(world, number)
        assert (attempt.outcome, attempt.proof) == (Outcome.LOST, Proof.HARMLESS)
        await world.parts.bundles.prune()
        assert not uploaded.exists()
        await world.after(timedelta(hours=1))
        assert (await item_of(world, number)).attempts_burnt <= 1
        [(code, said)] = await box.ended(await box.start("box-1", "--once"))
        assert code == 0, said
        [run] = world.runs()
        assert run.inputs["attempt"] == "2"
        assert len(list((box.folder / "workers" / "work").glob("box-1-*"))) == 2, "one folder and its lock"
        world.leave_due = True
