"""The life of sessions over time: opened by a claim, kept alive by signs of life, ended by silence, age or people."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.steps import last_attempt, ready
from tests.web.asking import PULL_POLICY, REPO, Session, busy, call, person, worker
from tests.world import World, new_world

HALF_AN_HOUR = timedelta(minutes=30)
SECOND = timedelta(seconds=1)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with new_world(tmp_path, policy=PULL_POLICY) as found:
        yield found


async def sessions(world: World) -> Any:
    answer = await call(world, "GET", f"/sessions?repo={REPO}", world.hub.user_token("rita"))
    assert answer.status == 200
    return answer.body


async def at_work(world: World, **options: Any) -> Session:
    number = await ready(world)
    session = person(world)
    assert (await session.claim(number=number, **options)).status == 200
    return session


async def keep_alive(world: World, session: Session, minutes: int) -> None:
    """A sign of life every ten minutes."""
    for _ in range(minutes // 10):
        await world.after(timedelta(minutes=10))
        assert (await session.say("heartbeat")).status == 200


async def test_a_claim_by_a_person_opens_a_session_that_shows_its_item(world: World) -> None:
    session = await at_work(world, session="5f0c-1")
    found = await sessions(world)
    [shown] = found["sessions"]
    assert (shown["status"], shown["owner"], shown["item"]) == ("active", "maria", session.number)
    assert found["mapping"] == {"5f0c-1": session.number}
    await world.after(timedelta(minutes=20))
    assert (await sessions(world))["sessions"][0]["status"] == "idle"
    assert (await session.say("heartbeat")).status == 200
    assert (await sessions(world))["sessions"][0]["status"] == "active"


async def test_35_minutes_of_silence_end_the_session_and_free_its_item(world: World) -> None:
    session = await at_work(world)
    await world.after(timedelta(minutes=29))
    assert (await last_attempt(world, session.number)).live
    await world.after(timedelta(minutes=6))
    [shown] = (await sessions(world))["sessions"]
    assert (shown["status"], shown["why"]) == ("terminated", "no sign of life for 30 minutes")
    attempt = await last_attempt(world, session.number)
    assert not attempt.live
    assert attempt.failure is not None
    assert attempt.failure.detail == "its session ended: no sign of life for 30 minutes"
    assert (await sessions(world))["mapping"] == {}
    late = await session.say("heartbeat")
    assert (late.status, late.code) == (409, "lost_claim")
    again = person(world)
    assert (await again.claim()).status == 200
    assert (again.number, again.claimed["fence"]) == (session.number, 2)


async def test_age_keeps_new_work_away_and_never_ends_work_that_is_alive(world: World) -> None:
    session = await at_work(world, session="5f0c-1")
    await keep_alive(world, session, 90)
    assert (await session.say("heartbeat")).body["drain"]
    [shown] = (await sessions(world))["sessions"]
    assert (shown["status"], shown["draining"]) == ("active", True)
    session.push()
    assert (await session.say("complete")).body["item"]["state"] == "in-review"
    await ready(world, "Another")
    refused = await person(world).claim(session="5f0c-1")
    assert (refused.status, refused.code) == (403, "refused")
    assert "Open a fresh one" in refused.body["detail"]
    await world.after(timedelta(minutes=1))
    assert (await sessions(world))["sessions"][0]["status"] == "terminated"
    assert (await person(world).claim(session="5f0c-2")).status == 200


async def test_the_limits_are_the_repositorys_own(tmp_path: Path) -> None:
    async with new_world(tmp_path, policy=PULL_POLICY + "session:\n  idle_max: 120\n") as world:
        session = await at_work(world)
        await world.after(timedelta(minutes=119))
        assert (await session.say("heartbeat")).status == 200


async def test_a_session_is_ended_by_its_owner_or_an_administrator(world: World) -> None:
    session = await at_work(world)
    [shown] = (await sessions(world))["sessions"]
    path = f"/sessions/{shown['id']}?repo={REPO}"
    assert (await call(world, "DELETE", path, world.hub.user_token("tom"))).status == 403
    [ended] = await busy(world, call(world, "DELETE", path, world.hub.user_token("olga")))
    assert (ended.body["status"], ended.body["why"]) == ("terminated", "ended by olga")
    assert not (await last_attempt(world, session.number)).live
    assert (await session.say("complete")).code == "lost_claim"


async def test_a_session_is_its_owners_alone(world: World) -> None:
    maria, box = world.hub.user_token("maria"), await worker(world)
    body = {"repo": REPO, "session_id": "5f0c-1"}
    opened = await call(world, "POST", "/sessions", maria, body)
    assert opened.status == 201
    assert (await call(world, "POST", "/sessions", maria, body)).body["id"] == opened.body["id"]
    taken = await call(world, "POST", "/sessions", box.bearer, body)
    assert (taken.status, taken.code) == (403, "refused")
    beat = f"/sessions/{opened.body['id']}/heartbeat?repo={REPO}"
    assert (await call(world, "POST", beat, box.bearer)).code == "lost_claim"
    world.clock.advance(timedelta(minutes=20))
    assert (await call(world, "POST", beat, maria)).body["status"] == "active"
    one = await call(world, "GET", f"/sessions/{opened.body['id']}?repo={REPO}", maria)
    assert one.body["last_activity_at"] == world.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    world.clock.advance(timedelta(minutes=31))
    assert (await call(world, "POST", beat, maria)).code == "lost_claim"
    await world.settle()


async def test_a_session_works_on_one_item_at_a_time(world: World) -> None:
    await at_work(world, session="5f0c-1")
    await ready(world, "Another")
    refused = await person(world).claim(session="5f0c-1")
    assert "has a claim already" in refused.body["detail"]


@pytest.mark.parametrize(
    ("age", "silent", "over"),
    [
        pytest.param(HALF_AN_HOUR, HALF_AN_HOUR, False, id="half an hour of silence is still allowed"),
        pytest.param(HALF_AN_HOUR + SECOND, HALF_AN_HOUR + SECOND, True, id="a second more is not"),
        pytest.param(2 * HALF_AN_HOUR, SECOND, False, id="an hour of age is still allowed"),
        pytest.param(2 * HALF_AN_HOUR + SECOND, SECOND, True, id="a second older is not"),
    ],
)
async def test_the_rule_is_asked_without_ending_anything(
    world: World, age: timedelta, silent: timedelta, over: bool
) -> None:
    service, repo = world.parts.engine.sessions, await world.repo_record()
    opened = await service.create(repo, "person:7/maria", "5f0c-1")
    while silent < age:
        step = min(age - silent, timedelta(minutes=20))
        world.clock.advance(step)
        await service.update_activity(repo, "person:7/maria", opened.session.id)
        age -= step
    world.clock.advance(silent)
    assert await service.should_terminate(repo, opened.session.id) is over
    assert await service.should_terminate(repo, "of nobody") is False
    assert [one.session.terminated_at for one in await service.list(repo)] == [None]
    await world.settle()


async def test_runs_of_actions_have_no_session(tmp_path: Path) -> None:
    async with new_world(tmp_path) as world:
        number = await ready(world)
        await world.run().start()
        await world.after(timedelta(minutes=5))
        assert (await sessions(world))["sessions"] == []
        assert (await last_attempt(world, number)).live
