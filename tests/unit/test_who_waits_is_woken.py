"""Who waits for a repository to move is woken, and whoever has waited longest is the first."""

from __future__ import annotations

import asyncio

from bot.bell import Bell
from bot.domain.model import InstallationId, RepoId, RepoKey

REPO = RepoKey(InstallationId(1), RepoId(10))
OTHER = RepoKey(InstallationId(1), RepoId(11))
LONG = 10.0


async def waiting(bell: Bell, count: int, repo: RepoKey = REPO) -> tuple[list[int], list[asyncio.Task[None]]]:
    """Who was woken so far, in this order, and those who wait."""
    woken: list[int] = []

    async def wait(number: int) -> None:
        await bell.wait(repo, bell.count(repo), LONG)
        woken.append(number)

    tasks = []
    for number in range(count):
        tasks.append(asyncio.create_task(wait(number)))
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)  # the last one has begun to wait, too
    return woken, tasks


async def test_who_has_waited_longest_wakes_first() -> None:
    bell = Bell()
    woken, tasks = await waiting(bell, 50)
    bell.ring(str(REPO))
    await asyncio.gather(*tasks)
    assert woken == list(range(50))


async def test_another_repository_wakes_nobody_and_all_of_them_everybody() -> None:
    bell = Bell()
    woken, tasks = await waiting(bell, 2)
    bell.ring(str(OTHER))
    await asyncio.sleep(0)
    assert not woken
    bell.ring_all()
    await asyncio.gather(*tasks)
    assert woken == [0, 1]


async def test_a_ring_before_the_wait_ends_it_at_once() -> None:
    bell = Bell()
    before = bell.count(REPO)
    bell.ring(str(REPO))
    await asyncio.wait_for(bell.wait(REPO, before, LONG), 1)
