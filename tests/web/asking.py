"""Sessions of people and pull workers, as the tests play them: every call is the real HTTP call.

The bot answers a claim when its first steps are visible on GitHub, so the world goes on while a call waits (`busy`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from bot.clock import RandomIds
from bot.domain.identity import RunSecret
from bot.domain.model import Person
from bot.domain.workers import DEFAULT_CLAIMS
from bot.localhub.core import Account
from tests.world import World

REPO = "olga/greeter"
PULL_POLICY = "workers: pull\nmax_parallel: 3\n"


async def busy(world: World, *calls: Awaitable[Any]) -> list[Any]:
    """The calls' results; meanwhile webhooks arrive and passes run."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    while not all(task.done() for task in tasks):
        await world.settle()
        await asyncio.sleep(0.005)
    await world.settle()
    return [task.result() for task in tasks]


@dataclass
class Answered:
    """Status, body and headers of an answer."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def code(self) -> str | None:
        """The code of a problem."""
        return self.body.get("code") if isinstance(self.body, dict) else None


async def call(world: World, method: str, path: str, bearer: str, body: object | None = None) -> Answered:
    """One request to the bot."""
    assert world.http is not None
    async with world.http.request(
        method, f"{world.url}/api/v1{path}", json=body, headers={"Authorization": f"Bearer {bearer}"}
    ) as answer:
        text = await answer.text()
        return Answered(answer.status, await answer.json(content_type=None) if text else None, answer.headers)


@dataclass
class Session:
    """Somebody who asks for work: a person, or a pull worker with a token."""

    world: World
    bearer: str
    name: str = "laptop"
    token: str = field(default_factory=lambda: RandomIds().new(RunSecret.ATTEMPT))
    claimed: dict[str, Any] = field(default_factory=dict)

    async def ask(self, **options: Any) -> Answered:
        """`queue/claim`, as it comes."""
        body = {"repo": REPO, "name": self.name, "token": self.token} | options
        found = await call(self.world, "POST", "/queue/claim", self.bearer, body)
        if found.status == 200 and not options.get("peek"):
            [self.claimed] = found.body["claims"]
        return found

    async def claim(self, **options: Any) -> Answered:
        """The same while the world goes on."""
        [found] = await busy(self.world, self.ask(**options))
        assert isinstance(found, Answered)
        return found

    @property
    def number(self) -> int:
        """The item that was won."""
        return int(self.claimed["item"]["number"])

    async def say(self, what: str, **body: Any) -> Answered:
        """A call with the attempt's token, while the world goes on."""
        body = {"fence": self.claimed["fence"]} | body
        [found] = await busy(
            self.world, call(self.world, "POST", f"/attempts/{self.claimed['attempt']}/{what}", self.token, body)
        )
        assert isinstance(found, Answered)
        return found

    def push(self, files: Mapping[str, str] | None = None) -> str:
        """Commits to the claim's branch on GitHub."""
        world = self.world
        return world.hub.git.commit(
            world.repo, dict(files or {"hello.txt": "hello\n"}), by=world.maria,
            branch=self.claimed["branch"], parent=self.claimed["base_sha"],
        )  # fmt: skip


def person(world: World, who: Account | None = None, name: str = "laptop") -> Session:
    """A person's session."""
    return Session(world, world.hub.user_token((who or world.maria).login), name)


async def worker(world: World, name: str = "box", *, max_claims: int = DEFAULT_CLAIMS) -> Session:
    """A pull worker with a token of its own for the repository."""
    repo = await world.repo_record()
    _, secret = await world.parts.engine.pull.create_token(
        [repo], Person(world.owner.id, world.owner.login), name, timedelta(days=1), max_claims
    )
    return Session(world, secret, name)
