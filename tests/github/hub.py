"""A gateway in front of a local GitHub, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import ClientSession
from pydantic import SecretStr

from bot.domain.model import InstallationId, IssueKey, Person, RepoId, RepoKey
from bot.github.auth import PrivateKey
from bot.github.calls import Origin
from bot.github.client import open_session
from bot.github.gateway import Gateway, app_gateway, token_gateway
from bot.localhub.core import Account, ActorKind, App, Hub, Installation, Issue, Repository, Role
from tests.github.support import JumpingClock

PERMISSIONS = {
    "issues": "write",
    "pull_requests": "write",
    "contents": "write",
    "actions": "write",
    "checks": "write",
    "statuses": "read",
    "deployments": "read",
}
FILES = {
    "README.md": "# Demo\n",
    "tgs/thoughts/ab12-cache/plan.md": "the plan\n",
    "tgs/thoughts/ab12-cache/research.md": "the research\n",
    "empty.txt": "",
}


@dataclass
class World:
    """People, a repository, an installed App, and the App's gateway. `known_name` is what the ledger would say."""

    hub: Hub
    clock: JumpingClock
    session: ClientSession
    owner: Account
    repo: Repository
    app: App
    installation: Installation
    known_name: str
    gateway: Gateway

    @property
    def key(self) -> RepoKey:
        return RepoKey(InstallationId(self.installation.id), RepoId(self.repo.id))

    def issue_key(self, issue: Issue) -> IssueKey:
        return IssueKey(self.key.installation, self.key.repo, issue.number)

    def person(self, login: str) -> Person:
        account = self.hub.find_account(login)
        assert account is not None
        return Person(account.id, account.login, account.login.endswith("[bot]"))

    def open_issue(self, title: str = "A bug", body: str = "text", *, by: str = "olive") -> Issue:
        return self.hub.issues.open(self.repo, title, body=body, actor=self.hub.as_user(by))

    async def name_of(self, key: RepoKey) -> str:
        assert key == self.key
        return self.known_name

    def app_gateway(self) -> Gateway:
        return app_gateway(
            self.session,
            Origin(self.hub.api_url, self.hub.graphql_url),
            self.app.id,
            PrivateKey(self.app.private_key_pem),
            names=self.name_of,
            clock=self.clock,
            sleep=self.clock.sleep,
            jitter=lambda: 0.5,
            write_spacing=0,
        )

    def person_gateway(self, login: str) -> Gateway:
        return token_gateway(
            self.session,
            Origin(self.hub.api_url, self.hub.graphql_url),
            SecretStr(self.hub.user_token(login)),
            names=self.name_of,
            clock=self.clock,
            sleep=self.clock.sleep,
            jitter=lambda: 0.5,
            write_spacing=0,
        )

    def drop_tokens(self) -> None:
        """Ends all installation tokens now, as GitHub may at any time."""
        live = self.hub.tokens._live
        for value in [value for value, token in live.items() if token.actor.kind is ActorKind.INSTALLATION]:
            del live[value]

    def sent(self) -> list[str]:
        """Method and template of each request so far, with the mutations of a GraphQL request."""
        return [
            f"{entry.method} {entry.template}" + (f" {','.join(entry.operations)}" if entry.operations else "")
            for entry in self.hub.log.entries
        ]


@asynccontextmanager
async def hub_world(root: Path) -> AsyncIterator[World]:
    clock = JumpingClock()
    async with Hub(root=root, clock=clock.now) as hub, open_session() as session:
        owner = hub.create_user("olive")
        for login in ("mia", "wim", "tess", "rob", "eve"):
            hub.create_user(login)
        roles = {"mia": Role.MAINTAIN, "wim": Role.WRITE, "tess": Role.TRIAGE, "rob": Role.READ}
        repo = hub.create_repo(owner, "demo", files=FILES, roles=roles)
        app = hub.create_app(owner, "tgs", PERMISSIONS, ["issues"])
        item = hub.install(app, owner, [repo])
        made = World(hub, clock, session, owner, repo, app, item, repo.full_name, None)  # type: ignore[arg-type]
        made.gateway = made.app_gateway()
        yield made
