"""Other bots, scripts and our own mistakes may undo or ask again without end: the bot stops, and says so once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.domain import fuse
from bot.domain.effects import Dispatch, MergePull, OpenPull, Show, TakeReadyLabel
from bot.domain.model import AttemptId, InstallationId, IssueKey, ItemState, Projection, RepoId
from bot.localhub.actions_model import Conclusion
from bot.localhub.faults import FaultKind
from bot.localhub.model import Account
from bot.pull_service import Given
from tests.scenarios.pulling import PULL_POLICY, new_puller
from tests.scenarios.steps import (
    fault,
    item_of,
    last_attempt,
    queued,
    ready,
    running,
    say,
    scene,
    settled_for,
    why,
)
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


async def blow(world: World, number: int) -> None:
    """The fuse of the item blows, as after too many writes."""
    item = await item_of(world, number)
    blown = replace(item, projection=replace(item.projection, blown_at=world.clock.now()))
    await world.parts.store.write(lambda tx: tx.save_item(item, blown))


async def test_a_pull_request_that_cannot_be_opened_for_long_blows_no_fuse(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        world.expected_errors = True
        number = await running(world)
        refused = fault(world, FaultKind.ERROR_BEFORE, "POST", r"/pulls\?", count=None)
        await world.run().publish()
        for _ in range(2 * fuse.MAX_WRITES):
            # Each comment has the bot look at the issue; each look decides that the pull request is to be opened.
            world.comment(number, "Is it there yet?")
            await world.after(MINUTE)
        assert refused.hits
        item = await item_of(world, number)
        assert (item.state.value, item.projection.blown_at) == ("in-progress", None)
        world.hub.faults.planned.remove(refused)
        await world.after(10 * MINUTE)
        assert world.state(number) == "in-review"
        assert len(world.pulls()) == 1
        assert world.bot_said(number) == []


async def test_what_runs_ends_with_its_pull_request_although_the_fuse_has_blown(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        await blow(world, number)
        await world.run().publish()
        await world.after(MINUTE)
        assert not (await last_attempt(world, number)).live
        assert len(world.pulls()) == 1
        # It is not shown before somebody has looked at what blew the fuse.
        assert world.labels(number) == {"tgs:in-progress"}
        await say(world, number, "/tgs sync")
        assert world.labels(number) == {"tgs:in-review"}


async def test_what_a_pull_worker_handed_in_is_published_although_the_fuse_has_blown(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=PULL_POLICY) as world:
        number = await ready(world)
        puller = await new_puller(world)
        assert isinstance(await puller.claim(), Given)
        await world.settle()
        await blow(world, number)
        await puller.hand_in(b"# v2 git bundle\n")
        [run] = world.runs()
        assert run.inputs["publish_only"] == "true"


async def test_who_commands_is_answered_also_by_a_reaction_although_the_fuse_has_blown(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await queued(world)
        await blow(world, number)
        comment = world.comment(number, "/tgs hold")
        await world.settle()
        assert len(world.bot_said(number)) == 1
        assert "eyes" in world.reactions(comment)


async def test_an_issue_that_is_closed_after_its_fuse_has_blown_is_shown_to_have_ended_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await running(world)
        await blow(world, number)
        world.close(number)
        await world.after(MINUTE)
        world.run().end(Conclusion.CANCELLED)
        await world.after(MINUTE)
        assert (await item_of(world, number)).state is ItemState.CANCELLED
        assert world.labels(number) == {"tgs:cancelled"}
        assert world.status(number).startswith("**Called off")
        world.unlabel(number, "tgs:cancelled")
        await world.after(HOUR)
        assert world.labels(number) == set()


def test_what_happens_once_by_itself_is_not_counted_however_often_it_is_decided() -> None:
    key, now = IssueKey(InstallationId(1), RepoId(2), 3), datetime(2026, 3, 1, tzinfo=UTC)
    acts = (
        Dispatch(key, AttemptId("a1"), 1, "run.yml", "main", ()),
        OpenPull(key, AttemptId("a1"), 1, "tgs/3-x", "main", "c" * 40),
        MergePull(key, 4, "c" * 40, "squash", None),
    )
    assert fuse.spend(Projection(), acts * fuse.MAX_WRITES, now) == Projection()


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
    assert fuse.spend(shown, start[1:], now).writes == 4
