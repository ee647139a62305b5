"""The stage of the demo: a local GitHub with people, a repository and an App, and the bot beside it.

Everything is real: HTTP between them, git, the workflow's jobs as processes, the ledger in a file. Both listen on
loopback only, all keys and secrets are made for this run, and the folder is removed at the end.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import yaml
from aiohttp import web

from bot.app import PARTS, Parts, World, create_app
from bot.clock import RandomIds
from bot.demo.claude import KEY, answers, claude_policy
from bot.demo.model_api import Conversation, Script, ScriptedModel
from bot.demo.project import project
from bot.domain.attempt_end import jitter
from bot.localhub.core import Account, Actor, ActorKind, App, Hub, Installation, Repository
from bot.localhub.core import Role as HubRole
from bot.localhub.runner import ProcessRunner
from bot.settings import Settings
from bot.workflows import render_run_workflow

if TYPE_CHECKING:
    from bot.localhub.model import Issue

WRITE_SPACING = 0.0
"""Seconds between writes; the real GitHub wants one second and a steady flow, the local one does not mind."""

POINTS_PER_MINUTE = 10_000
"""Points of requests that the local GitHub allows. The real one's 900 are for work that takes minutes; here it takes
seconds, and a pause of a minute would be all that there is to see."""

JOBS = 3
"""Jobs of the local runner at once: two attempts and one CI run on a small machine."""

NO_FILES: Mapping[str, str] = MappingProxyType({})

SHORT_SPREAD = 0.1
"""The largest spread of a retry on the stage, as a part of the product's one minute: nobody watches a longer wait."""

PERMISSIONS = dict.fromkeys(("actions", "checks", "contents", "issues", "pull_requests"), "write") | {
    "statuses": "read"
}
EVENTS = (
    "check_run", "check_suite", "issue_comment", "issues", "label", "pull_request", "pull_request_review", "push",
    "repository", "status", "workflow_job", "workflow_run",
)  # fmt: skip


class QuickIds:
    """Ids like the product's own. The spread of a retry hangs on the attempt's id, so ids are drawn until one has a
    short spread: the rule stays as it is, and the audience sees the retry within seconds."""

    def __init__(self) -> None:
        self._source = RandomIds()

    def new(self, prefix: str) -> str:
        while jitter(drawn := self._source.new(prefix)) > SHORT_SPREAD:
            pass
        return drawn


@dataclass(frozen=True, slots=True)
class Stage:
    """What the play works with."""

    hub: Hub
    parts: Parts
    repo: Repository
    app: App
    installation: Installation
    maintainer: Account
    bot_url: str
    model: ScriptedModel | None = None

    @property
    def maria(self) -> Actor:
        return Actor(ActorKind.USER, self.maintainer)

    @property
    def token(self) -> str:
        """Maria's. It is made for this run, works on this machine only and ends with the process."""
        return self.hub.user_token(self.maintainer.login)

    @property
    def clone_url(self) -> str:
        """Where the repository is cloned from and pushed to as Maria."""
        url = urlsplit(self.hub.html_url)
        return f"{url.scheme}://{self.maintainer.login}:{self.token}@{url.netloc}/{self.repo.full_name}"

    def push(self, files: Mapping[str, str | bytes | None], message: str) -> str:
        """The maintainer pushes to the default branch."""
        return self.hub.git.commit(self.repo, files, by=self.maintainer, message=message)

    def open_issue(self, title: str, body: str) -> Issue:
        return self.hub.issues.open(self.repo, title, body, actor=self.maria)

    def label(self, issue: Issue, name: str) -> None:
        self.hub.labels.add(issue, [name], self.maria)

    def comment(self, issue: Issue, text: str) -> None:
        self.hub.comments.create(issue, text, self.maria)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class DemoAgent(StrEnum):
    """Who does the work on the stage."""

    SCRIPTED = "scripted"
    CLAUDE_CODE = "claude-code"


@asynccontextmanager
async def set_stage(
    root: Path,
    agent: DemoAgent = DemoAgent.SCRIPTED,
    choose: Callable[[Conversation], Script] = answers,
    more: Mapping[str, str] = NO_FILES,
) -> AsyncIterator[Stage]:
    """Everything running, the App installed; plans and issues are for the play.

    With Claude Code a scripted model runs beside it, which answers by `choose`; its key and address are what the
    repository's environment `tgs-agent` holds. `more` files lie in the repository from the beginning.
    """
    if agent is DemoAgent.SCRIPTED:
        async with _set(root, more) as stage:
            yield stage
        return
    model = ScriptedModel(choose)
    async with model.serve() as url, _set(root, {".tgs/policy.yml": claude_policy(), **more}, url, model) as stage:
        yield stage


@asynccontextmanager
async def _set(
    root: Path, more: Mapping[str, str], model_url: str = "", model: ScriptedModel | None = None
) -> AsyncIterator[Stage]:
    port = free_port()
    bot_url = f"http://127.0.0.1:{port}"
    secret = secrets.token_hex(20)
    async with Hub(root=root / "hub") as hub:
        hub.actions.runner = ProcessRunner(hub, max_jobs=JOBS)
        hub.limits.quota.points_per_minute = POINTS_PER_MINUTE
        owner = hub.create_org("acme")
        maria = hub.create_user("maria", "Maria")
        app = hub.create_app(owner, "tgs", PERMISSIONS, EVENTS, f"{bot_url}/webhook", secret)
        settings = Settings(
            app_id=app.id,
            private_key=app.private_key_pem,
            webhook_secret=secret,
            github_api_url=hub.api_url,
            github_graphql_url=hub.graphql_url,
            github_url=hub.html_url,
            oidc_issuer=hub.oidc_issuer,
            data_dir=root / "data",
            port=port,
            public_url=bot_url,
            allowed_accounts=str(owner.id),
            write_spacing_seconds=WRITE_SPACING,
        )
        runner = web.AppRunner(await create_app(settings, World(ids=QuickIds())), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            files = project() | dict(more) | {".github/workflows/tgs-server-run.yml": await _workflow(bot_url)}
            repo = hub.create_repo(owner, "greeter", files=files, roles={"maria": HubRole.MAINTAIN})
            for name in ("tgs-agent", "tgs-publish"):
                environment = hub.actions.environment(repo, name)
                if model_url and name == "tgs-agent":
                    environment.secrets["ANTHROPIC_API_KEY"] = KEY
                    environment.variables["ANTHROPIC_BASE_URL"] = model_url
            installation = hub.install(app, owner, [repo], by=maria)
            yield Stage(hub, runner.app[PARTS], repo, app, installation, maria, bot_url, model)
        finally:
            await runner.cleanup()


async def _workflow(bot_url: str) -> str:
    """The shipped workflow, as `tgs init` writes it: with the server's own wheel, pinned by its hash."""
    async with aiohttp.ClientSession() as session, session.get(f"{bot_url}/dist/") as answer:
        wheel = await answer.json()
    text = render_run_workflow(bot_url, wheel["url"], wheel["sha256"], agent_minutes=10)
    assert yaml.safe_load(text)
    return text
