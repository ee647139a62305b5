"""Which item starts next and why the others wait; the status comment and `/tgs why` name the same reason."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bot.localhub.actions_model import Conclusion
from tests.scenarios.steps import (
    DAY,
    HOUR,
    MINUTE,
    dispatched,
    in_review,
    item_of,
    merge_by_hand,
    paused,
    pull_of,
    queued,
    ready,
    say,
    scene,
    why,
)
from tests.scenarios.test_people_over_http import ask
from tests.world import World


def working(world: World) -> list[int]:
    """The issues whose runs were dispatched, in the order of their start."""
    return [int(run.inputs["issue"]) for run in sorted(world.runs(), key=lambda run: run.id)]


async def waits_for(world: World, number: int, *words: str) -> None:
    """Status comment and `/tgs why` both name the reason."""
    answer = await why(world, number)
    await world.after(2 * MINUTE)
    for word in words:
        assert word in answer, answer
        assert word in world.status(number), world.status(number)


async def finish(world: World, number: int) -> None:
    """The agent of this item publishes, and a person merges."""
    index = working(world).index(number)
    await world.run(index).work({f"file-{number}.txt": "x\n"})
    merge_by_hand(world, number)
    await world.settle()


async def test_priority_comes_first_then_the_time_of_being_ready_then_the_number(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        await paused(world)
        first, second, third, urgent, low = (world.issue(name) for name in ("a", "b", "c", "urgent", "low"))
        for number in (low, second, first, third, urgent):
            world.label(number, "tgs:ready")
            await world.after(MINUTE)
        world.label(urgent, "tgs:priority/high", by=world.tom)
        world.label(low, "tgs:priority/low", by=world.tom)
        await world.after(3 * MINUTE)
        positions = {number: (await item_of(world, number)).position for number in (urgent, second, first, third, low)}
        assert list(positions.values()) == [1, 2, 3, 4, 5]
        assert "number 4 in the queue" in world.status(third)
        assert "tests" in world.status(third)
        [answer] = await say(world, third, "/tgs next")
        assert f"#{urgent}" in answer
        await say(world, third, "/tgs resume")
        for number in (urgent, second):
            assert working(world)[-1] == number
            await finish(world, number)
        # A maintainer's word outranks every number.
        await say(world, low, "/tgs start")
        await finish(world, first)
        assert working(world)[-1] == low
        await waits_for(world, third, "1 of 1")


@pytest.mark.parametrize("limit", [1, 3, 5])
async def test_as_many_work_at_once_as_the_policy_allows(tmp_path: Path, limit: int) -> None:
    async with scene(
        tmp_path, policy=f"max_parallel: {limit}\nmax_unreviewed_prs: 50\nbudgets: {{per_day: 100}}\n"
    ) as world:
        numbers = [world.issue(f"Item {index}") for index in range(limit + 2)]
        for number in numbers:
            world.label(number, "tgs:ready")
        await world.settle()
        assert working(world) == numbers[:limit]
        await world.after(3 * MINUTE)
        assert f"{limit} of {limit}" in world.status(numbers[-1])
        assert "number 2 in the queue" in world.status(numbers[-1])
        await world.run(0).work()
        assert working(world) == numbers[: limit + 1]
        live = [n for n in numbers for attempt in await world.attempts(n) if attempt.live]
        assert len(live) == limit


async def test_items_on_the_same_path_run_one_after_the_other_until_the_merge(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="max_parallel: 3\n") as world:
        one = await dispatched(world, "One", body="```yaml tgs\nlocks: [src/auth/]\n```\nDo it.")
        two = await ready(world, "Two", body="```yaml tgs\nlocks: [src/auth/login.py]\n```\nDo it.")
        other = await ready(world, "Other", body="```yaml tgs\nlocks: [docs/]\n```\nDo it.")
        assert working(world) == [one, other]
        await waits_for(world, two, f"#{one}", "src/auth")
        await world.run(0).work()
        # The path stays taken while the pull request is open.
        await world.after(HOUR)
        assert two not in working(world)
        await waits_for(world, two, f"#{one}", "src/auth")
        world.bot_said(one)
        merge_by_hand(world, one)
        await world.settle()
        assert working(world)[-1] == two


async def test_whoever_asks_for_an_item_far_behind_is_told_its_place_and_all_that_it_waits_for(tmp_path: Path) -> None:
    docs = "```yaml tgs\nlocks: [docs/]\n```\nDo it."
    async with scene(tmp_path, policy="max_parallel: 2\n") as world:
        one = await dispatched(world, "One", body=docs)
        # All want the path that one has, so a place is free and nobody may take it.
        waiting = [await ready(world, f"Piece {index}", body=docs) for index in range(7)]
        last = await ready(world, "Last", body=f"```yaml tgs\nlocks: [docs/]\ndepends_on: [{waiting[0]}]\n```\nDo it.")
        await world.after(3 * MINUTE)
        assert "number 6 or later in the queue" in world.status(last)
        shown = world.status(last)
        assert f"#{one}" not in shown
        answer = await why(world, last)
        for words in ("number 8 in the queue", f"#{one}", "docs", f"#{waiting[0]}"):
            assert words in answer, answer
        assert "or later" not in answer
        lines = (await ask(world, "GET", f"items/{last}/explain")).body["lines"]
        assert lines[0] == "It is number 8 in the queue."
        assert [f"#{one}" in " ".join(lines), f"#{waiting[0]}" in " ".join(lines)] == [True, True]
        await world.after(3 * MINUTE)
        assert world.status(last) == shown, "a question edits nothing"


async def test_locks_of_a_failed_or_cancelled_item_are_free_again(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="max_parallel: 2\nlocks: [src/]\n") as world:
        one = await dispatched(world, "One")
        two = await ready(world, "Two")
        assert working(world) == [one]
        await say(world, one, "/tgs stop --now")
        await world.after(MINUTE)
        assert working(world) == [one, two]
        three = await ready(world, "Three")
        await world.run().work()
        world.hub.pulls.change_state(pull_of(world, two), "closed", world.as_(world.maria))
        await world.settle()
        assert working(world)[-1] == three
        world.bot_said(two)


async def test_a_pause_ends_by_itself_when_its_date_comes(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = world.issue()
        [answer] = await say(world, number, "/tgs pause until 2026-11-03 release week")
        assert "release week" in answer
        world.label(number, "tgs:ready")
        await world.settle()
        await waits_for(world, number, "paused", "release week", "maria")
        await world.after(timedelta(hours=14))
        assert not world.runs()
        await world.after(2 * HOUR)
        assert len(world.runs()) == 1


async def test_nothing_is_merged_while_the_repository_is_paused(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await in_review(world)
        world.ci(pull_of(world, number).head_sha)
        await say(world, number, "/tgs pause freeze")
        [refused] = await say(world, number, "/tgs merge")
        assert "paused" in refused
        assert pull_of(world, number).issue.merged_at is None
        await say(world, number, "/tgs resume")
        await say(world, number, "/tgs merge")
        assert pull_of(world, number).issue.merged_at is not None


async def test_unreviewed_pull_requests_stop_new_starts(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="max_parallel: 2\nmax_unreviewed_prs: 2\n") as world:
        one = await in_review(world, "One")
        two = await in_review(world, "Two")
        three = await ready(world, "Three")
        assert working(world) == [one, two]
        await waits_for(world, three, "2 pull requests", "review")
        merge_by_hand(world, one)
        await world.settle()
        assert working(world)[-1] == three


async def test_work_under_way_counts_towards_the_unreviewed_pull_requests(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="max_parallel: 5\nmax_unreviewed_prs: 2\n") as world:
        numbers = [world.issue(f"Item {index}") for index in range(4)]
        for number in numbers:
            world.label(number, "tgs:ready")
            await world.settle()
        # Three at work with a limit of two would end in three pull requests.
        assert working(world) == numbers[:2]


async def test_an_item_waits_for_the_issues_it_depends_on(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="max_parallel: 3\n") as world:
        base, other = world.issue("Base"), world.issue("Other")
        number = await ready(world, "On top", body=f"```yaml tgs\ndepends_on: [{base}, {other}]\n```\nDo it.")
        assert not world.runs()
        await waits_for(world, number, f"#{base}", f"#{other}")
        world.close(other)
        await world.settle()
        assert not world.runs()
        # Not planned is not done.
        world.close(base, reason="not_planned")
        await world.settle()
        assert not world.runs()
        world.reopen(base)
        world.close(base)
        await world.settle()
        assert working(world) == [number]


async def test_the_number_of_runs_in_a_day_is_limited(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="budgets:\n  dispatches_per_day: 2\nmax_unreviewed_prs: 20\n") as world:
        others = [await in_review(world, name) for name in ("One", "Two")]
        three = await ready(world, "Three")
        assert len(world.runs()) == 2
        await waits_for(world, three, "limit of 2 runs")
        await world.after(DAY)
        await world.sweep()
        await world.settle()
        for number in others:
            assert len(world.bot_said(number)) == 1
        assert working(world)[-1] == three


async def test_a_policy_that_switches_the_bot_off_starts_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path, policy="enabled: false\n") as world:
        number = await ready(world)
        assert not world.runs()
        await waits_for(world, number, "switched off")
        world.push({".tgs/policy.yml": "enabled: true\n"})
        await world.settle()
        assert working(world) == [number]


async def test_finishing_comes_before_starting(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        one = await dispatched(world, "One")
        world.run().end(Conclusion.FAILURE)
        await world.settle()
        two = world.issue("Two")
        await say(world, one, "/tgs pause a moment")
        world.label(two, "tgs:ready")
        world.label(two, "tgs:priority/high", by=world.tom)
        await world.settle()
        await world.after(HOUR)
        await say(world, one, "/tgs resume")
        assert working(world) == [one, one]


async def test_within_seconds_of_the_label_the_status_says_position_and_reason(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        await dispatched(world, "One")
        number = await ready(world, "Two")
        assert "number 1 in the queue" in world.status(number)
        assert "1 of 1" in world.status(number)
        held = world.issue("Three")
        world.label(held, "tgs:hold", by=world.tom)
        world.label(held, "tgs:ready")
        await world.settle()
        assert "hold" in world.status(held)


async def test_a_held_item_does_not_stand_in_the_way_of_others(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        held = await queued(world, "One")
        [answer] = await say(world, held, "/tgs hold waiting for the design", by=world.tom)
        assert "hold" in answer
        other = await ready(world, "Two")
        await say(world, other, "/tgs resume")
        assert working(world) == [other]
        await waits_for(world, held, "waiting for the design", "tom")
        await finish(world, other)
        assert working(world) == [other]
        await say(world, held, "/tgs unhold", by=world.tom)
        assert working(world) == [other, held]
