"""The language of the scenario tests: a whole bot and a whole local GitHub, over real HTTP, on one virtual clock.

`world.label(issue, "tgs:ready")` is what a person does; `await world.settle()` lets webhooks arrive and the queue run
until nothing is due; `world.bot_said(issue)` reads (and ticks off) the bot's new comments. At the end the world
fails the test on comments nobody read, errors nobody expected, keys that are still due, requests or answers that
GitHub's own description of its API does not know, and answers of the bot that its description does not know.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import aiohttp
import pytest
from aiohttp import web, web_app
from aiohttp.typedefs import Middleware
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from bot.app import Parts, add_routes, open_parts
from bot.app import World as Outside
from bot.domain.attempt import Attempt
from bot.domain.labels import states_shown
from bot.domain.model import InstallationId, IssueKey, Item, RepoId, RepoKey
from bot.domain.repository import RepoRecord
from bot.github.client import open_session
from bot.localhub.actions_model import Run
from bot.localhub.core import Account, Actor, ActorKind, App, Hub, Installation, Repository
from bot.localhub.core import Role as HubRole
from bot.localhub.registry import fresh_key
from bot.localhub.runner import ManualRunner
from bot.settings import Settings
from bot.store.migrate import prepare
from bot.store.replayed import unexplained as replayed
from bot.store.sqlite import create_file
from bot.web.api.problems import problems
from bot.workflows import render_run_workflow
from tests.contract.api_answers import around
from tests.contract.observer import watch
from tests.run_by_hand import RunByHand

T = TypeVar("T")

START = datetime(2026, 11, 2, 9, 0, tzinfo=UTC)
PERMISSIONS = dict.fromkeys(("actions", "checks", "contents", "issues", "pull_requests"), "write") | {
    "statuses": "read"
}
EVENTS = [
    "check_run", "check_suite", "issue_comment", "issues", "label", "pull_request", "pull_request_review", "push",
    "repository", "status", "workflow_job", "workflow_run",
]  # fmt: skip
SECRET = "a webhook secret for one test run"
AUTO_POLICY = "mirror:\n  auto_ready: true\nagent:\n  adapter: scripted\nallow_unisolated: true\n"
MAX_ROUNDS = 400


class FakeClock:
    """A clock that moves only when told to."""

    def __init__(self, start: datetime = START) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> None:
        self._now += by


class CountingIds:
    """Ids that repeat from run to run."""

    def __init__(self) -> None:
        self._count = 0

    def new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count:06d}"


@dataclass
class Bot:
    """One process of the bot."""

    parts: Parts
    runner: web.AppRunner
    session: aiohttp.ClientSession

    async def stop(self) -> None:
        await self.runner.cleanup()
        await self.parts.queue.drain(0)
        await self.parts.store.close()
        await self.session.close()
        forget_applications()


@dataclass
class World:
    """Everything in one test."""

    hub: Hub
    clock: FakeClock
    tmp: Path
    app: App
    owner: Account
    maria: Account
    tom: Account
    rita: Account
    repo: Repository
    port: int
    ids: CountingIds = field(default_factory=CountingIds)
    installation: Installation | None = None
    bot: Bot | None = None
    errors: list[tuple[str, BaseException]] = field(default_factory=list)
    expected_errors: bool = False
    database_url: str | None = None
    """The ledger's address; None: an SQLite file."""
    leave_due: bool = False
    before_commit: Callable[[], None] | None = None
    after_commit: Callable[[], None] | None = None
    around_requests: tuple[aiohttp.ClientMiddlewareType, ...] = ()
    """Wrapped around each request of the bot to GitHub."""
    around_answers: tuple[Middleware, ...] = ()
    """Wrapped around each answer of the bot."""
    _read: set[int] = field(default_factory=set)
    _runs: dict[int, RunByHand] = field(default_factory=dict)
    http: aiohttp.ClientSession | None = None
    off_description: list[str] = field(default_factory=list)
    """What the bot sent or the local GitHub answered that GitHub's description of its API does not know, and what the
    bot answered that its own description does not know."""

    # --- the bot -----------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self, **changes: Any) -> Settings:
        values: dict[str, Any] = {
            "app_id": self.app.id,
            "private_key": self.app.private_key_pem,
            "webhook_secret": SECRET,
            "github_api_url": self.hub.api_url,
            "github_graphql_url": self.hub.graphql_url,
            "github_url": self.hub.html_url,
            "oidc_issuer": self.hub.oidc_issuer,
            "data_dir": self.tmp / "data",
            "port": self.port,
            "public_url": self.url,
            "allowed_accounts": str(self.owner.id),
            "write_spacing_seconds": 0,
        }
        if self.database_url is not None:
            values["database_url"] = self.database_url
        return Settings(**(values | changes))

    async def sleep(self, seconds: float) -> None:
        """The bot's waiting between retries costs virtual time only."""
        self.clock.advance(timedelta(seconds=seconds))
        await asyncio.sleep(0)

    async def start_bot(self, **changes: Any) -> None:
        if self.database_url is None:
            put_ledger(self.tmp / "data" / "tgs.db")
        session = open_session(self.around_requests)
        outside = Outside(
            clock=self.clock,
            ids=self.ids,
            sleep=self.sleep,
            chance=lambda: 0.5,
            before_commit=self.before_commit,
            after_commit=self.after_commit,
        )
        try:
            parts = await open_parts(self.settings(**changes), session, outside)
        except BaseException:
            await session.close()
            raise
        app = web.Application(middlewares=[around(self.off_description), *self.around_answers, problems])
        add_routes(app, parts, session)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        self.bot = Bot(parts, runner, session)
        await parts.queue.load()
        await self.sweep()

    async def stop_bot(self) -> None:
        if self.bot is not None:
            bot, self.bot = self.bot, None
            await bot.stop()

    async def restart_bot(self) -> None:
        await self.stop_bot()
        await self.start_bot()

    @property
    def parts(self) -> Parts:
        assert self.bot is not None
        return self.bot.parts

    async def sweep(self) -> None:
        with contextlib.suppress(Exception):
            await self.parts.engine.sweep.once()

    async def handle(self, key: str) -> Any:
        try:
            return await self.parts.engine.handle(key)
        except Exception as error:
            self.errors.append((key, error))
            raise

    async def settle(self) -> None:
        """Webhooks arrive, keys are looked at, until nothing is due at this moment."""
        for _ in range(MAX_ROUNDS):
            await self.hub.settle()
            await self.parts.router.route_new()
            ran = await self.parts.queue.step(self.handle)
            if ran is None:
                await self.hub.settle()
                # A look at the ledger itself; it also takes a moment, if somebody else runs a key just now.
                if not await self.parts.router.route_all() and await self.parts.queue.quiet():
                    return
        raise AssertionError("the world does not come to rest")

    async def meanwhile(self, call: Coroutine[Any, Any, T]) -> T:
        """The outcome of a call that waits for the bot, while the bot works."""
        task = asyncio.create_task(call)
        while not task.done():
            await self.settle()
            await asyncio.wait([task], timeout=0.005)
        await self.settle()
        return task.result()

    async def after(self, by: timedelta) -> None:
        """Time passes; whatever becomes due on the way is done at its time."""
        end = self.clock.now() + by
        await self.settle()
        while True:
            due = await self.parts.queue.next_at()
            if due is None or due > end:
                break
            self.clock.advance(max(due - self.clock.now(), timedelta(milliseconds=1)))
            await self.settle()
        self.clock.advance(max(end - self.clock.now(), timedelta(0)))
        await self.settle()

    async def polls(self, by: timedelta) -> None:
        """Time passes as `after`, and the bot sweeps when it would by itself."""
        end = self.clock.now() + by
        while self.clock.now() < end:
            pause = await self.parts.engine.sweep.tick()
            await self.settle()
            await self.after(min(max(pause, timedelta(seconds=1)), end - self.clock.now()))

    # --- people ------------------------------------------------------------------------------------

    def as_(self, who: Account) -> Actor:
        return Actor(ActorKind.USER, who)

    async def install(self) -> None:
        self.installation = self.hub.install(self.app, self.owner, [self.repo], by=self.owner)
        await self.settle()

    def issue(
        self,
        title: str = "Add a greeting",
        body: str = "It should say hello.",
        *,
        by: Account | None = None,
        labels: list[str] | None = None,
    ) -> int:
        actor = self.as_(by or self.maria)
        return self.hub.issues.open(self.repo, title, body, actor=actor, labels=labels or []).number

    def record(self, number: int) -> Any:
        return self.repo.issues[number]

    def label(self, number: int, name: str, *, by: Account | None = None) -> None:
        self.hub.labels.add(self.record(number), [name], self.as_(by or self.maria))

    def unlabel(self, number: int, name: str, *, by: Account | None = None) -> None:
        self.hub.labels.remove(self.record(number), name, self.as_(by or self.maria))

    def comment(self, number: int, text: str, *, by: Account | None = None) -> int:
        return self.hub.comments.create(self.record(number), text, self.as_(by or self.maria)).id

    def close(self, number: int, *, by: Account | None = None, reason: str = "completed") -> None:
        self.hub.issues.set_state(self.record(number), "closed", self.as_(by or self.maria), reason=reason)

    def reopen(self, number: int, *, by: Account | None = None) -> None:
        self.hub.issues.set_state(self.record(number), "open", self.as_(by or self.maria))

    def edit(self, number: int, *, by: Account, title: str | None = None, body: str | None = None) -> None:
        self.hub.issues.edit(self.record(number), self.as_(by), title=title, body=body)

    def push(self, files: Mapping[str, str | None], *, by: Account | None = None, branch: str | None = None) -> str:
        return self.hub.git.commit(self.repo, files, by=by or self.maria, branch=branch)

    def thought(self, hash_: str, title: str, *, front: str = "", by: Account | None = None) -> str:
        """Commit a thought; its folder."""
        folder = f"tgs/thoughts/{hash_}-{title}"
        matter = f"---\n{front}\n---\n" if front else ""
        self.push(
            {f"{folder}/research.md": "# Research\n", f"{folder}/plan.md": f"{matter}# Plan for {title}\n"}, by=by
        )
        return folder

    def ci(self, sha: str, state: str = "success", context: str = "tests") -> None:
        """The repository's CI says something about a commit."""
        self.hub.checks.set_status(self.repo, sha, state, context, self.maria)

    # --- what is seen ------------------------------------------------------------------------------

    def labels(self, number: int) -> set[str]:
        return {label.name for label in self.record(number).labels}

    def state(self, number: int) -> str | None:
        """The one state label, without its prefix; fails when there are several."""
        shown = states_shown(self.labels(number))
        assert len(shown) <= 1, f"#{number} shows {shown}"
        return shown[0].value if shown else None

    def comments(self, number: int) -> list[Any]:
        return [c for c in self.record(number).comments if c.user is self.app.bot]

    def status(self, number: int) -> str:
        """The one status comment."""
        found = [str(c.body) for c in self.comments(number) if "<!-- tgs:status -->" in c.body]
        assert len(found) == 1, f"{len(found)} status comments on #{number}"
        return found[0]

    def bot_said(self, number: int) -> list[str]:
        """The bot's comments that were not read before, without the status comment."""
        fresh = [c for c in self.comments(number) if c.id not in self._read and "<!-- tgs:status -->" not in c.body]
        self._read.update(c.id for c in fresh)
        return [c.body for c in fresh]

    def reactions(self, comment_id: int) -> set[str]:
        for issue in self.repo.issues.values():
            for comment in issue.comments:
                if comment.id == comment_id:
                    return {r.content for r in comment.reactions if r.user is self.app.bot}
        raise AssertionError(f"no comment {comment_id}")

    def pulls(self) -> list[Any]:
        return self.hub.pulls.all(self.repo)

    def runs(self) -> list[Run]:
        return [r for r in self.hub.actions.runs_of(self.repo) if r.workflow.path.endswith("tgs-server-run.yml")]

    def run(self, index: int = -1) -> RunByHand:
        """The newest dispatched run (or the one at `index` in the order of their start)."""
        runs = sorted(self.runs(), key=lambda r: r.id)
        assert runs, "no run was dispatched"
        run = runs[index]
        if run.id not in self._runs:
            self._runs[run.id] = RunByHand(self, run)
        return self._runs[run.id]

    # --- the ledger --------------------------------------------------------------------------------

    @property
    def repo_key(self) -> RepoKey:
        assert self.installation is not None
        return RepoKey(InstallationId(self.installation.id), RepoId(self.repo.id))

    def key(self, number: int) -> IssueKey:
        return IssueKey(self.repo_key.installation, self.repo_key.repo, number)

    async def item(self, number: int) -> Item | None:
        return await self.parts.store.read(lambda tx: tx.item(self.key(number)))

    async def attempts(self, number: int) -> list[Attempt]:
        return await self.parts.store.read(lambda tx: tx.attempts(self.key(number)))

    async def repo_record(self) -> RepoRecord:
        found = await self.parts.store.read(lambda tx: tx.repo(self.repo_key))
        assert found is not None
        return found

    # --- the end -----------------------------------------------------------------------------------

    async def check(self) -> None:
        """Nothing unread, nothing failed, nothing due."""
        if not self.expected_errors:
            assert not self.errors, f"unexpected errors: {self.errors}"
        assert not self.off_description, "\n".join(sorted(set(self.off_description)))
        if self.bot is not None:
            unexplained = await self.parts.store.read(lambda tx: replayed(tx.connection))
            assert not unexplained, f"stored otherwise than its history says: {unexplained}"
        record = getattr(self.repo, "issues", {})
        for number in record:
            left = self.bot_said(number)
            assert not left, f"unread comments of the bot on #{number}: {left}"
        if self.bot is not None and not self.leave_due:
            assert await self.parts.queue.quiet(), "keys are still due"


