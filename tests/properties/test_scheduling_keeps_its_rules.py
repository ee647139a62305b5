"""Whatever the backlog looks like: limits hold, overlapping paths never run together, nobody waits without a reason."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.domain.attempt import Attempt, AttemptPhase, Worker, WorkerKind
from bot.domain.line import order, place_told, queued
from bot.domain.locks import overlap, parse_lock
from bot.domain.model import AttemptId, InstallationId, IssueKey, Item, ItemState, RepoId, RepoKey, WorkSpec
from bot.domain.policy_model import Policy
from bot.domain.reasons import ReasonCode
from bot.domain.repository import RepoRecord
from bot.domain.schedule import IN_LINE, Backlog, exactly, schedule

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
REPO = RepoRecord(RepoKey(InstallationId(1), RepoId(2)), "o/r", 3, "main", True, preflight_ok=True)
PATHS = ("src/", "src/auth/", "docs/guide.md", "**", "tests/", "read:src/")


def item(number: int, **changes: object) -> Item:
    key = IssueKey(InstallationId(1), RepoId(2), number)
    base = Item(key, f"I_{number}", f"Item {number}", ItemState.READY, NOW, ready_since=NOW)
    return replace(base, **changes)  # type: ignore[arg-type]


@st.composite
def items(draw: st.DrawFn) -> list[Item]:
    count = draw(st.integers(0, 12))
    return [
        item(
            number,
            priority=draw(st.sampled_from([-100, 0, 0, 100])),
            ready_since=NOW - timedelta(minutes=draw(st.integers(0, 5))),
            expedited=draw(st.booleans()) and draw(st.booleans()),
            held_by=draw(st.sampled_from([None, None, None, "maria"])),
            human_owned=draw(st.sampled_from([False, False, False, True])),
            not_before=draw(st.sampled_from([None, None, NOW + timedelta(minutes=3)])),
            state=draw(st.sampled_from([ItemState.READY, ItemState.READY, ItemState.IN_PROGRESS])),
            spec=WorkSpec(locks=tuple(draw(st.lists(st.sampled_from(PATHS), max_size=2, unique=True)))),
        )
        for number in range(1, count + 1)
    ]


def live(number: int) -> Attempt:
    key = IssueKey(InstallationId(1), RepoId(2), number)
    return Attempt(
        AttemptId(f"a{number}"), key, 1, 1, AttemptPhase.RUNNING, Worker(WorkerKind.ACTIONS, "actions"), "b", NOW
    )


@st.composite
def backlogs(draw: st.DrawFn) -> tuple[Backlog, Policy]:
    found = draw(items())
    running = [i for i in found if i.state is ItemState.IN_PROGRESS and draw(st.booleans())]
    policy = Policy(max_parallel=draw(st.integers(1, 4)), max_unreviewed_prs=draw(st.integers(1, 4)))
    held = [(parse_lock(path), i.key.number) for i in running for path in i.spec.locks]
    backlog = Backlog(
        repo=REPO,
        queue=[queued(i) for i in found],
        live=[live(i.key.number) for i in running],
        held_locks=held,
        in_review=draw(st.integers(0, 3)),
        dispatches_today=draw(st.sampled_from([0, 0, 49, 50])),
        open_dependencies={i.key.number: (99,) for i in found if draw(st.integers(0, 9)) == 0},
    )
    return backlog, policy


@settings(max_examples=60)
@given(backlogs())
def test_limits_hold_and_every_wait_has_a_reason(given_: tuple[Backlog, Policy]) -> None:
    backlog, policy = given_
    plan = schedule(backlog, policy, NOW)
    running = {attempt.key.number for attempt in backlog.live}
    started = {chosen.key.number for chosen in plan.start}
    waiting = {held.number: reasons for held, reasons, _ in plan.waiting}
    assert len(started) <= max(policy.max_parallel - len(running), 0)
    assert not started & running
    assert started | set(waiting) | running == {line.number for line in backlog.queue}
    assert all(reasons for reasons in waiting.values())
    assert all(code in set(ReasonCode) for reasons in waiting.values() for code in (r.code for r in reasons))
    assert len(started) <= max(policy.budgets.dispatches_per_day - backlog.dispatches_today, 0)


@settings(max_examples=60)
@given(backlogs())
def test_overlapping_paths_never_run_together(given_: tuple[Backlog, Policy]) -> None:
    backlog, policy = given_
    plan = schedule(backlog, policy, NOW)
    held = [*backlog.held_locks]
    for chosen in plan.start:
        for path in chosen.spec.locks:
            wanted = parse_lock(path)
            for other, number in held:
                both_read = wanted.mode == other.mode and str(wanted.mode.value) == "read"
                assert number == chosen.key.number or both_read or not overlap(wanted.path, other.path)
        held += [(parse_lock(path), chosen.key.number) for path in chosen.spec.locks]


@settings(max_examples=60)
@given(backlogs(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_changes_nothing(given_: tuple[Backlog, Policy], random: object) -> None:
    backlog, policy = given_
    shuffled = list(backlog.queue)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    plan, again = schedule(backlog, policy, NOW), schedule(replace(backlog, queue=shuffled), policy, NOW)
    assert plan == again
    assert [i.key.number for i in plan.start] == [i.key.number for i in sorted(plan.start, key=order)]


@settings(max_examples=60)
@given(backlogs())
def test_somebody_starts_when_nothing_stands_in_the_way(given_: tuple[Backlog, Policy]) -> None:
    """No deadlock: with a free place and free paths, at least one item that nothing blocks is started."""
    backlog, policy = given_
    plan = schedule(replace(backlog, live=[], held_locks=[], in_review=0, dispatches_today=0), policy, NOW)
    free = [
        i
        for i in (line.item for line in backlog.queue)
        if not (i.held_by or i.human_owned or i.not_before) and not backlog.open_dependencies.get(i.key.number)
    ]
    assert bool(plan.start) is bool(free)


@settings(max_examples=60)
@given(backlogs(), st.integers(0, 4))
def test_who_is_far_behind_is_told_less_and_nothing_else_changes(given_: tuple[Backlog, Policy], near: int) -> None:
    backlog, policy = given_
    whole, short = schedule(backlog, policy, NOW), schedule(backlog, policy, NOW, near=near)
    assert short.start == whole.start
    assert [(i, place) for i, _, place in short.waiting] == [(i, place) for i, _, place in whole.waiting]
    for (_, told, place), (_, reasons, _) in zip(short.waiting, whole.waiting, strict=True):
        assert told == reasons if place <= near else told == IN_LINE or set(told) <= set(reasons)
    for line, reasons, place in whole.waiting:
        assert exactly(backlog, policy, NOW, line.number) == (reasons, place), "who asks is told all of it"
    places = {place for _, _, place in whole.waiting}
    asked = [exactly(backlog, policy, NOW, item.key.number) for item in whole.start]
    found = {told[1] for told in asked if told is not None and told[0] == ()}
    assert found == set(range(1, len(whole.start) + len(places) + 1)) - places


@pytest.mark.parametrize(
    ("place", "told"),
    [(1, 1), (5, 5), (6, 6), (20, 6), (21, 21), (100, 21), (101, 101), (1_000, 101), (9_999, 1_001)],
    ids=str,
)
def test_a_place_is_exact_in_front_and_a_bound_behind(place: int, told: int) -> None:
    assert place_told(place) == told
