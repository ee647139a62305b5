"""One table says what a failure leads to; nothing is repeated for ever."""

from __future__ import annotations

import inspect
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot import errors
from bot.domain.failures import (
    BACKOFF_BASE,
    BACKOFF_CAP,
    BACKOFF_FLOOR,
    EXCEPTIONS,
    EXTENSIONS,
    FAILURES,
    INFRA_CAP,
    AskPerson,
    GiveUp,
    Handling,
    NextStep,
    Owner,
    PauseRepo,
    Retry,
    backoff,
    handling,
    next_step,
    wait_until,
)
from bot.domain.model import Failure, FailureReason, InstallationId, IssueKey, Item, ItemState, RepoId, WorkSpec
from bot.domain.policy_model import Policy

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ITEM = Item(IssueKey(InstallationId(1), RepoId(2), 3), "node", "title", ItemState.IN_PROGRESS, NOW)
R = FailureReason


def test_every_reason_has_a_row() -> None:
    assert set(FAILURES) == set(FailureReason)


@pytest.mark.parametrize(
    ("reason", "step", "burns"),
    [
        pytest.param(R.INFRA_DISPATCH, Retry, False, id="infrastructure is tried again and burns nothing"),
        pytest.param(R.INFRA_RUNNER_LOST, Retry, False, id="a lost runner burns nothing"),
        pytest.param(R.INFRA_NOT_STARTED, Retry, False, id="a run without a runner burns nothing"),
        pytest.param(R.QUOTA_PROVIDER, Retry, False, id="a quota burns nothing"),
        pytest.param(R.CONFIG_SECRET_MISSING, PauseRepo, False, id="a wrong set-up stops the repository"),
        pytest.param(R.AGENT_CRASH, Retry, True, id="a crash burns an attempt"),
        pytest.param(R.AGENT_GAVE_UP, Retry, True, id="giving up is tried once more"),
        pytest.param(R.QUALITY_CI, Retry, True, id="failed checks are tried again"),
        pytest.param(R.POLICY_PROTECTED_PATH, AskPerson, True, id="protected files need a person"),
        pytest.param(R.SECURITY_SECRET_IN_DIFF, AskPerson, True, id="a secret needs a person"),
        pytest.param(R.BUDGET_EXCEEDED, AskPerson, False, id="a budget needs a person and burns nothing"),
        pytest.param(R.CANCELLED_BY_PERSON, AskPerson, False, id="a stop stays a stop"),
        pytest.param(R.LOST, Retry, True, id="a lost attempt burns"),
    ],
)
def test_the_first_failure(reason: FailureReason, step: type[NextStep], burns: bool) -> None:
    found = next_step(ITEM, reason, Policy(), NOW, 0.5)
    assert isinstance(found, step)
    assert found.attempts_burnt == int(burns)


def test_the_last_attempt_gives_up() -> None:
    used = replace(ITEM, attempts_burnt=2)
    assert next_step(used, R.AGENT_CRASH, Policy(), NOW, 0.5) == GiveUp(3, 0)
    assert isinstance(next_step(used, R.AGENT_CRASH, Policy(attempts=4), NOW, 0.5), Retry)


def test_a_plan_may_ask_for_fewer_attempts_but_not_for_more() -> None:
    fewer = replace(ITEM, spec=WorkSpec(max_attempts=1))
    assert isinstance(next_step(fewer, R.AGENT_CRASH, Policy(), NOW, 0.5), GiveUp)
    more = replace(ITEM, attempts_burnt=2, spec=WorkSpec(max_attempts=20))
    assert isinstance(next_step(more, R.AGENT_CRASH, Policy(), NOW, 0.5), GiveUp)


def test_what_is_tried_once_is_not_tried_twice() -> None:
    again = replace(ITEM, attempts_burnt=1, last_failure=Failure(R.AGENT_EMPTY_OUTPUT, "", NOW))
    assert isinstance(next_step(again, R.AGENT_GAVE_UP, Policy(), NOW, 0.5), GiveUp)
    other = replace(again, last_failure=Failure(R.AGENT_CRASH, "", NOW))
    assert isinstance(next_step(other, R.AGENT_GAVE_UP, Policy(), NOW, 0.5), Retry)


def test_infrastructure_asks_a_person_after_the_cap() -> None:
    tired = replace(ITEM, infra_failures=INFRA_CAP - 1)
    assert next_step(tired, R.INFRA_NETWORK, Policy(), NOW, 0.5) == AskPerson(Owner.MAINTAINER, 0, INFRA_CAP)


def test_an_overflowing_context_begins_a_fresh_session() -> None:
    found = next_step(ITEM, R.AGENT_CONTEXT_OVERFLOW, Policy(), NOW, 0.5)
    assert isinstance(found, Retry)
    assert found.fresh


