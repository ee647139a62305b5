"""Webhooks are lost and late: of commands that contradict each other, what was written last holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.localhub.hooks import HookFault, HookFaultKind
from tests.scenarios.steps import MINUTE, in_review, queued, scene
from tests.world import World

A_LOOK = 11 * MINUTE
"""Longer than the pause between two looks at a repository where nobody works."""


async def unheard(world: World, number: int, words: str) -> None:
    """A command whose webhook vanishes; the next look finds it."""
    world.hub.hooks.faults.append(HookFault(HookFaultKind.VANISH, event="issue_comment", count=1))
    world.comment(number, words)
    await world.settle()
    await world.after(MINUTE)


async def heard(world: World, number: int, words: str) -> str:
    """A command, and the last thing that the bot said to it."""
    world.comment(number, words)
    await world.settle()
    return world.bot_said(number)[-1]


async def late(world: World, number: int) -> str:
    """What the bot says when it hears what it had not."""
    await world.polls(A_LOOK)
    (answer,) = world.bot_said(number)
    return answer


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("/tgs hold", "/tgs unhold"),
        ("/tgs unhold", "/tgs hold"),
        ("/tgs stop", "/tgs start --in-turn"),
        ("/tgs reject not so", "/tgs approve"),
        ("/tgs start", "/tgs stop"),
        ("/tgs priority 1", "/tgs priority 3"),
        ("/tgs budget 5", "/tgs budget 7"),
        ("/tgs lock src/door/**", "/tgs unlock src/door/**"),
        ("/tgs undepends #1", "/tgs depends #1"),
    ],
)
async def test_what_is_heard_after_a_newer_word_is_answered_and_not_done(
    tmp_path: Path, older: str, newer: str
) -> None:
    async with scene(tmp_path) as world:
        number = await queued(world)
        await unheard(world, number, older)
        await heard(world, number, newer)
        before = await world.item(number)

        answer = await late(world, number)

        verb = newer.split()[1]
        assert f"was not done. The newer `/tgs {verb}` of `maria` was heard before this one." in answer
        after = await world.item(number)
        assert before is not None
        assert after is not None
        for what in ("state", "held_by", "priority", "spec", "asked", "expedited", "notes", "snapshot"):
            assert getattr(after, what) == getattr(before, what), what


async def test_work_that_was_called_off_is_not_begun_by_an_older_word(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = world.issue("Add a door")
        await unheard(world, number, "/tgs start")
        assert "not" in await heard(world, number, "/tgs stop")
        assert "The newer `/tgs stop`" in await late(world, number)
        assert world.state(number) is None
        assert not world.runs()


async def test_said_again_it_counts(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await queued(world)
        await unheard(world, number, "/tgs hold")
        await heard(world, number, "/tgs unhold")
        await late(world, number)
        assert "on hold" in await heard(world, number, "/tgs hold")
        item = await world.item(number)
        assert item is not None
        assert item.held_by == "maria"


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        pytest.param("/tgs hold", ("/tgs unhold", "/tgs hold"), id="the newest wishes the same"),
        pytest.param("/tgs lock src/**", ("/tgs unlock docs/**",), id="the newer one is about another path"),
        pytest.param("/tgs depends #1", ("/tgs undepends #2",), id="the newer one is about another issue"),
        pytest.param("/tgs priority 2", ("/tgs priority",), id="the newer one was not understood"),
        pytest.param("/tgs hold", ("/tgs stop",), id="the newer one is about something else"),
    ],
)
async def test_what_no_newer_word_contradicts_is_heard_as_if_it_came_in_time(
    tmp_path: Path, older: str, newer: tuple[str, ...]
) -> None:
    async with scene(tmp_path) as world:
        number = await queued(world)
        await unheard(world, number, older)
        for words in newer:
            await heard(world, number, words)
            await world.after(MINUTE)
        assert "newer" not in await late(world, number)


async def test_who_may_not_say_it_does_not_overtake_anybody(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await queued(world)
        await unheard(world, number, "/tgs hold")
        world.comment(number, "/tgs unhold", by=world.rita)
        await world.settle()
        world.bot_said(number)
        assert "on hold" in await late(world, number)


async def test_a_word_on_the_pull_request_counts_among_those_on_the_issue(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await in_review(world)
        world.bot_said(number)
        [pull] = world.pulls()
        await unheard(world, number, "/tgs hold")
        await heard(world, pull.number, "/tgs unhold")
        await world.polls(A_LOOK)
        assert any("The newer `/tgs unhold`" in said for said in world.bot_said(number))
        item = await world.item(number)
        assert item is not None
        assert item.held_by is None
