"""Smart HTTP for git: clone, fetch and push through `git http-backend`.

Promise: who may read or push is decided here from the token, before git sees the request; what a
push may touch is decided by the repository's pre-receive hook, inside git's own quarantine, so a
refused push leaves nothing behind. A push is announced once, after git has moved the references.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bot.localhub.actor import Actor, ActorKind
from bot.localhub.git_host import Moved
from bot.localhub.git_objects import git_environment
from bot.localhub.http import ApiError, Reply, Request, Route, Surface
from bot.localhub.model import Repository

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

BACKEND_TIMEOUT_S: Final = 120.0  # a local clone takes seconds; longer means the process hangs
_SERVICES: Final = ("git-upload-pack", "git-receive-pack")


def routes(hub: Hub) -> list[Route]:
    """The three requests of the smart protocol."""

    async def serve(request: Request) -> Reply:
        return await _serve(hub, request)

    rows = [("GET", "info/refs"), *(("POST", service) for service in _SERVICES)]
    return [
        Route(method, f"/{{owner}}/{{name}}/{tail}", serve, surface=Surface.WEB, anyone=True) for method, tail in rows
    ]


async def _serve(hub: Hub, request: Request) -> Reply:
    tail = request.path.split("/", 3)[3]
    service = request.query.get("service", "") if tail == "info/refs" else tail
    if service not in _SERVICES:
        return _plain(403, "Please upgrade your git client.\n")
    push = service == "git-receive-pack"
    name = f"{request.params['owner']}/{request.params['name'].removesuffix('.git')}"
    repo = hub.find_repository(name) or hub.repositories.get(hub.renamed.get(name.lower(), 0))
    refusal = _refusal(request.actor, repo, name, push)
    if refusal is not None or repo is None:
        return refusal or _plain(404, "Repository not found.\n")
    headers = {key.lower(): value for key, value in request.headers.items()}
    actor = request.actor
    with tempfile.TemporaryDirectory(prefix="localhub-push-") as folder:
        moved = Path(folder) / "moved"
        env = {
            **git_environment(repo.git_dir / "home"),
            "GIT_PROJECT_ROOT": str(repo.git_dir.parent),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": actor.account.login if actor.account else "",
            "REMOTE_ADDR": "127.0.0.1",
            "REQUEST_METHOD": request.method,
            "PATH_INFO": f"/{repo.git_dir.name}/{tail}",
            "QUERY_STRING": request.query_string,
            "CONTENT_TYPE": headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(request.raw)),
            "GIT_PROTOCOL": headers.get("git-protocol", ""),
            "HUB_MOVED": str(moved),
            "HUB_WORKFLOWS": "yes" if hub.git.may_touch_workflows(actor) else "no",
            "HUB_CLOSED": "\n".join(hub.rules.closed_refs(repo, actor.user.id)) if push else "",
        }
        reply = await _backend(env, request.raw)
        if push and request.method == "POST":
            lines = moved.read_text(encoding="utf-8").splitlines() if moved.exists() else []
            rows = [line.split(" ", 2) for line in lines]
            hub.git.announce(repo, [Moved(ref, old, new) for old, new, ref in rows], actor)
        return reply


def _refusal(actor: Actor, repo: Repository | None, name: str, push: bool) -> Reply | None:
    if actor.kind is ActorKind.ANONYMOUS and (push or repo is None or repo.private):
        return _plain(401, "No anonymous access.\n", {"WWW-Authenticate": 'Basic realm="GitHub"'})
    if repo is None or not actor.can_see(repo):
        return _plain(404, "Repository not found.\n")
    try:
        actor.require(repo, "contents", "write" if push else "read")
    except ApiError:
        login = actor.account.login if actor.account else "anonymous"
        return _plain(403, f"Permission to {name}.git denied to {login}.\n")
    if push and repo.archived:
        return _plain(403, "This repository was archived so it is read-only.\n")
    return None


def _plain(status: int, text: str, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, text.encode(), {"Content-Type": "text/plain; charset=utf-8", **(headers or {})})


async def _backend(env: Mapping[str, str], body: bytes) -> Reply:
    process = await asyncio.create_subprocess_exec(
        "git",
        "http-backend",
        env=dict(env),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(BACKEND_TIMEOUT_S):
            out, err = await process.communicate(body)
    except BaseException:
        if process.returncode is None:
            process.kill()
        await process.wait()
        raise
    head, separator, content = out.partition(b"\r\n\r\n")
    if not separator:
        message = err.decode("utf-8", "replace")
        return _plain(500, f"git http-backend answered nothing: {message}\n")
    headers = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n") if ": " in line)
    status = int(headers.pop("Status", "200").split()[0])
    return Reply(status, content, headers)
