"""A repository, a git server and a stand-in for the bot's API, all real and on loopback, for tests of the worker."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import SecretStr

from bot.domain.bundle import ContextBundle

THOUGHT = "tgs/thoughts/abc123-add-search"
BRANCH = "tgs/7-add-search"
READ_TOKEN = "read-token-of-the-job-0123456789"
PUSH_TOKEN = "ghs_pushtoken0123456789abcdefghijklmnop.qrstuv-wxyz"
ATTEMPT_TOKEN = "attempt-token-0123456789abcdef"
HANDOFF = "handoff-code-0123456789"
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
LIMIT = 20.0  # seconds that anything in these tests may take before it counts as hung

GIT_ENV = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
    "GIT_CONFIG_KEY_1": "core.protectNTFS",
    "GIT_CONFIG_VALUE_1": "false",
    "GIT_AUTHOR_NAME": "Mallory",
    "GIT_AUTHOR_EMAIL": "mallory@example.org",
    "GIT_COMMITTER_NAME": "Mallory",
    "GIT_COMMITTER_EMAIL": "mallory@example.org",
    "GIT_AUTHOR_DATE": "@1750000000 +0000",
    "GIT_COMMITTER_DATE": "@1750000000 +0000",
}


def git(directory: Path, *args: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> str:
    """Runs git as a hostile agent could: with any configuration it likes."""
    done = subprocess.run(
        ["git", *args], cwd=directory, env={**GIT_ENV, **(env or {})}, input=stdin, capture_output=True, check=False
    )
    assert done.returncode == 0, f"git {args}: {done.stderr.decode()}"
    return done.stdout.decode("utf-8", "replace").strip()


def write(directory: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


BASE_FILES: Mapping[str, str | bytes] = {
    "README.md": "# Project\n",
    "src/app.py": "print('hello')\n",
    "tests/test_app.py": "def test_app():\n    assert True\n",
    ".github/workflows/ci.yml": "on: push\n",
    f"{THOUGHT}/plan.md": "# Plan\n",
    f"{THOUGHT}/research.md": "# Research\n",
}


@dataclass
class Origin:
    """The repository as the git server holds it, and a checkout of its base as the agent's job has it."""

    folder: Path
    base: str

    @property
    def bare(self) -> Path:
        return self.folder / "acme" / "shop.git"

    @property
    def source(self) -> Path:
        return self.folder / "source"

    def branch_sha(self, branch: str = BRANCH) -> str | None:
        listing = git(self.bare, "for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
        return listing or None


def make_origin(folder: Path, files: Mapping[str, str | bytes] = BASE_FILES) -> Origin:
    source = folder / "source"
    source.mkdir(parents=True)
    git(source, "init", "-q", "-b", "main")
    write(source, files)
    git(source, "add", "-A")
    git(source, "commit", "-q", "-m", "Base")
    bare = folder / "acme" / "shop.git"
    bare.parent.mkdir(parents=True)
    git(folder, "clone", "-q", "--bare", str(source), str(bare))
    git(bare, "config", "http.receivepack", "true")
    return Origin(folder, git(source, "rev-parse", "HEAD"))


def context(origin: Origin, clone_url: str = "http://127.0.0.1/acme/shop.git", **changes: Any) -> ContextBundle:
    fields: dict[str, Any] = {
        "attempt": "att-1",
        "number": 1,
        "fence": 3,
        "issue": 7,
        "title": "Add search",
        "body": "Please.",
        "thought": {
            "dir": THOUGHT,
            "plan_path": f"{THOUGHT}/plan.md",
            "research_path": f"{THOUGHT}/research.md",
            "plan_sha": "1" * 40,
        },
        "repository": {"full_name": "acme/shop", "clone_url": clone_url, "default_branch": "main"},
        "base_sha": origin.base,
        "branch": BRANCH,
        "agent": {"adapter": "command", "command": ["sh", "agent.sh"]},
        "identity": {"name": "tgs[bot]", "email": "42+tgs[bot]@users.noreply.github.com"},
        "allow_unisolated": True,
    }
    return ContextBundle.model_validate(fields | changes)


@dataclass
class Call:
    """One request the stand-in got."""

    name: str
    body: Any
    bearer: str
    attempt: str = ""


@dataclass
class FakeBot:
    """Answers as the bot would; `answers` overrides by name: a value, or an exception-like (status, code)."""

    bundle: ContextBundle
    git_root: Path
    url: str = ""
    heartbeat_seconds: float = 60.0
    calls: list[Call] = field(default_factory=list)
    errors: dict[str, tuple[int, str]] = field(default_factory=dict)
    beat: dict[str, Any] = field(default_factory=dict)
    oidc_count: int = 0
    handoff: str = HANDOFF
    handoff_used: bool = False
    token: str = ""
    git_tokens: list[str] = field(default_factory=list)
    push_token: str = PUSH_TOKEN
    repo_url: str = ""
    wheel: bytes = b""
    uploaded: bytes = b""
    activation: dict[str, Any] = field(default_factory=dict)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def named(self, name: str) -> list[Call]:
        return [c for c in self.calls if c.name == name]

    async def saw(self, name: str, times: int = 1) -> None:
        async with asyncio.timeout(LIMIT), self.changed:
            await self.changed.wait_for(lambda: len(self.named(name)) >= times)

    async def _api(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        body = await _body(request)
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.calls.append(Call(name, body, bearer, request.match_info.get("id", "")))
        async with self.changed:
            self.changed.notify_all()
        if name in self.errors:
            status, code = self.errors[name]
            problem = {"type": f"https://tgs.example/problems/{code}", "title": code, "detail": "no", "code": code}
            return web.json_response(problem, status=status, content_type="application/problem+json")
        return self._answer(name, body)

    def _answer(self, name: str, body: Any) -> web.Response:
        context_json = self.bundle.model_dump(mode="json")
        if name == "activate":
            self.handoff = body["handoff"]
            return web.json_response(
                {"attempt": self.bundle.attempt, "number": 1, "fence": self.bundle.fence,
                 "lease_until": "2026-01-01T00:00:00Z", "issue": self.bundle.issue} | self.activation
            )  # fmt: skip
        if name == "handoff":
            if self.handoff_used or body["code"] != self.handoff:
                return web.json_response({"code": "lost_claim", "detail": "used"}, status=409)
            self.handoff_used = True
            self.token = body["token"]
            return web.json_response({"context": context_json, "heartbeat_seconds": self.heartbeat_seconds})
        if name == "heartbeat":
            reply = {"lease_until": "2026-01-01T00:00:00Z", "cancel": False, "steer": [], "drain": False} | self.beat
            self.beat.pop("steer", None)
            return web.json_response(reply)
        if name == "context":
            return web.json_response(context_json)
        if name == "bundle" and body is not None:
            return web.json_response({"sha256": hashlib.sha256(body).hexdigest(), "size": len(body)})
        if name == "bundle":
            return web.Response(body=self.uploaded, content_type="application/octet-stream")
        if name == "publish-token":
            return web.json_response(
                {"token": self.push_token, "expires_at": "2026-01-01T00:00:00Z", "branch": self.bundle.branch,
                 "repo_url": self.repo_url}
            )  # fmt: skip
        return web.json_response({})

    async def _oidc(self, request: web.Request) -> web.Response:
        self.oidc_count += 1
        if request.headers.get("Authorization") != "Bearer runner-secret":
            return web.Response(status=401)
        return web.json_response({"value": f"oidc:{request.query['audience']}:{self.oidc_count}"})

    async def _dist(self, _: web.Request) -> web.Response:
        return web.Response(body=self.wheel)

    async def _git(self, request: web.Request) -> web.Response:
        """`git http-backend`, with the tokens as the only way in; only the push token may write."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        token = base64.b64decode(given).decode().partition(":")[2] if scheme == "Basic" else ""
        writes = "git-receive-pack" in request.path_qs
        if token not in ({PUSH_TOKEN} if writes else {PUSH_TOKEN, READ_TOKEN}):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="git"'})
        self.git_tokens.append(token)
        env = {
            **GIT_ENV,
            "GIT_PROJECT_ROOT": str(self.git_root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": "/" + request.match_info["path"],
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REMOTE_USER": "x",
            "REMOTE_ADDR": "127.0.0.1",
        }
        process = await asyncio.create_subprocess_exec(
            "git", "http-backend", env=env, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        try:
            out, _ = await process.communicate(await request.read())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        head, _, payload = out.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, headers=headers, body=payload)


async def _body(request: web.Request) -> Any:
    if not request.can_read_body:
        return None
    return await request.read() if request.method == "PUT" else await request.json()


@asynccontextmanager
async def fake_bot(origin: Origin, **changes: Any) -> AsyncIterator[FakeBot]:
    bot = FakeBot(context(origin), origin.folder)
    app = web.Application(client_max_size=50_000_000)
    app.router.add_route("POST", "/api/v1/runs/{name}", bot._api)
    app.router.add_route("*", "/api/v1/attempts/{id}/{name}", bot._api)
    app.router.add_get("/oidc", bot._oidc)
    app.router.add_get("/dist/{file}", bot._dist)
    app.router.add_route("*", "/git/{path:.*}", bot._git)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    bot.url = f"http://127.0.0.1:{port}"
    bot.repo_url = f"{bot.url}/git/acme/shop.git"
    bot.bundle = context(origin, f"{bot.url}/git/acme/shop.git", **changes)
    try:
        yield bot
    finally:
        await runner.cleanup()


async def secret(value: str = ATTEMPT_TOKEN) -> SecretStr:
    return SecretStr(value)
