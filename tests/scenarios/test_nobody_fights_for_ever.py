"""Other bots, scripts and our own mistakes may undo or ask again without end: the bot stops, and says so once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.domain import fuse
from bot.domain.effects import Dispatch, Show, TakeReadyLabel
from bot.domain.model import AttemptId, InstallationId, IssueKey, Projection, RepoId
from bot.localhub.model import Account
from tests.scenarios.steps import item_of, queued, running, say, scene, settled_for, why
from tests.world import PERMISSIONS, SECRET, World, app_key

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def rival(world: World, name: str = "helper") -> Account:
    """The bot user of another App."""
    app = world.hub.create_app(world.owner, name, PERMISSIONS, [], "http://127.0.0.1:9/none", SECRET, app_key())
    return app.bot


async def test_a_bot_that_takes_our_label_off_gets_one_round_and_one_comment(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        other, number = rival(world), await running(world)
        said: list[str] = []
        for _ in range(6):
            if "tgs:in-progress" in world.labels(number):
                world.unlabel(number, "tgs:in-progress", by=other)
            await world.after(3 * MINUTE)
            said += world.bot_said(number)
        assert len(said) == 1
        assert "I put the label `tgs:in-progress` back once." in said[0]
        assert "If it is changed again, I leave it as it is." in said[0]
        # What is seen was left to the other bot; the work went on.
        assert world.state(number) is None
        assert (await item_of(world, number)).state.value == "in-progress"


async def test_a_bot_that_is_not_listed_starts_nothing_by_label_and_is_answered_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        other, number = rival(world), world.issue()
        said: list[str] = []
        for _ in range(6):
            if "tgs:ready" not in world.labels(number):
                world.label(number, "tgs:ready", by=other)
            await world.after(3 * MINUTE)
            said += world.bot_said(number)
        assert len(said) == 1
        assert f"is a bot (id {other.id})" in said[0]
        assert "list that number under `bots`" in said[0]
        assert await world.item(number) is None
        assert world.runs() == []
        # Two rounds, then it may stay: it means nothing.
        assert "tgs:ready" in world.labels(number)


async def test_commands_of_a_bot_that_is_not_listed_are_not_answered(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        other, number = rival(world), await queued(world)
        for text in ("/tgs stop", "/tgs why", "/tgs nonsense"):
            comment = world.comment(number, text, by=other)
            await world.settle()
            assert world.bot_said(number) == []
            assert world.reactions(comment) == set()
        assert world.state(number) == "ready"


async def test_a_listed_bot_may_label_and_command(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        other = rival(world)
        world.push({".tgs/policy.yml": f"bots: [{other.id}]\n"})
        await world.settle()
        number = world.issue()
        world.label(number, "tgs:ready", by=other)
        await world.settle()
        assert len(world.runs()) == 1
        assert (await item_of(world, number)).state.value == "in-progress"
        answers = await say(world, number, "/tgs why", by=other)
        assert len(answers) == 1
        # It speaks for itself alone: the number counts, not the name.
        stranger = rival(world, "helper2")
        assert await say(world, number, "/tgs why", by=stranger) == []


async def test_the_fuse_of_an_item_blows_once_and_waits_for_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuse, "MAX_WRITES", 4)
    async with scene(tmp_path) as world:
        number = await queued(world)
        for _ in range(6):
            # A script under a maintainer's account cannot make up its mind.
            world.unlabel(number, "tgs:ready")
            await world.after(MINUTE)
            world.label(number, "tgs:ready")
            await world.after(MINUTE)
        said = world.bot_said(number)
        assert len(said) == 1
        assert "I stopped here: within an hour I changed this issue more than" in said[0]
        assert "`/tgs sync` (go on)" in said[0]
        assert (await item_of(world, number)).projection.blown_at is not None
        # The queue goes on, without it.
        await say(world, number, "/tgs resume")
        assert world.runs() == []
        await settled_for(world, 2 * HOUR, number)
        assert "changed this issue far more often than work needs" in await why(world, number)
        await say(world, number, "/tgs retry")
        await world.after(MINUTE)
        assert (await item_of(world, number)).projection.blown_at is None
        assert len(world.runs()) == 1


async def test_commands_of_people_never_blow_the_fuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse, "MAX_WRITES", 4)
    async with scene(tmp_path) as world:
        number = await queued(world)
        for _ in range(5):
            await say(world, number, "/tgs hold")
            await say(world, number, "/tgs unhold")
        assert (await item_of(world, number)).projection.blown_at is None


def test_a_start_that_is_decided_again_counts_what_was_tried_and_not_all_that_was_to_follow() -> None:
    key, now = IssueKey(InstallationId(1), RepoId(2), 3), datetime(2026, 3, 1, tzinfo=UTC)
    start = (
        TakeReadyLabel(key, AttemptId("a1"), 1),
        Dispatch(key, AttemptId("a1"), 1, "run.yml", "main", ()),
        Show(key, add_labels=("tgs:in-progress",)),
    )
    shown = Projection()
    for _ in range(3):
        shown = fuse.spend(shown, start, now)
    assert shown.writes == 3
    assert fuse.spend(shown, start[1:], now).writes == 5
