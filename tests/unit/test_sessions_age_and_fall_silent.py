"""What becomes of a session: silence ends it, age alone only keeps new work away while its own is alive."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.model import InstallationId, RepoId
from bot.domain.policy_model import Policy
from bot.domain.sessions import Fate, SessionRecord, SessionStatus, fate, limits_of, look_at, status_of

BORN = datetime(2026, 11, 2, 9, tzinfo=UTC)
LIMITS = limits_of(Policy())
SECOND = timedelta(seconds=1)


def session(*, age: timedelta, idle: timedelta, over: bool = False) -> tuple[SessionRecord, datetime]:
    now = BORN + age
    found = SessionRecord("s1", "5f0c", InstallationId(1), RepoId(2), "person:7/maria", BORN, now - idle)
    return (replace(found, terminated_at=now) if over else found), now


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


@pytest.mark.parametrize(
    ("age", "idle", "working", "then"),
    [
        pytest.param(minutes(0), minutes(0), False, Fate.KEEP, id="a fresh one is kept"),
        pytest.param(minutes(30), minutes(30), True, Fate.KEEP, id="half an hour of silence is still allowed"),
        pytest.param(minutes(30) + SECOND, minutes(30) + SECOND, True, Fate.TERMINATE, id="a second more is not"),
        pytest.param(minutes(35), minutes(35), False, Fate.TERMINATE, id="35 minutes of silence end it"),
        pytest.param(minutes(60), minutes(1), False, Fate.KEEP, id="an hour of age is still allowed"),
        pytest.param(minutes(60) + SECOND, minutes(1), False, Fate.TERMINATE, id="an older one without work ends"),
        pytest.param(minutes(60) + SECOND, minutes(1), True, Fate.DRAIN, id="an older one that works gets nothing new"),
        pytest.param(minutes(600), minutes(29), True, Fate.DRAIN, id="age alone never ends work that is alive"),
        pytest.param(minutes(600), minutes(31), True, Fate.TERMINATE, id="silence ends it at any age"),
    ],
)
def test_fate(age: timedelta, idle: timedelta, working: bool, then: Fate) -> None:
    found, now = session(age=age, idle=idle)
    assert fate(found, LIMITS, now, working=working) is then


def test_what_has_ended_stays_ended() -> None:
    found, now = session(age=minutes(1), idle=minutes(0), over=True)
    assert fate(found, LIMITS, now, working=True) is Fate.TERMINATE


@pytest.mark.parametrize(
    ("idle", "status"),
    [(minutes(5), SessionStatus.ACTIVE), (minutes(6), SessionStatus.IDLE), (minutes(31), SessionStatus.TERMINATED)],
    ids=["heard lately", "silent for a while", "silent for too long"],
)
def test_status(idle: timedelta, status: SessionStatus) -> None:
    found, now = session(age=minutes(40), idle=idle)
    assert status_of(found, LIMITS, now, working=True) is status


@pytest.mark.parametrize("working", [True, False], ids=["working", "waiting"])
def test_a_look_at_the_named_time_sees_the_end_and_none_before_does(working: bool) -> None:
    found, now = session(age=minutes(40), idle=minutes(3))
    then = look_at(found, LIMITS, now, working=working)
    assert fate(found, LIMITS, then - SECOND, working=working) is not Fate.TERMINATE
    assert fate(found, LIMITS, then, working=working) is Fate.TERMINATE
