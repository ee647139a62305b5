"""The backlog of a running bot does what every backlog does: the bot and a local GitHub, over real HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from pydantic import SecretStr

from bot.client.backlog import Addition, Backlog, Claim, Status, Wanted
from bot.client.http import BotHttp
from bot.client.server_backlog import ServerBacklog
from bot.clock import RandomIds
from bot.errors import LostClaim, Refused
from bot.localhub.core import Role
from tests.client.contract import BacklogContract, Stage, entry, held, queued, ref
from tests.world import World, new_world

POLICY = """\
workers: pull
max_parallel: 5
mirror:
  enabled: false
agent:
  adapter: scripted
allow_unisolated: true
"""
"""Plans enter the backlog when they are added, and nothing is started unasked."""

SILENCE = timedelta(minutes=65)
"""After it a session that was told to stop and said nothing counts as gone."""


@dataclass
class ServerStage:
    """A world in which people ask the bot; while one of them waits for an answer, the world goes on."""

    world: World
    stack: AsyncExitStack
    sessions: dict[str, Backlog] = field(default_factory=dict)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    count: int = 0

    async def session(self, name: str) -> Backlog:
        if name not in self.sessions:
            http = await self.stack.enter_async_context(aiohttp.ClientSession())
            token = SecretStr(self.world.hub.user_token(name))
            mine = ServerBacklog(BotHttp(http, self.world.url, token), self.world.repo.full_name, RandomIds())
            self.sessions[name] = cast("Backlog", _Waiting(self, mine))
        return self.sessions[name]

    async def thought(self, title: str, *, front_matter: str = "") -> str:
        self.count += 1
        front = front_matter or f"title: {title}"
        slug = re.sub(r"[^a-z]+", "-", title.lower())
        folder = self.world.thought(f"{100_000 + self.count}", slug, front=front)
        await self.world.settle()
        return folder

    async def implement(self, claim: Claim) -> None:
        self.world.push({f"{claim.entry.dir}/implementation.md": "# Done\n"}, branch=claim.branch)

    def later(self, by: timedelta) -> None:
        self.world.clock.advance(by)

    async def run(self, asking: Awaitable[Any]) -> Any:
        task = asyncio.ensure_future(asking)
        while not task.done():
            async with self.turn:
                await self.world.settle()
            await asyncio.wait({task}, timeout=0.005)
        return await task


class _Waiting:
    """A backlog whose calls let the world go on until they are answered."""

    def __init__(self, stage: ServerStage, backlog: ServerBacklog) -> None:
        self._stage = stage
        self._backlog = backlog

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._backlog, name)
        return lambda *args, **options: self._stage.run(method(*args, **options))


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[ServerStage]:
    async with new_world(tmp_path, policy=POLICY) as world, AsyncExitStack() as stack:
        for login in ("ada", "ben"):
            world.hub.create_user(login)
            world.hub.set_role(world.repo, login, Role.MAINTAIN)
        world.leave_due = True
        yield ServerStage(world, stack)
        for number in world.repo.issues:
            world.bot_said(number)


class TestServerBacklog(BacklogContract):
    """All of the contract. What is otherwise: a session is given time to stop, what was removed is known, and policy
    decides about new plans."""

    async def test_without_evidence_nothing_is_completed(self, stage: Stage) -> None:
        (folder,) = await queued(stage, "Add search")
        backlog = await stage.session("ada")
        (claim,) = await backlog.claim(Wanted(name="ada"))
        with pytest.raises(Refused, match="is not on GitHub"):
            await backlog.complete(held(claim))
        assert isinstance(stage, ServerStage)
        stage.world.push({"search.py": "print('found')\n"}, branch=claim.branch)
        with pytest.raises(Refused, match=r"implementation\.md"):
            await backlog.complete(held(claim))
        assert (await entry(backlog, folder)).status is Status.IN_PROGRESS

    async def test_a_claim_that_was_taken_away_is_lost(self, stage: Stage) -> None:
        (folder,) = await queued(stage, "Add search")
        ada, ben = await stage.session("ada"), await stage.session("ben")
        (old,) = await ada.claim(Wanted(name="ada"))
        await ben.remove(ref(folder), force=True)
        assert isinstance(stage, ServerStage)
        await stage.world.after(SILENCE)
        await ben.add(Addition(ref=ref(folder)))
        (new,) = await ben.claim(Wanted(name="ben"))
        assert new.fence > old.fence
        with pytest.raises(LostClaim):
            await ada.complete(held(old), evidence="done")
        assert "ben" in str((await entry(ada, folder)).claimed_by)

    async def test_what_is_queued_can_be_removed_and_what_is_worked_on_only_by_force(self, stage: Stage) -> None:
        first, second = await queued(stage, "First", "Second")
        backlog = await stage.session("ada")
        await backlog.remove(ref(first))
        await backlog.claim(Wanted(name="ada", ref=ref(second)))
        with pytest.raises(Refused):
            await backlog.remove(ref(second))
        await backlog.remove(ref(second), force=True)
        assert isinstance(stage, ServerStage)
        await stage.world.after(SILENCE)
        assert not [one for one in await backlog.entries() if one.status is not Status.CANCELLED]

    async def test_a_scan_adds_what_is_new_once(self, stage: Stage) -> None:
        await stage.thought("Add search")
        backlog = await stage.session("ada")
        assert (await backlog.scan(apply=True)).added == (), "the policy of this repository mirrors nothing"
        assert await backlog.entries() == []

    async def test_an_import_adds_what_is_missing_and_leaves_the_rest(self, stage: Stage) -> None:
        first, second = await queued(stage, "First", "Second")
        third = await stage.thought("Third")
        backlog = await stage.session("ada")
        file = dict(await backlog.export())
        rows = list(cast("list[dict[str, Any]]", file["thoughts"]))
        row = {name: value for name, value in rows[0].items() if name != "tgs"}
        file["thoughts"] = [*rows, {**row, "dir": third, "title": "Third"}]
        await backlog.remove(ref(first))
        await backlog.add(Addition(ref=ref(second), priority=7))
        assert [one.new for one in await backlog.import_(file)] == [False, False, True]
        assert {one.dir for one in await backlog.entries(statuses=[Status.QUEUED])} == {second, third}
        assert (await entry(backlog, first)).status is Status.CANCELLED, "what people removed stays removed"
        assert (await entry(backlog, second)).priority == 7