PORTS = range(12_000, 32_000)
"""Below what any system gives to outgoing connections: nothing else takes a port between two starts of a bot."""

_turns = itertools.count(os.getpid() * 131)
"""Processes that test at once begin at different places."""


def free_port() -> int:
    for _ in PORTS:
        port = PORTS[next(_turns) % len(PORTS)]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("all ports are taken")


CI = """\
name: ci
on: [push, pull_request]
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - run: "true"
"""


@asynccontextmanager
async def _watched() -> AsyncIterator[list[str]]:
    """Every request to the local GitHub and every answer of it is held against GitHub's description."""
    with pytest.MonkeyPatch.context() as patch:
        yield watch(patch)


FRESH_DATABASE: Callable[[], str] | None = None
"""Gives every world a database of its own, where the tests are to run on another one than SQLite."""

DROP_DATABASE: Callable[[str], None] | None = None
"""Takes it away at the end of the world."""


def forget_applications() -> None:
    """aiohttp remembers the handlers of a thousand applications of a process, and with them every world ever built."""
    web_app._cached_build_middleware.cache_clear()


@cache
def migrated() -> bytes:
    """A new ledger as the migrations leave it; copying it spares each world forty milliseconds."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "tgs.db"
        prepare(f"sqlite:///{file.as_posix()}", FakeClock())
        return file.read_bytes()


def put_ledger(file: Path) -> None:
    """A migrated ledger, where there is none yet."""
    if not file.exists():
        create_file(file)
        file.write_bytes(migrated())


@cache
def app_key() -> RSAPrivateKey:
    """One key for all worlds: making one takes a tenth of a second."""
    return fresh_key()


@asynccontextmanager
async def new_world(
    tmp: Path,
    *,
    policy: str | None = None,
    files: Mapping[str, str] | None = None,
    installed: bool = True,
    bare: bool = False,
    private: bool = True,
    database_url: str | None = None,
) -> AsyncIterator[World]:
    """A repository with people, an App and a bot. `bare` leaves out workflow file and environments."""
    clock = FakeClock()
    port = free_port()
    async with Hub(root=tmp / "hub", clock=clock.now) as hub, _watched() as off_description:
        hub.actions.runner = ManualRunner(hub)
        owner = hub.create_user("olga")
        maria, tom, rita = (hub.create_user(name) for name in ("maria", "tom", "rita"))
        content: dict[str, str] = {"README.md": "# Greeter\n", "hello.py": "print('hi')\n"}
        if not bare:
            content[".github/workflows/tgs-server-run.yml"] = render_run_workflow(
                f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}/dist/tgs_bot-0.1.0-py3-none-any.whl", "0" * 64
            )
        if policy is not None:
            content[".tgs/policy.yml"] = policy
        repo = hub.create_repo(
            owner,
            "greeter",
            private=private,
            files=content | dict(files or {}),
            roles={"maria": HubRole.WRITE, "tom": HubRole.TRIAGE, "rita": HubRole.READ},
        )
        if not bare:
            hub.actions.environment(repo, "tgs-agent")
            hub.actions.environment(repo, "tgs-publish")
        app = hub.create_app(owner, "tgs", PERMISSIONS, EVENTS, f"http://127.0.0.1:{port}/webhook", SECRET, app_key())
        world = World(
            hub, clock, tmp, app, owner, maria, tom, rita, repo, port, off_description=off_description,
            database_url=database_url or (FRESH_DATABASE() if FRESH_DATABASE is not None else None),
        )  # fmt: skip
        async with aiohttp.ClientSession() as session:
            world.http = session
            await world.start_bot()
            try:
                if installed:
                    await world.install()
                yield world
                await world.check()
            finally:
                await world.stop_bot()
                if DROP_DATABASE is not None and database_url is None and world.database_url is not None:
                    DROP_DATABASE(world.database_url)
