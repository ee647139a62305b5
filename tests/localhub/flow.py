"""A repository with people, an App and a webhook receiver, for tests of git, pulls and Actions."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from bot.localhub.actions_model import Conclusion, Job, Run
from bot.localhub.core import Account, Actor, ActorKind, App, Hub, Installation, Repository, Role
from bot.localhub.runner import ManualRunner
from tests.contract import webhooks
from tests.contract.validator import Validator

PERMISSIONS = dict.fromkeys(("actions", "checks", "contents", "issues", "pull_requests", "statuses"), "write")
EVENTS = [
    "push",
    "create",
    "delete",
    "pull_request",
    "pull_request_review",
    "check_run",
    "check_suite",
    "status",
    "workflow_run",
    "workflow_job",
    "workflow_dispatch",
    "issues",
]

UNDESCRIBED = frozenset({"create", "delete", "workflow_dispatch"})
"""Events of which the kept part of the description has no schema."""


@dataclass
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]


@dataclass
class Flow:
    hub: Hub
    owner: Account
    writer: Account
    reader: Account
    repo: Repository
    app: App
    installation: Installation
    http: aiohttp.ClientSession
    tmp: Path
    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    validator: Validator = field(default_factory=lambda: Validator("/api/v3", headers=False))
    violations: list[str] = field(default_factory=list)
    """What GitHub's description of its API has against our answers and webhooks."""

    def token(self, **permissions: str) -> str:
        """An installation token, narrowed when permissions are named."""
        wanted = permissions or PERMISSIONS
        return self.hub.tokens.for_installation(self.installation, [self.repo.id], wanted).value

    def as_(self, account: Account) -> Actor:
        return Actor(ActorKind.USER, account)

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """A REST call below `/repos/{owner}/{repo}` (or a whole URL); redirects are not followed."""
        url = path if path.startswith("http") else f"{self.hub.api_url}/repos/{self.repo.full_name}{path}"
        use = self.token() if token is None else token
        sent = {**({"Authorization": f"Bearer {use}"} if use else {}), **(headers or {})}
        async with self.http.request(method, url, json=body, headers=sent, allow_redirects=False) as answer:
            data = await answer.read()
            parsed: Any = data
            if "json" in answer.headers.get("Content-Type", "") and data:
                parsed = await answer.json()
            if answer.status < 400 and answer.url.path.startswith("/api/v3"):
                query = list(answer.url.query.items())
                exchange = (method, answer.url.path, query, sent, body, answer.status, parsed if data else None)
                found = self.validator.check(*exchange)
                found = [x for x in found if "concurrency_groups" not in x]  # not in the kept part
                # The prose beside this parameter allows ranges such as `>=T`, its schema forgets them.
                self.violations += [x for x in found if "query parameter created" not in x]
            return Answer(answer.status, parsed, dict(answer.headers))

    async def events(self, name: str) -> list[dict[str, Any]]:
        """The webhooks of one event, after everything has settled, in the order they were caused."""
        await self.hub.settle()
        return [payload for event, payload in self.received if event == name]

    async def actions(self, name: str) -> list[str]:
        return [str(payload["action"]) for payload in await self.events(name)]

    def url(self, token: str = "", login: str = "x-access-token") -> str:
        """The clone address, with credentials when there is a token."""
        plain = f"{self.hub.html_url}/{self.repo.full_name}.git"
        return plain.replace("://", f"://{login}:{token}@") if token else plain

    def commit(self, files: Mapping[str, str | None], *, branch: str = "main", message: str = "Change") -> str:
        """A person's push, without a clone."""
        return self.hub.git.commit(self.repo, files, by=self.owner, branch=branch, message=message)

    def run(self) -> Run:
        """The newest run."""
        return self.hub.actions.runs_of(self.repo)[0]

    async def finished(self, run: Run) -> Conclusion:
        """Wait for everything to end; how the run ended."""
        await self.hub.settle()
        assert run.conclusion is not None
        return run.conclusion


def log_of(job: Job) -> str:
    return "\n".join(line for step in job.steps for line in step.log)


async def git(cwd: Path, *args: str, ok: bool = True) -> str:
    """The git of a person's machine; its whole output. With `ok=False` it has to fail."""
    env = {
        "HOME": str(cwd),
        "PATH": os.environ["PATH"],
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.com",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.com",
    }
    done = await asyncio.to_thread(
        subprocess.run, ["git", *args], cwd=cwd, env=env, capture_output=True, text=True, timeout=60
    )
    output = str(done.stdout) + str(done.stderr)
    assert (done.returncode == 0) is ok, f"git {' '.join(args)}: {done.returncode}\n{output}"
    return output


@asynccontextmanager
async def flow(tmp: Path, *, private: bool = False, files: Mapping[str, str] | None = None) -> AsyncIterator[Flow]:
    received: list[tuple[str, dict[str, Any]]] = []
    violations: list[str] = []

    async def take(request: web.Request) -> web.Response:
        event, payload = request.headers["X-GitHub-Event"], await request.json()
        received.append((event, payload))
        if event not in UNDESCRIBED:
            violations.extend(webhooks.check(event, payload, request.headers))
        return web.Response(status=202)

    server = web.Application()
    server.router.add_post("/hook", take)
    runner = web.AppRunner(server, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        async with Hub(root=tmp / "hub") as hub, aiohttp.ClientSession() as http:
            owner = hub.create_user("ada")
            writer, reader = hub.create_user("wim"), hub.create_user("rob")
            app = hub.create_app(owner, "tgs", PERMISSIONS, EVENTS, url, "s")
            given = {"README.md": "# Demo\n"} if files is None else files
            roles = {"wim": Role.WRITE, "rob": Role.READ}
            repo = hub.create_repo(owner, "demo", private=private, files=given, roles=roles)
            installation = hub.install(app, owner, [repo])
            made = Flow(hub, owner, writer, reader, repo, app, installation, http, tmp, received)
            made.violations = violations
            yield made
            await hub.settle()
            if violations:
                pytest.fail("not as GitHub describes it:\n" + "\n".join(sorted(set(violations))), pytrace=False)
    finally:
        await runner.cleanup()


def by_hand(world: Flow) -> ManualRunner:
    """Let the test decide what happens to jobs."""
    runner = ManualRunner(world.hub)
    world.hub.actions.runner = runner
    return runner
