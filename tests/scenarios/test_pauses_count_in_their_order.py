"""A pause and its end are about all issues, and a webhook may be lost: what was written last is what holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bot.domain.model import Person
from bot.localhub.hooks import HookFault, HookFaultKind
from tests.scenarios.steps import MINUTE, paused, scene
from tests.world import World

A_LOOK = 11 * MINUTE
"""Longer than the pause between two looks at a repository where nobody works."""


async def unheard(world: World, number: int, words: str) -> None:
    """A command whose webhook vanishes; the next look finds it."""
    world.hub.hooks.faults.append(HookFault(HookFaultKind.VANISH, event="issue_comment", count=1))
    world.comment(number, words)
    await world.settle()
    assert world.bot_said(number) == []


async def test_a_pause_that_is_heard_after_a_newer_resume_does_nothing_and_says_so(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        one, other = world.issue("Office"), world.issue("Kitchen")
        await unheard(world, one, "/tgs pause for lunch")
        await world.after(MINUTE)
        world.comment(other, "/tgs resume")
        await world.settle()
        assert "not paused" in world.bot_said(other)[0]

        await world.polls(A_LOOK)

        assert (await world.repo_record()).pause is None
        (answer,) = world.bot_said(one)
        assert "A newer `/tgs pause` or `/tgs resume` was heard before this one." in answer

        world.comment(one, "/tgs pause for lunch")
        await world.settle()
        assert (await world.repo_record()).pause is not None
        world.bot_said(one)


async def test_a_resume_that_is_heard_after_a_newer_pause_does_not_end_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        one, other = world.issue("Office"), world.issue("Kitchen")
        await unheard(world, one, "/tgs resume")
        await world.after(MINUTE)
        world.comment(other, "/tgs pause for lunch")
        await world.settle()
        world.bot_said(other)

        await world.polls(A_LOOK)

        assert (await world.repo_record()).pause is not None
        (answer,) = world.bot_said(one)
        assert "Say it again if you still want it." in answer


async def test_who_asks_over_the_api_speaks_now_even_where_the_clock_is_behind(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = world.issue("Office")
        await paused(world)
        repo = await world.repo_record()
        ahead = replace(repo, pause_said_at=world.clock.now() + MINUTE)
        await world.parts.store.write(lambda tx: tx.put_repo(ahead))
        maria, key = Person(world.maria.id, "maria"), world.key(number)
        await world.meanwhile(world.parts.engine.commands.order(maria, key, "resume", request="r-1"))
        assert (await world.repo_record()).pause is None
