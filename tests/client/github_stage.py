"""A repository on a local GitHub, and people who keep its backlog with their own tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import SecretStr

from bot.client.backlog import Claim
from bot.client.github_backlog import GithubBacklog, open_github_backlog
from bot.localhub import merging
from bot.localhub.core import Account, Actor, ActorKind, Hub, Issue, Repository, Role
from bot.localhub.runner import ManualRunner

POLICY = "claim_refs: true\nmax_parallel: 5\nmax_unreviewed_prs: 9\n"
START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@dataclass
class StageClock:
    """A clock that moves when told to, or when somebody waits."""

    time: datetime = START

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.time += timedelta(seconds=seconds)


@dataclass
class GithubStage:
    """One repository. `ada` and `ben` may write, `tess` may label, `rob` may read."""

    hub: Hub
    clock: StageClock
    owner: Account
    repo: Repository
    stack: AsyncExitStack
    sessions: dict[str, GithubBacklog] = field(default_factory=dict)

    async def session(self, name: str) -> GithubBacklog:
        if name not in self.sessions:
            opened = open_github_backlog(
                self.repo.full_name,
                SecretStr(self.hub.user_token(name)),
                self.hub.api_url,
                clock=self.clock,
                chance=lambda: 0.5,
                sleep=self.clock.sleep,
            )
            self.sessions[name] = await self.stack.enter_async_context(opened)
        return self.sessions[name]

    async def thought(self, title: str, *, front_matter: str = "") -> str:
        number = 100_000 + len(self.hub.git.bare(self.repo).log("main"))
        folder = f"tgs/thoughts/{number}-{title.replace(' ', '-').lower()}"
        matter = front_matter or f"title: {title}"
        self.push({f"{folder}/research.md": "# R\n", f"{folder}/plan.md": f"---\n{matter}\n---\n# {title}\n"})
        return folder

    async def implement(self, claim: Claim) -> None:
        await self.publish(claim, {f"{claim.entry.dir}/implementation.md": "# Done\n"})

    async def publish(self, claim: Claim, files: dict[str, str | None]) -> Issue:
        """Pushes the claim's branch and opens a pull request from it."""
        assert claim.entry.number is not None
        return self.pull_request(claim.branch, files, closes=claim.entry.number)

    def pull_request(self, branch: str, files: dict[str, str | None], *, closes: int) -> Issue:
        self.push(files, branch=branch)
        opened = self.hub.pulls.open(
            self.repo, title="Work", body=f"Closes #{closes}", head=branch, base="main", actor=self.as_("ada")
        )
        return opened.issue

    def merge(self, pull: Issue) -> None:
        [found] = [known for known in self.hub.pulls.all(self.repo) if known.issue is pull]
        merging.merge(self.hub, found, self.as_("ada"))

    def later(self, by: timedelta) -> None:
        self.clock.time += by

    # --- beside the backlog

    def as_(self, name: str) -> Actor:
        account = self.hub.find_account(name)
        assert account is not None
        return Actor(ActorKind.USER, account)

    def push(self, files: dict[str, str | None], *, branch: str | None = None) -> str:
        return self.hub.git.commit(self.repo, dict(files), by=self.owner, branch=branch)

    def issue(self, title: str = "Add a greeting", *labels: str, body: str = "Please.", by: str = "ada") -> int:
        return self.hub.issues.open(self.repo, title, body, actor=self.as_(by), labels=list(labels)).number

    def label(self, number: int, name: str, *, by: str = "ada") -> None:
        self.hub.labels.add(self.repo.issues[number], [name], self.as_(by))

    def unlabel(self, number: int, name: str, *, by: str = "ada") -> None:
        self.hub.labels.remove(self.repo.issues[number], name, self.as_(by))

    def labels(self, number: int) -> set[str]:
        return {label.name for label in self.repo.issues[number].labels}

    def comments(self, number: int) -> list[str]:
        return [str(comment.body) for comment in self.repo.issues[number].comments]

    async def refs(self) -> list[str]:
        return [name for name in await self.hub.git.refs(self.repo) if "claims" in name]


@asynccontextmanager
async def github_stage(root: Path, policy: str = POLICY) -> AsyncIterator[GithubStage]:
    clock = StageClock()
    async with Hub(root=root, clock=clock.now) as hub, AsyncExitStack() as stack:
        hub.actions.runner = ManualRunner(hub)
        owner = hub.create_user("olive")
        for login in ("ada", "ben", "tess", "rob"):
            hub.create_user(login)
        roles = {"ada": Role.WRITE, "ben": Role.WRITE, "tess": Role.TRIAGE, "rob": Role.READ}
        files = {"README.md": "# Demo\n", ".tgs/policy.yml": policy}
        repo = hub.create_repo(owner, "demo", private=True, files=files, roles=roles)
        yield GithubStage(hub, clock, owner, repo, stack)
