"""What an attempt may spend, what it is held to have spent, and which ceiling says no."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.domain import budget
from bot.domain.attempt import Attempt, AttemptPhase, Outcome, Worker, WorkerKind, WorkerReport
from bot.domain.budget import Ceiling, Scope, Spent, micro
from bot.domain.model import AttemptId, InstallationId, IssueKey, RepoId, WorkSpec
from bot.domain.policy_model import Budgets
from bot.domain.usage import Usage

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
CLAUDE = "claude-code"
USD = budget.MICRO
ATTEMPT = Attempt(
    id=AttemptId("a_1"),
    key=IssueKey(InstallationId(1), RepoId(2), 7),
    number=1,
    fence=1,
    phase=AttemptPhase.ENDED,
    worker=Worker(WorkerKind.ACTIONS, "run"),
    branch="tgs/7-x",
    claimed_at=NOW,
    started_at=NOW,
    outcome=Outcome.FAILED,
)


def above(item: int, day: int = 0, everyone: int = 0, *, spec: WorkSpec | None = None) -> tuple[Ceiling, ...]:
    spent = Spent({7: item * USD}, day * USD, everyone * USD, 100 * USD)
    return budget.ceilings(7, spec or WorkSpec(), Budgets(), spent)


@pytest.mark.parametrize(
    ("ceilings", "expected"),
    [
        pytest.param(above(0), 5 * USD, id="a first attempt gets the whole money of an attempt"),
        pytest.param(above(12), 3 * USD, id="what is left of the issue's money is enough from half an attempt on"),
        pytest.param(above(13), Scope.ITEM, id="less than half an attempt's money starts nothing"),
        pytest.param(above(0, day=22), 3 * USD, id="the repository's day may leave less"),
        pytest.param(above(0, day=25), Scope.REPOSITORY, id="a day that is spent starts nothing"),
        pytest.param(above(0, everyone=99), Scope.DEPLOYMENT, id="nor does the operator's ceiling for everyone"),
        pytest.param(above(16), Scope.ITEM, id="an overshoot counts"),
        pytest.param(above(0, spec=WorkSpec(budget_usd=1)), USD, id="an issue that may cost one dollar may use it up"),
        pytest.param(above(0, spec=WorkSpec(budget_usd=99)), 5 * USD, id="no wish goes beyond the policy"),
    ],
)
def test_money_is_set_aside_under_every_ceiling(ceilings: tuple[Ceiling, ...], expected: int | Scope) -> None:
    found = budget.reservation(Budgets(), ceilings, CLAUDE)
    assert (found.scope if isinstance(found, Ceiling) else found) == expected


def test_an_adapter_that_does_not_count_is_only_stopped_at_the_ceiling() -> None:
    assert budget.reservation(Budgets(), above(14), "command") == 0
    assert isinstance(budget.reservation(Budgets(), above(15), "command"), Ceiling)


REPORT = WorkerReport(False, NOW)
COUNTED = replace(REPORT, usage=Usage(turns=3, cost_microusd=120_000))


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        pytest.param(replace(ATTEMPT, report=COUNTED), 120_000, id="what the worker counted"),
        pytest.param(replace(ATTEMPT, gate_report=COUNTED, report=REPORT), 120_000, id="what the agent's job counted"),
        pytest.param(replace(ATTEMPT, report=REPORT), 5 * USD, id="everything, when nobody counted"),
        pytest.param(ATTEMPT, 5 * USD, id="everything, when the worker was lost"),
        pytest.param(replace(ATTEMPT, started_at=None), 0, id="nothing, when it never began"),
        pytest.param(replace(ATTEMPT, outcome=Outcome.NOT_STARTED), 0, id="nothing, when the run did not start"),
    ],
)
def test_an_attempt_that_ended_is_settled(attempt: Attempt, expected: int) -> None:
    assert budget.settled(attempt, 5 * USD) == expected


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 7_000_000)), max_size=40),
    st.integers(1, 30_000_000),
    st.integers(1, 10_000_000),
)
def test_a_ceiling_is_never_passed_by_more_than_agents_overshot(
    moves: list[tuple[int, int]], limit: int, each: int
) -> None:
    """Attempts of several issues begin and end in any order, and may cost more than was set aside for them."""
    budgets = Budgets(per_attempt=each / USD, per_item=10_000.0, per_day=limit / USD)
    live: dict[int, int] = {}
    spent = overshot = 0
    for number, cost in moves:
        if number in live:
            reserved = live.pop(number)
            spent += cost
            overshot += max(0, cost - reserved)
            continue
        used = spent + sum(live.values())
        found = budget.reservation(
            budgets, budget.ceilings(number, WorkSpec(), budgets, Spent(repository_today=used)), CLAUDE
        )
        if isinstance(found, int):
            live[number] = found
            assert used + found <= micro(limit / USD), "a decision of ours passed the ceiling"
        assert spent + sum(live.values()) <= limit + overshot


@pytest.mark.parametrize(
    ("before", "after", "step"),
    [(0, 49, None), (49, 50, 50), (50, 79, None), (10, 85, 80), (99, 120, 100), (100, 130, None)],
)
def test_people_are_told_at_half_at_most_and_at_the_end(before: int, after: int, step: int | None) -> None:
    assert budget.crossed(before, after, 100) == step


def test_a_day_ends_at_midnight_of_utc() -> None:
    east = NOW.astimezone(tz=None) + timedelta(0)
    assert budget.next_day(east) == datetime(2026, 12, 2, tzinfo=UTC)
    assert budget.day_start(datetime(2026, 12, 1, 23, 59, tzinfo=UTC)) == datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("used", "step"), [(0, None), (49, None), (50, 50), (79, 50), (80, 80), (99, 80), (100, 100), (120, 100)]
)
def test_what_of_a_ceiling_is_gone_is_said_in_three_steps(used: int, step: int | None) -> None:
    assert budget.reached(used, 100) == step
