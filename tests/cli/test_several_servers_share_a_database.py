"""Two real `tgs serve` on one PostgreSQL database behind a balancer: one is killed, one is stopped, work goes on.

Every item ends done, with one run and one pull request. More effort plays more rounds with more items.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from bot.localhub.actions_model import Run
from bot.localhub.core import Account, App, Hub, Repository
from tests.cli.town import Server, Town
from tests.databases import PostgresqlServer
from tests.effort import EFFORT, Effort, by_effort
from tests.run_by_hand import RunByHand
from tests.world import free_port

ROUNDS = 4
ITEMS = by_effort(2, 4, 4)
PATIENCE = 120.0
LOOK = 0.1
FRESH = "mint "
POLICY = (
    "agent:\n  adapter: scripted\nallow_unisolated: true\nmax_parallel: 4\nmax_unreviewed_prs: 10\n"
    "budgets:\n  dispatches_per_day: 500\n"
)


class Balancer:
    """Hands each connection to a server that takes it, in turn."""

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self._turn = 0

    @contextlib.asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._one, "127.0.0.1", port)
        try:
            yield
        finally:
            server.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._turn += 1
        for step in range(len(self.ports)):
            with contextlib.suppress(OSError):
                back = await asyncio.open_connection("127.0.0.1", self.ports[(self._turn + step) % len(self.ports)])
                await asyncio.gather(_pipe(reader, back[1]), _pipe(back[0], writer))
                return
        writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while some := await reader.read(65536):
            writer.write(some)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.close()


@dataclass
class Stage:
    """What a run that is played by hand needs of the world around it; nothing steps the bots here."""

    town: Town
    http: aiohttp.ClientSession
    url: str
    _runs: dict[int, RunByHand] = field(default_factory=dict)

    @property
    def hub(self) -> Hub:
        return self.town.hub

    @property
    def repo(self) -> Repository:
        return self.town.repo

    @property
    def app(self) -> App:
        return self.town.app

    @property
    def maria(self) -> Account:
        return self.town.maria

    async def settle(self) -> None:
        """The bots move by themselves."""


class PatientRun(RunByHand):
    """A worker that asks again when a server went away in the middle, as the real one does, each time with a fresh
    identity token: one that was used may have been counted."""

    def oidc(self, job: str, purpose: str, **overrides: object) -> str:
        assert not overrides
        return f"{FRESH}{job} {purpose}"

    async def call(self, method: str, path: str, bearer: str, body: object | None = None) -> tuple[int, Any]:
        async with asyncio.timeout(PATIENCE):
            while True:
                job, _, purpose = bearer.removeprefix(FRESH).partition(" ")
                token = super().oidc(job, purpose) if bearer.startswith(FRESH) else bearer
                with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                    status, found = await super().call(method, path, token, body)
                    if status < 500:
                        return status, found
                await asyncio.sleep(LOOK)


@dataclass
class Cluster:
    """The servers, each on a port of its own."""

    town: Town
    database: str
    ports: list[int]
    stack: contextlib.AsyncExitStack
    servers: dict[int, Server] = field(default_factory=dict)

    async def start(self, port: int) -> None:
        """A server that listens; its log is read on, because a full pipe would stop it, and kept beside its data."""
        changes = {"TGS_PORT": str(port), "TGS_DATABASE_URL": self.database}
        server = await self.stack.enter_async_context(self.town.serving(**changes))
        assert server.process.stderr is not None
        log = asyncio.create_task(server.process.stderr.read())
        self.servers[port] = server

        async def end() -> None:
            if server.process.returncode is None:
                server.process.kill()
            lines = (await log).decode()
            with (self.town.tmp / f"server-{port}.log").open("a") as file:
                file.write(lines)

        self.stack.push_async_callback(end)

    async def kill(self, port: int) -> None:
        self.servers[port].process.kill()
        assert await self.servers[port].process.wait() == -signal.SIGKILL

    async def stop(self, port: int) -> None:
        self.servers[port].process.terminate()
        async with asyncio.timeout(PATIENCE):
            assert await self.servers[port].process.wait() == 0


async def until(what: str, found: Callable[[], Any]) -> Any:
    """What is found, as soon as it is there."""
    deadline = time.monotonic() + PATIENCE
    while not (it := found()):
        assert time.monotonic() < deadline, what
        await asyncio.sleep(LOOK)
    return it


@dataclass
class Work:
    """Items on their way from the label to the merge."""

    stage: Stage
    started: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: list[int] = field(default_factory=list)

    def runs_of(self, number: int) -> list[Run]:
        return [
            run
            for run in self.stage.hub.actions.runs_of(self.stage.repo)
            if run.workflow.path.endswith("tgs-server-run.yml") and run.inputs.get("issue") == str(number)
        ]

    def labels(self, number: int) -> set[str]:
        return {label.name for label in self.stage.repo.issues[number].labels}

    async def one(self, title: str) -> None:
        town = self.stage.town
        number = town.ready_issue(title)
        self.numbers.append(number)
        run = (await until(f"a run of #{number} starts", lambda: self.runs_of(number)))[0]
        by_hand = PatientRun(self.stage, run)  # type: ignore[arg-type]
        await by_hand.start()
        self.started.set()
        sha = await by_hand.publish({f"hello-{number}.txt": "hello\n"})
        town.hub.checks.set_status(town.repo, sha, "success", "tests", town.maria)
        await until(f"#{number} is reviewed", lambda: "tgs:in-review" in self.labels(number))
        town.hub.comments.create(town.repo.issues[number], "/tgs merge", town.maria_acts)
        await until(f"#{number} is done", lambda: "tgs:done" in self.labels(number))


async def while_working(stage: Stage, name: str, disturb: Callable[[], Awaitable[None]]) -> list[int]:
    """Works on some items, and disturbs the servers when the first one is at work."""
    work = Work(stage)
    tasks = [asyncio.create_task(work.one(f"{name} {index}")) for index in range(ITEMS)]
    started = asyncio.create_task(work.started.wait())
    await asyncio.wait({started, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    await disturb()
    await asyncio.gather(*tasks)
    await started
    return work.numbers


@pytest.mark.timeout(600)
async def test_one_may_be_killed_and_one_restarted_while_everything_is_worked_on_once(
    town: Town, postgresql: PostgresqlServer
) -> None:
    town.hub.git.commit(town.repo, {".tgs/policy.yml": POLICY}, by=town.maria)
    ports = [free_port(), free_port()]
    done: list[int] = []
    async with contextlib.AsyncExitStack() as stack:
        cluster = Cluster(town, postgresql.fresh(migrated=False), ports, stack)
        await stack.enter_async_context(Balancer(ports).listening(town.port))
        # Both at once on an empty database: one migrates, the other waits for it.
        await asyncio.gather(*(cluster.start(port) for port in ports))
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)))
        stage = Stage(town, http, town.url)
        town.install()

        async def kill() -> None:
            await cluster.kill(ports[0])
            await cluster.start(ports[0])

        async def restart() -> None:
            for port in ports:
                await cluster.stop(port)
                await cluster.start(port)

        async def both() -> None:
            await kill()
            await cluster.stop(ports.pop())  # the one that was started again goes on alone

        if EFFORT is not Effort.SAMPLE:
            for _ in range(ROUNDS):
                done += await while_working(stage, "While one is killed", kill)
                done += await while_working(stage, "While one after the other is restarted", restart)
        else:
            done += await while_working(stage, "While one is killed and the other one stopped", both)
        work = Work(stage)
        for number in done:
            assert len(work.runs_of(number)) == 1, f"runs of #{number}"
        heads = Counter(pull.head_ref for pull in town.hub.pulls.all(town.repo))
        assert len(heads) == len(done)
        assert set(heads.values()) == {1}
        for port in ports:
            await cluster.stop(port)
