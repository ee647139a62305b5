"""From push to closed issue: real git over HTTP, real processes, checks, merge."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from bot.localhub.core import Account, Actor, ActorKind, App, Hub, Installation, Json, Repository

CI = """\
name: CI
on: [push, pull_request]
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {python-version: "3.11"}
      - run: python -m unittest
"""
PERMISSIONS = {
    "contents": "write", "pull_requests": "write", "issues": "write", "actions": "write",
    "checks": "write", "statuses": "write",
}  # fmt: skip
EVENTS = [
    "push", "create", "delete", "pull_request", "check_run", "check_suite", "status", "workflow_run",
    "workflow_job", "issues",
]  # fmt: skip


@dataclass
class World:
    hub: Hub
    owner: Account
    repo: Repository
    app: App
    installation: Installation
    http: aiohttp.ClientSession
    received: list[tuple[str, Json]] = field(default_factory=list)

    def token(self, permissions: Mapping[str, str] | None = None) -> str:
        wanted = permissions or PERMISSIONS
        return self.hub.tokens.for_installation(self.installation, [self.repo.id], wanted).value

    async def call(self, method: str, path: str, body: object = None, *, token: str | None = None) -> tuple[int, Json]:
        async with self.http.request(
            method,
            f"{self.hub.api_url}/repos/{self.repo.full_name}{path}",
            json=body,
            headers={"Authorization": f"Bearer {token or self.token()}"},
            allow_redirects=False,
        ) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text else {}

    def actions(self, event: str) -> list[object]:
        return [payload.get("action") for name, payload in self.received if name == event]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    received: list[tuple[str, Json]] = []

    async def hook(request: web.Request) -> web.Response:
        received.append((request.headers["X-GitHub-Event"], await request.json()))
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/hook", hook)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with Hub(root=tmp_path) as hub, aiohttp.ClientSession() as http:
        owner = hub.create_user("ada")
        bot = hub.create_app(owner, "tgs", PERMISSIONS, EVENTS, f"http://127.0.0.1:{port}/hook", "s")
        files = {".github/workflows/ci.yml": CI, "test_x.py": "import unittest\n", "README.md": "hi\n"}
        repo = hub.create_repo(owner, "demo", files=files)
        installation = hub.install(bot, owner, [repo])
        yield World(hub, owner, repo, bot, installation, http, received)
    await runner.cleanup()


async def git(cwd: Path, *args: str) -> str:
    """A git of a person's machine."""
    env = {"HOME": str(cwd), "PATH": "/usr/bin:/bin:/usr/local/bin", "GIT_TERMINAL_PROMPT": "0",
           "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "a@x", "GIT_COMMITTER_NAME": "Ada",
           "GIT_COMMITTER_EMAIL": "a@x", "GIT_CONFIG_NOSYSTEM": "1"}  # fmt: skip
    done = await asyncio.to_thread(subprocess.run, ["git", *args], cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"git {args}: {done.stderr}")
    return done.stdout + done.stderr


def clone_url(world: World, token: str, login: str = "x-access-token") -> str:
    return f"{world.hub.html_url}/ada/demo.git".replace("://", f"://{login}:{token}@")


async def test_push_starts_ci_and_a_green_pull_request_merges_and_closes_its_issue(
    world: World, tmp_path: Path
) -> None:
    hub, repo = world.hub, world.repo
    issue = hub.issues.open(repo, "Broken", actor=Actor(ActorKind.USER, world.owner))
    work = tmp_path / "work"
    work.mkdir()
    await git(work, "clone", "-q", clone_url(world, world.token()), ".")
    (work / "test_x.py").write_text(
        "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): self.assertTrue(True)\n"
    )
    await git(work, "checkout", "-qb", "tgs/1-fix")
    await git(work, "commit", "-qam", "Fix it")
    await git(work, "push", "-q", "origin", "tgs/1-fix")
    sha = (await git(work, "rev-parse", "HEAD")).strip()
    status, pull = await world.call(
        "POST", "/pulls", {"title": "Fix", "head": "tgs/1-fix", "base": "main", "body": f"Closes #{issue.number}"}
    )
    assert status == 201
    assert (pull["mergeable"], pull["mergeable_state"]) == (None, "unknown")
    await hub.settle()
    status, checks = await world.call("GET", "/commits/tgs/1-fix/check-runs?filter=all")
    assert [(c["name"], c["conclusion"]) for c in checks["check_runs"]] == [  # type: ignore[union-attr, index]
        ("test", "success"),
        ("test", "success"),
    ]
    await world.call("GET", "/pulls/2")
    status, pull = await world.call("GET", "/pulls/2")
    assert (pull["mergeable"], pull["mergeable_state"]) == (True, "clean")
    status, answer = await world.call("PUT", "/pulls/2/merge", {"sha": "0" * 40})
    assert (status, answer["message"]) == (
        409,
        "Head branch was modified. Review and try the merge again.",
    )
    status, answer = await world.call("PUT", "/pulls/2/merge", {"sha": sha})
    assert (status, answer["merged"]) == (200, True)
    assert issue.state == "closed"
    await hub.settle()
    assert world.actions("pull_request") == ["opened", "closed"]
    assert world.actions("issues").count("closed") == 1
    assert {"created", "completed"} <= set(world.actions("check_run"))
    assert set(world.actions("workflow_run")) == {"requested", "in_progress", "completed"}
    main = next(p for n, p in world.received if n == "push" and p["ref"] == "refs/heads/main")
    assert main["after"] == answer["sha"]
