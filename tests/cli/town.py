"""A local GitHub in this process, and the bot beside it as a real `tgs serve` process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bot.domain.labels import states_shown
from bot.localhub.core import Account, Actor, ActorKind, App, Hub, Installation, Repository
from bot.localhub.core import Role as HubRole
from bot.localhub.runner import ManualRunner
from bot.workflows import render_run_workflow
from tests.world import EVENTS, PERMISSIONS, free_port

TGS = [sys.executable, "-c", "from bot.cli.main import main; main()"]
"""The console script's own line, so that the tests need no installed script."""
SECRET = "c0ffee-a-webhook-secret-for-one-test"
START_SECONDS = 30.0
"""A start takes about two seconds on an idle machine."""
LOOK_SECONDS = 0.02
"""Between two looks at the labels: a look costs nothing."""
STOP_SECONDS = 10.0
"""An end takes well below a second when nothing is under way."""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


@dataclass
class Server:
    """A running `tgs serve`; `logs` are the lines of standard error so far."""

    process: Process
    url: str = ""
    logs: list[str] = field(default_factory=list)

    async def until(self, event: str) -> dict[str, Any]:
        """Reads the log until the event. Fails when the process ends before."""
        assert self.process.stderr is not None
        async with asyncio.timeout(START_SECONDS):
            while line := (await self.process.stderr.readline()).decode():
                self.logs.append(line)
                if line.startswith("{") and (entry := json.loads(line))["event"] == event:
                    return dict(entry)
        raise AssertionError(f"ended without {event}: {''.join(self.logs)}")

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            return answer.status, await answer.text()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """The exit code. Fails when it takes longer than `STOP_SECONDS`."""
        self.process.send_signal(number)
        assert self.process.stderr is not None
        async with asyncio.timeout(STOP_SECONDS):
            self.logs += (await self.process.stderr.read()).decode().splitlines(keepends=True)
            return await self.process.wait()


@dataclass
class Town:
    """People, a repository, an App, and where the bot will listen."""

    hub: Hub
    tmp: Path
    owner: Account
    maria: Account
    stranger: Account
    repo: Repository
    app: App
    port: int
    installation: Installation | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def maria_acts(self) -> Actor:
        return Actor(ActorKind.USER, self.maria)

    @property
    def database(self) -> Path:
        return self.tmp / "data" / "tgs.db"

    def install(self) -> None:
        self.installation = self.hub.install(self.app, self.owner, [self.repo], by=self.owner)

    def ready_issue(self, title: str) -> int:
        issue = self.hub.issues.open(self.repo, title, "Please.", actor=self.maria_acts)
        self.hub.labels.add(issue, ["tgs:ready"], self.maria_acts)
        return issue.number

    def server_environment(self) -> dict[str, str]:
        """All that `tgs serve` needs."""
        return plain_environment(self.tmp) | {
            "TGS_APP_ID": str(self.app.id),
            "TGS_PRIVATE_KEY": self.app.private_key_pem,
            "TGS_WEBHOOK_SECRET": SECRET,
            "TGS_GITHUB_API_URL": self.hub.api_url,
            "TGS_GITHUB_GRAPHQL_URL": self.hub.graphql_url,
            "TGS_GITHUB_URL": self.hub.html_url,
            "TGS_OIDC_ISSUER": self.hub.oidc_issuer,
            "TGS_DATA_DIR": str(self.tmp / "data"),
            "TGS_PORT": str(self.port),
            "TGS_PUBLIC_URL": self.url,
            "TGS_ALLOWED_ACCOUNTS": str(self.owner.id),
            "TGS_WRITE_SPACING_SECONDS": "0",
        }

    def client_environment(self, login: str = "maria") -> dict[str, str]:
        """All that a person's command line needs."""
        return plain_environment(self.tmp) | {
            "TGS_SERVER_URL": self.url,
            "GH_TOKEN": self.hub.user_token(login),
            "TGS_GITHUB_API_URL": self.hub.api_url,
        }

    @contextlib.asynccontextmanager
    async def serving(self, **changes: str) -> AsyncIterator[Server]:
        """A running server that listens."""
        environment = self.server_environment() | changes
        process = await asyncio.create_subprocess_exec(*TGS, "serve", env=environment, stdout=PIPE, stderr=PIPE)
        server = Server(process)
        try:
            listening = await server.until("listening")
            server.url = listening["urls"][0]
            yield server
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def item_states(self) -> dict[int, str]:
        """What the running server says about each item."""
        done = await tgs(
            "server", "backlog", "list", "--repo", self.repo.full_name, "--json", env=self.client_environment()
        )
        return {item["number"]: item["state"] for item in json.loads(done.out)["items"]} if done.code == 0 else {}

    def _shown_states(self) -> dict[int, str]:
        """What the state labels of the issues say."""
        shown = {n: states_shown({x.name for x in issue.labels}) for n, issue in self.repo.issues.items()}
        return {number: states[0].value for number, states in shown.items() if states}

    async def until_states(self, wanted: Mapping[int, str]) -> None:
        """Looks at the issues' labels until they show these states, then asks the server for them by a process."""
        seen: dict[int, str] = {}
        try:
            async with asyncio.timeout(START_SECONDS):
                for _ in range(int(START_SECONDS / LOOK_SECONDS)):
                    if wanted.items() <= self._shown_states().items():
                        break
                    await asyncio.sleep(LOOK_SECONDS)
                while not wanted.items() <= seen.items():
                    seen = await self.item_states()
        except TimeoutError:
            raise AssertionError(f"{seen} instead of {wanted}") from None


def plain_environment(tmp: Path) -> dict[str, str]:
    """An environment that holds no setting of ours."""
    return {"PATH": os.environ["PATH"], "HOME": str(tmp), "LANG": "C.UTF-8", "COLUMNS": "80"}


async def tgs(*args: str, env: Mapping[str, str], cwd: Path | None = None) -> Done:
    """Runs the command with pipes to its end."""
    process = await asyncio.create_subprocess_exec(
        *TGS, *args, env=dict(env), cwd=cwd, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(START_SECONDS):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


@contextlib.asynccontextmanager
async def new_town(tmp: Path) -> AsyncIterator[Town]:
    """A repository that is ready for the bot; nothing is installed and no bot runs yet."""
    port = free_port()
    async with Hub(root=tmp / "hub") as hub:
        hub.actions.runner = ManualRunner(hub)
        owner = hub.create_user("olga")
        maria, stranger = hub.create_user("maria"), hub.create_user("sam")
        url = f"http://127.0.0.1:{port}"
        wheel = f"{url}/dist/tgs_bot-0.1.0-py3-none-any.whl"
        files = {
            "README.md": "# Greeter\n",
            ".github/workflows/tgs-server-run.yml": render_run_workflow(url, wheel, "0" * 64),
            ".tgs/policy.yml": "agent:\n  adapter: scripted\nallow_unisolated: true\n",
        }
        repo = hub.create_repo(owner, "greeter", private=True, files=files, roles={"maria": HubRole.MAINTAIN})
        for name in ("tgs-agent", "tgs-publish"):
            hub.actions.environment(repo, name)
        app = hub.create_app(owner, "tgs", PERMISSIONS, EVENTS, f"{url}/webhook", SECRET)
        yield Town(hub, tmp, owner, maria, stranger, repo, app, port)