@pytest.mark.parametrize(("failures", "seconds"), [(0, 60), (1, 120), (2, 240), (4, 960), (5, 1800), (50, 1800)])
def test_backoff_doubles_up_to_half_an_hour(failures: int, seconds: int) -> None:
    assert backoff(failures, 1.0) == timedelta(seconds=seconds)
    assert backoff(failures, 0.5) == timedelta(seconds=seconds / 2)
    assert backoff(failures, 0.0) == BACKOFF_FLOOR


@pytest.mark.parametrize("jitter", [-0.1, 1.1])
def test_a_jitter_out_of_range_is_an_error_of_the_caller(jitter: float) -> None:
    with pytest.raises(ValueError, match="jitter"):
        backoff(0, jitter)


def test_a_quota_waits_for_its_reset() -> None:
    reset = NOW + timedelta(hours=3)
    found = next_step(ITEM, R.QUOTA_PROVIDER, Policy(), NOW, 1.0, reset)
    assert isinstance(found, Retry)
    assert reset < found.at <= reset + timedelta(minutes=1)
    past = next_step(ITEM, R.QUOTA_PROVIDER, Policy(), NOW, 0.0, NOW - timedelta(hours=1))
    assert isinstance(past, Retry)
    assert past.at >= NOW + BACKOFF_CAP / 2


def test_a_quota_that_was_filled_again_while_the_report_was_on_its_way_is_not_waited_for() -> None:
    found = next_step(ITEM, R.QUOTA_PROVIDER, Policy(), NOW, 0.0, NOW - timedelta(seconds=5))
    assert found == Retry(NOW + BACKOFF_FLOOR, 0, 0)


@given(st.sampled_from(sorted(FailureReason)), st.integers(0, 30), st.integers(0, 30), st.floats(0, 1))
def test_no_item_is_retried_for_ever(reason: FailureReason, burnt: int, infra: int, jitter: float) -> None:
    item = replace(ITEM, attempts_burnt=burnt, infra_failures=infra)
    found = next_step(item, reason, Policy(), NOW, jitter)
    rule = FAILURES[reason]
    assert found.attempts_burnt == burnt + rule.burns
    if isinstance(found, Retry):
        assert NOW <= found.at <= NOW + BACKOFF_CAP
        assert not rule.burns or found.attempts_burnt < Policy().attempts
        assert not rule.infra or found.infra_failures < INFRA_CAP


@pytest.mark.parametrize(
    ("extensions", "goes_on", "step"),
    [
        pytest.param(0, True, Retry(NOW, 1, 2, extended=True), id="it goes on, and that is no failure"),
        pytest.param(EXTENSIONS - 1, True, Retry(NOW, 1, 2, extended=True), id="as often as allowed"),
        pytest.param(
            EXTENSIONS, True, AskPerson(Owner.APPROVER, 2, 2, R.AGENT_TOO_LARGE), id="after that it is too large"
        ),
        pytest.param(0, False, Retry(NOW + BACKOFF_BASE, 2, 2), id="what left nothing behind has failed"),
    ],
)
def test_the_end_of_the_time(extensions: int, goes_on: bool, step: NextStep) -> None:
    item = replace(ITEM, attempts_burnt=1, infra_failures=2, extensions=extensions)
    assert next_step(item, R.AGENT_TIMEOUT, Policy(), NOW, 0.5, goes_on=goes_on) == step


def test_every_error_class_has_a_row() -> None:
    classes = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.TgsError)}
    assert set(EXCEPTIONS) == classes


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(errors.Unavailable("x"), Handling.RETRY, id="no answer"),
        pytest.param(errors.RateLimited("x", until=NOW), Handling.WAIT_UNTIL, id="a limit"),
        pytest.param(errors.Conflict("x"), Handling.DECIDE_AGAIN, id="the world moved on"),
        pytest.param(errors.Forbidden("x"), Handling.TELL_PERSON, id="a permission"),
        pytest.param(errors.Invalid("x"), Handling.GIVE_UP, id="a request that never works"),
        pytest.param(errors.LostClaim("x"), Handling.GIVE_UP, id="a lost claim"),
        pytest.param(errors.Refused("x"), Handling.TELL_PERSON, id="policy"),
        pytest.param(errors.LookFirst("x"), Handling.TELL_PERSON, id="a look that is missing"),
        pytest.param(RuntimeError("x"), Handling.RETRY, id="a bug of ours must not lose the key"),
    ],
)
def test_what_a_consumer_does_with_an_exception(error: Exception, expected: Handling) -> None:
    assert handling(error) is expected


def test_only_a_limit_names_a_time() -> None:
    assert wait_until(errors.RateLimited("x", until=NOW)) == NOW
    assert wait_until(errors.Unavailable("x")) is None
