"""Eight processes without a server want one item: exactly one has it, and the others are told who.

All are sessions of one person, so GitHub cannot tell them apart by their account. The processes are real, stay alive
over all rounds, and meet a local GitHub over HTTP; in each they are let go at the same moment. A sample plays a few
of 200 rounds. At the end the comparison is switched off, to show that it is what decides.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bot.localhub.core import Actor, ActorKind, Hub, Repository, Role
from bot.localhub.limits import Quota
from bot.localhub.runner import ManualRunner
from tests.effort import by_effort, more

RACERS = 8
ROUNDS = by_effort(2, 8, 200)
"""A round takes 0.3 s of two cores, and with the starts of the processes more."""
BLIND_ROUNDS = by_effort(1, 2, 2)
"""Without the guard nearly every round has several winners."""

NO_LIMITS = Quota(10**9, 10**9, 10**9, 10**9, 10**9)

pytestmark = [more, pytest.mark.timeout(by_effort(120, 120, 900))]


class Racer:
    """One process."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self._process = process

    async def says(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        assert line, f"{self.name} ended"
        return dict(json.loads(line))

    async def does(self, **order: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        return await self.says()


class Track:
    """The repository, and the processes."""

    def __init__(self, hub: Hub, repo: Repository, racers: list[Racer]) -> None:
        self.hub = hub
        self.repo = repo
        self.racers = racers

    def ready(self, title: str) -> int:
        actor = Actor(ActorKind.USER, self.repo.owner)
        return self.hub.issues.open(self.repo, title, "Please.", actor=actor, labels=["tgs:ready"]).number

    async def round(self, number: int) -> list[dict[str, Any]]:
        """All of them want the item at once."""
        return list(await asyncio.gather(*(racer.does(go=number) for racer in self.racers)))

    def labels(self, number: int) -> set[str]:
        return {label.name for label in self.repo.issues[number].labels}


@asynccontextmanager
async def track(root: Path) -> AsyncIterator[Track]:
    async with Hub(root=root) as hub:
        hub.actions.runner = ManualRunner(hub)
        owner = hub.create_user("olive")
        hub.create_user("maria")
        hub.limits.quota = NO_LIMITS
        names = [f"racer{n}" for n in range(RACERS)]
        policy = {".tgs/policy.yml": "claim_refs: true\nmax_parallel: 25\nmax_unreviewed_prs: 25\n"}
        repo = hub.create_repo(owner, "demo", files=policy, roles={"maria": Role.WRITE})
        for label in ("tgs:ready", "tgs:in-progress", "tgs:done"):
            hub.labels.create(repo, label, Actor(ActorKind.USER, owner))
        token = hub.user_token("maria")
        script = Path(__file__).parents[1] / "client" / "claim_racer.py"
        processes = []
        try:
            for name in names:
                environment = {"PATH": os.environ["PATH"], "GH_TOKEN": token, "PYTHONPATH": os.pathsep.join(sys.path)}
                processes.append(
                    await asyncio.create_subprocess_exec(
                        sys.executable, str(script), hub.api_url, repo.full_name, name,
                        stdin=PIPE, stdout=PIPE, env=environment,
                    )
                )  # fmt: skip
            racers = [Racer(name, process) for name, process in zip(names, processes, strict=True)]
            for racer in racers:
                assert await racer.says() == {"ready": racer.name}
            yield Track(hub, repo, racers)
        finally:
            for process in processes:
                if process.returncode is None:
                    process.kill()
                await process.communicate()


async def test_of_eight_processes_one_has_the_item_and_the_others_learn_who_until_nothing_is_compared(
    tmp_path: Path,
) -> None:
    async with track(tmp_path) as on:
        for turn in range(ROUNDS):
            number = on.ready(f"Round {turn}")
            answers = await on.round(number)
            won = [answer["won"] for answer in answers if "won" in answer]
            assert len(won) == 1, answers
            assert [a for a in answers if "won" not in a] == [{"owner": f"maria ({won[0]})"}] * (RACERS - 1), answers
            assert on.labels(number) == {"tgs:in-progress"}
            assert [person.login for person in on.repo.issues[number].assignees] == ["maria"]
            [winner] = [racer for racer in on.racers if racer.name == won[0]]
            assert await winner.does(end=number) == {"ended": "done"}
            assert f"refs/tgs/claims/{number}" not in await on.hub.git.refs(on.repo)
        for racer in on.racers:
            assert await racer.does(blind=1) == {"blind": racer.name}
        winners = []
        for turn in range(BLIND_ROUNDS):
            answers = await on.round(on.ready(f"Blind round {turn}"))
            winners.append(sum("won" in answer for answer in answers))
        assert max(winners) > 1, f"one winner in each round although nothing is compared: {winners}"
