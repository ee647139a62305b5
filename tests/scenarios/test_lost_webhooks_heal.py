"""Nothing depends on a webhook: what they did not tell is found by looking, once, and looking costs nothing."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.domain.commanded import Spoken
from bot.domain.model import RepoKey
from bot.errors import TooLong
from bot.github.gateway import Gateway
from bot.localhub.actions_model import Conclusion
from bot.localhub.hooks import HookFault, HookFaultKind
from tests.scenarios.steps import (
    DAY,
    MINUTE,
    dispatched,
    in_review,
    item_of,
    merge_by_hand,
    pull_of,
    queued,
    ready,
    reviewed,
    running,
    say,
    scene,
    timeline,
)
from tests.world import AUTO_POLICY, World

HOT = timedelta(minutes=2)
"""Longer than the pause between two looks where somebody works."""

QUIET = timedelta(minutes=11)
"""Longer than the pause between two looks anywhere."""


def lose(world: World, event: str | None = None) -> None:
    """From now on webhooks vanish, and GitHub believes that they arrived."""
    world.hub.hooks.faults.append(HookFault(HookFaultKind.VANISH, event=event, count=None))


async def test_a_webhook_that_comes_before_the_first_sweep_of_a_new_process_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scene(tmp_path) as world:
        await world.stop_bot()
        await world.start_bot(allowed_accounts="")  # whom it serves is known to GitHub alone
        await world.settle()
        await world.stop_bot()

        async def later() -> None: ...

        monkeypatch.setattr(world, "sweep", later)
        await world.start_bot(allowed_accounts="")
        number = await dispatched(world)
        assert world.state(number) == "in-progress"


async def test_with_all_webhooks_lost_a_plan_is_built_and_merged_by_looking(tmp_path: Path) -> None:
    async with scene(tmp_path, policy=AUTO_POLICY, installed=False) as world:
        lose(world)
        await world.install()
        await world.polls(QUIET)
        world.thought("5d2a7e", "greet")
        await world.polls(QUIET)
        [number] = [n for n, record in world.repo.issues.items() if "tgs/thoughts/5d2a7e" in (record.body or "")]
        assert world.state(number) == "in-progress"
        sha = await world.run().work()
        await world.polls(HOT)
        assert world.state(number) == "in-review"
        world.ci(sha)
        await world.polls(QUIET)
        assert not pull_of(world, number).issue.draft
        assert len(world.bot_said(number)) == 1
        world.comment(number, "/tgs merge")
        await world.polls(QUIET)
        assert pull_of(world, number).issue.merged_at is not None
        assert world.state(number) == "done"
        assert world.record(number).state == "closed"
        assert len(world.runs()) == len(world.pulls()) == 1
        assert timeline(world, number).count("commented") == 2


# --- one kind after the other ------------------------------------------------------------------------

Step = Callable[[World, str], Awaitable[int]]
Act = Callable[[World, int], Any]


async def nothing(world: World, title: str) -> int:
    return world.issue(title)


async def proposed(world: World, title: str) -> int:
    number = world.issue(title)
    world.label(number, "tgs:proposed")
    await world.settle()
    return number


async def on_hold(world: World, title: str) -> int:
    return await ready(world, title, labels=["tgs:hold"])


def held(world: World, number: int) -> None:
    world.label(number, "tgs:hold")


def runs_of(world: World, number: int) -> list[int]:
    """Where in the list of all runs those of the issue are."""
    ordered = sorted(world.runs(), key=lambda run: run.id)
    return [index for index, run in enumerate(ordered) if f"#{number} " in run.title]


def run_ends(world: World, number: int) -> None:
    world.run(runs_of(world, number)[-1]).end(Conclusion.FAILURE)


def checks_pass(world: World, number: int) -> None:
    world.ci(pull_of(world, number).head_sha)


def closes_pull(world: World, number: int) -> None:
    world.hub.pulls.change_state(pull_of(world, number), "closed", world.as_(world.maria))


def pushes(world: World, number: int) -> None:
    world.push({"more.txt": "x\n"}, branch=pull_of(world, number).head_ref)


Seen = Callable[[World, int], bool]

WAITING: dict[str, tuple[Step, Act, Seen]] = {
    "an issue is labelled ready": (nothing, lambda w, n: w.label(n, "tgs:ready"), lambda w, n: "queue" in w.status(n)),
    "an issue is labelled proposed": (
        nothing,
        lambda w, n: w.label(n, "tgs:proposed"),
        lambda w, n: "tgs:ready" in w.status(n),
    ),
    "a proposal is labelled ready": (
        proposed,
        lambda w, n: w.label(n, "tgs:ready"),
        lambda w, n: w.state(n) == "ready",
    ),
    "ready is taken off": (queued, lambda w, n: w.unlabel(n, "tgs:ready"), lambda w, n: w.state(n) == "cancelled"),
    "a hold is set": (queued, held, lambda w, n: "hold" in w.status(n)),
    "people take the item": (
        queued,
        lambda w, n: w.label(n, "tgs:no-agent"),
        lambda w, n: "people" in w.status(n).lower(),
    ),
    "its priority is set": (
        queued,
        lambda w, n: w.label(n, "tgs:priority/high"),
        lambda w, n: "priority: 100" in w.status(n),
    ),
    "its title is edited": (
        queued,
        lambda w, n: w.edit(n, by=w.maria, title="Another"),
        lambda w, n: w.state(n) == "ready",
    ),
    "somebody without the role edits it": (
        queued,
        lambda w, n: w.edit(n, by=w.rita, body="Do evil."),
        lambda w, n: w.state(n) == "proposed",
    ),
    "the issue is closed": (queued, lambda w, n: w.close(n), lambda w, n: w.state(n) == "cancelled"),
    "a command is written": (queued, lambda w, n: w.comment(n, "/tgs hold"), lambda w, n: "hold" in w.status(n)),
}
"""What is brought about before webhooks are lost, what happens then, and what shows that it was found."""

WORKING: dict[str, tuple[Step, Act, Seen]] = {
    "a hold is taken off": (on_hold, lambda w, n: w.unlabel(n, "tgs:hold"), lambda w, n: bool(runs_of(w, n))),
    "the run ends before its start": (dispatched, run_ends, lambda w, n: len(runs_of(w, n)) == 2),
    "the run ends without a word": (running, run_ends, lambda w, n: len(runs_of(w, n)) == 2),
    "the checks pass": (in_review, checks_pass, lambda w, n: not pull_of(w, n).issue.draft),
    "a person merges": (reviewed, merge_by_hand, lambda w, n: w.state(n) == "done"),
    "a person closes the pull request": (reviewed, closes_pull, lambda w, n: w.state(n) == "cancelled"),
    "a person pushes to the branch": (reviewed, pushes, lambda w, n: "Checks: none" in w.status(n)),
}
"""The same for items that are worked on or waiting for people."""


@pytest.mark.parametrize("kinds", [WAITING, WORKING], ids=["of items that wait", "of items that are worked on"])
async def test_each_kind_of_news_is_found_without_its_webhook(
    tmp_path: Path, kinds: dict[str, tuple[Step, Act, Seen]]
) -> None:
    async with scene(
        tmp_path, policy="max_parallel: 25\nmax_unreviewed_prs: 100\nbudgets:\n  per_day: 1000\n"
    ) as world:
        if kinds is WAITING:
            await queued(world, "Holds up the others")
        items = {kind: await step(world, kind) for kind, (step, _, _) in kinds.items()}
        lose(world)
        for kind, number in items.items():
            kinds[kind][1](world, number)
        unseen = list(kinds)
        for _ in range(4):
            await world.polls(QUIET)
            unseen = [kind for kind, number in items.items() if not kinds[kind][2](world, number)]
            if not unseen:
                break
        assert not unseen, [(kind, world.labels(items[kind]), world.status(items[kind])) for kind in unseen]
        for issue in world.repo.issues:
            world.bot_said(issue)


# --- commands ----------------------------------------------------------------------------------------


async def test_a_command_runs_once_whichever_comes_first_the_look_or_its_webhook(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await queued(world)
        world.hub.hooks.hold()
        world.comment(number, "/tgs priority 5\n\n/tgs lock src/")
        await world.polls(QUIET)
        assert len(world.bot_said(number)) == 2
        world.hub.hooks.release()
        await world.polls(QUIET)
        assert world.bot_said(number) == []
        assert (await item_of(world, number)).priority == 5


async def test_a_command_on_the_pull_request_is_found_too(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await reviewed(world)
        lose(world)
        world.comment(pull_of(world, number).number, "/tgs merge")
        await world.polls(QUIET)
        assert world.state(number) == "done"


async def test_an_edit_that_nobody_told_of_runs_nothing_and_is_explained_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await queued(world)
        heard = world.comment(number, "/tgs priority 5")
        await world.settle()
        world.bot_said(number)
        lose(world)
        unheard = world.comment(number, "What do you think?")
        world.clock.advance(MINUTE)
        for id_, body in ((heard, "/tgs priority 5\n\nReally."), (unheard, "/tgs stop")):
            [comment] = [c for c in world.record(number).comments if c.id == id_]
            world.hub.comments.edit(comment, body, world.as_(world.maria))
        await world.polls(QUIET)
        await world.polls(QUIET)
        [told] = world.bot_said(number)
        assert "only from new comments" in told
        assert world.state(number) == "ready"


async def test_what_was_written_before_the_app_came_is_nobodys_command(tmp_path: Path) -> None:
    async with scene(tmp_path, installed=False) as world:
        number = world.issue()
        world.comment(number, "/tgs start")
        world.clock.advance(MINUTE)
        await world.install()
        await world.polls(QUIET)
        assert world.bot_said(number) == []
        assert not world.runs()


async def test_after_a_long_outage_old_commands_are_answered_and_not_carried_out(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await queued(world)
        await world.stop_bot()
        lose(world)
        old = world.comment(number, "/tgs stop")
        world.clock.advance(2 * DAY)
        world.comment(number, "/tgs priority 7")
        world.clock.advance(MINUTE)
        await world.start_bot()
        await world.polls(QUIET)
        [told, done] = world.bot_said(number)
        assert "nobody was listening" in told
        assert "confused" in world.reactions(old)
        assert "7" in done
        assert world.state(number) == "ready"


@pytest.mark.parametrize("lasts", [2 * DAY, HOT], ids=["some of it is read", "none of it is read"])
async def test_a_flood_of_comments_stops_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lasts: timedelta
) -> None:
    comments_in = Gateway.comments_in

    async def flooded(github: Gateway, key: RepoKey, since: datetime) -> list[Spoken]:
        if world.clock.now() - since >= lasts:
            raise TooLong("the list has more than 100 pages")
        return await comments_in(github, key, since)

    async with scene(tmp_path) as world:
        number = await queued(world)
        await world.stop_bot()
        lose(world)
        world.clock.advance(2 * DAY)
        world.comment(number, "/tgs priority 7")
        other = world.issue()
        world.label(other, "tgs:ready")
        world.clock.advance(HOT)
        monkeypatch.setattr(Gateway, "comments_in", flooded)
        await world.start_bot()
        await world.polls(QUIET)
        assert len(world.bot_said(number)) == (1 if lasts > DAY else 0)
        assert world.state(other) == "ready"
        assert world.status(other)
        world.bot_said(other)


# --- what it costs -----------------------------------------------------------------------------------


async def test_looking_where_nothing_happened_costs_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        for step in (reviewed, on_hold, running):
            number = await step(world, step.__name__)
            world.bot_said(number)
        for _ in range(3):
            await world.polls(4 * MINUTE)
            await world.run().beat()
        world.hub.log.clear()
        await world.polls(8 * MINUTE)
        paid = [f"{e.method} {e.path} {e.status}" for e in world.hub.log.entries if not e.conditional_hit]
        assert paid == []
        looked = {entry.template for entry in world.hub.log.entries}
        assert "/repos/{owner}/{repo}/issues/comments" in looked
        assert "/repos/{owner}/{repo}/issues/{issue_number}" in looked
        assert "/repos/{owner}/{repo}/pulls/{pull_number}" in looked


async def test_only_where_somebody_works_is_looked_often(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        await queued(world)
        await world.polls(QUIET)
        world.hub.log.clear()
        await world.polls(5 * MINUTE)
        assert world.hub.log.entries == []


# --- failed deliveries -------------------------------------------------------------------------------


async def test_deliveries_that_failed_are_asked_for_again_a_few_times_and_never_from_the_beginning(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as world:
        await queued(world)
        await world.polls(QUIET)
        world.hub.hooks.faults.append(HookFault(HookFaultKind.DROP, event="issues"))
        world.issue("Lost")
        await world.stop_bot()
        poison = world.issue("Fails whatever happens")
        await world.hub.settle()
        await world.start_bot()
        await world.polls(4 * QUIET)
        again = [d for d in world.hub.hooks.deliveries if d.redelivery]
        assert len(again) == 2
        assert {json.loads(d.body)["issue"]["title"] for d in again} == {"Lost", "Fails whatever happens"}
        assert all(d.status_code == 202 for d in again)
        del poison
        world.hub.log.clear()
        await world.polls(QUIET)
        pages = [entry for entry in world.hub.log.entries if entry.template == "/app/hook/deliveries"]
        assert len(pages) == 1


# --- by hand -----------------------------------------------------------------------------------------


async def test_sync_looks_at_everything_at_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        office = await queued(world)
        other = world.issue("Other")
        lose(world)
        world.label(other, "tgs:ready")
        world.comment(office, "/tgs priority 3")
        world.hub.hooks.faults.clear()
        answers = await say(world, office, "/tgs sync")
        assert any("looked at again" in answer for answer in answers)
        assert "priority: 3" in world.status(office)
        assert world.state(other) == "ready"


async def test_a_person_with_the_role_has_everything_looked_at_over_http(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = world.issue()
        lose(world)
        world.label(number, "tgs:ready")
        assert world.http is not None

        async def post(path: str, login: str | None) -> tuple[int, dict[str, Any]]:
            headers = {} if login is None else {"Authorization": f"Bearer {world.hub.user_token(login)}"}
            async with world.http.post(world.url + path, headers=headers) as answer:  # type: ignore[union-attr]
                return answer.status, await answer.json()

        one = f"/api/v1/repos/{world.repo.full_name}/resync"
        assert (await post(one, None))[0] == 401
        assert (await post(one, "rita"))[0] == 403
        status, body = await post("/api/v1/resync", "rita")
        assert (status, body["repos"], body["refused"]) == (202, [], [world.repo.full_name])
        await world.settle()
        assert not world.runs()
        status, body = await post("/api/v1/resync", "maria")
        assert (status, body["repos"]) == (202, [world.repo.full_name])
        await world.settle()
        assert len(world.runs()) == 1
        assert (await post(one, "maria"))[0] == 202
        await world.settle()
