"""Pull workers: tokens that administrators give and take, registration, signs of life, draining, races for work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bot.clock import RandomIds
from bot.domain.identity import RunSecret
from bot.localhub.core import Account
from tests.scenarios.steps import last_attempt, ready
from tests.web.asking import PULL_POLICY, REPO, Answered, Session, busy, call, person, worker
from tests.world import World, new_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with new_world(tmp_path, policy=PULL_POLICY) as found:
        yield found


async def tokens(world: World, method: str, by: Account, suffix: str = "", body: object | None = None) -> Answered:
    return await call(world, method, f"/repos/{REPO}/worker-tokens{suffix}", world.hub.user_token(by.login), body)


async def registered(world: World, session: Session, **options: Any) -> str:
    """Register the session's worker; its id."""
    answer = await call(world, "POST", "/workers", session.bearer, {"name": session.name} | options)
    assert answer.status == 201, answer.body
    return str(answer.body["id"])


async def beat(world: World, session: Session, id_: str, **body: Any) -> Answered:
    return await call(world, "POST", f"/workers/{id_}/heartbeat", session.bearer, body)


# --- tokens ------------------------------------------------------------------------------------------


async def test_an_administrator_gives_a_right_whose_secret_is_shown_once(world: World) -> None:
    made = await tokens(world, "POST", world.owner, body={"name": "box", "days": 30, "max_claims": 2})
    assert made.status == 201
    secret = made.body["secret"]
    assert secret.startswith("tgw_")
    await ready(world)
    assert (await Session(world, secret).claim()).status == 200
    [listed] = (await tokens(world, "GET", world.owner)).body["tokens"]
    assert listed["good"]
    assert (listed["name"], listed["created_by"]) == ("box", "olga")
    assert secret not in str(listed)


async def test_only_administrators_give_rights(world: World) -> None:
    for method, suffix, body in (("POST", "", {"name": "box"}), ("GET", "", None), ("DELETE", "/wt1", None)):
        assert (await tokens(world, method, world.maria, suffix, body)).status == 403


async def test_a_revoked_token_opens_nothing_and_what_is_worked_on_under_it_is_refused(world: World) -> None:
    made = await tokens(world, "POST", world.owner, body={"name": "box"})
    session = Session(world, made.body["secret"])
    await ready(world)
    await session.claim()
    assert (await tokens(world, "DELETE", world.owner, f"/{made.body['token']['id']}")).status == 204
    assert (await session.ask()).status == 401
    answer = await session.say("heartbeat")
    assert (answer.status, answer.code) == (409, "lost_claim")
    assert (await tokens(world, "DELETE", world.owner, "/unknown")).code == "not_found"


async def test_an_expired_token_stops_the_next_call_of_its_attempts(world: World) -> None:
    await ready(world)
    session = await worker(world)
    await session.claim()
    for _ in range(3):
        assert (await session.say("heartbeat")).status == 200
        await world.after(timedelta(minutes=5))
    world.clock.advance(timedelta(days=1))
    assert "has expired" in (await session.say("heartbeat")).body["detail"]
    assert (await session.ask()).status == 401


# --- workers -----------------------------------------------------------------------------------------


async def test_a_worker_registers_works_and_drains(world: World) -> None:
    session = await worker(world)
    id_ = await registered(world, session, capabilities=["docker"], local_path="/srv/clones")
    people = world.hub.user_token("rita")
    seen = await call(world, "GET", f"/workers/{id_}?repo={REPO}", people)
    assert (seen.body["status"], seen.body["local_path"]) == ("idle", "/srv/clones")
    await ready(world)
    assert (await session.claim(worker_id=id_)).status == 200
    world.clock.advance(timedelta(seconds=60))
    claim = {"attempt": session.claimed["attempt"], "fence": session.claimed["fence"]}
    heard = await beat(world, session, id_, attempts=[claim, {"attempt": "a0", "fence": 1}])
    assert heard.body["worker"]["status"] == "busy"
    mine, other = heard.body["attempts"]
    assert (mine["lost"], mine["cancel"], mine["drain"], mine["steer"]) == (False, False, False, [])
    attempt = await last_attempt(world, session.number)
    assert attempt.lease_until == world.clock.now() + timedelta(minutes=10)
    assert other["lost"]

    drained = await call(world, "DELETE", f"/workers/{id_}?repo={REPO}", world.hub.user_token("olga"))
    assert drained.body["draining"]
    assert (await session.say("heartbeat")).body["drain"]
    refused = await Session(world, session.bearer).ask(worker_id=id_)
    assert "draining" in refused.body["detail"]
    assert (await session.say("fail", reason="agent.crash")).status == 200
    assert (await beat(world, session, id_)).body["drain"]
    assert (await beat(world, session, id_)).code == "lost_claim"


async def test_a_stop_reaches_the_worker_with_its_next_sign_of_life(world: World) -> None:
    session = await worker(world)
    id_ = await registered(world, session)
    await ready(world)
    await session.claim(worker_id=id_)
    world.comment(session.number, "/tgs stop")
    await world.settle()
    world.bot_said(session.number)
    claim = {"attempt": session.claimed["attempt"], "fence": session.claimed["fence"]}
    [word] = (await beat(world, session, id_, attempts=[claim])).body["attempts"]
    assert word["cancel"]
    world.leave_due = True


async def test_workers_are_seen_by_readers_of_what_they_serve_and_drained_by_administrators(world: World) -> None:
    session = await worker(world)
    id_ = await registered(world, session)
    stranger = await worker(world, "another")
    assert (await call(world, "GET", f"/workers/{id_}", stranger.bearer)).code == "not_found"
    assert (await beat(world, stranger, id_)).code == "lost_claim"
    assert (await call(world, "DELETE", f"/workers/{id_}?repo={REPO}", world.hub.user_token("maria"))).status == 403
    assert (await call(world, "GET", "/workers", world.hub.user_token("maria"))).code == "invalid"
    shown = await call(world, "GET", f"/workers?repo={REPO}", world.hub.user_token("maria"))
    assert [one["id"] for one in shown.body["workers"]] == [id_]
    world.clock.advance(timedelta(minutes=3))
    assert (await call(world, "GET", f"/workers/{id_}", session.bearer)).body["status"] == "offline"


# --- races and limits --------------------------------------------------------------------------------


async def test_three_workers_and_three_items_are_three_pairs(world: World) -> None:
    numbers = {await ready(world, title) for title in ("One", "Two", "Three")}
    sessions = [await worker(world, f"box {n}") for n in range(3)]
    answers = await busy(world, *(session.ask() for session in sessions))
    assert [answer.status for answer in answers] == [200, 200, 200]
    assert {session.number for session in sessions} == numbers


async def test_a_token_holds_no_more_claims_than_it_may(world: World) -> None:
    for title in ("One", "Two"):
        await ready(world, title)
    first = await worker(world, max_claims=1)
    await first.claim()
    second = Session(world, first.bearer)
    assert (await second.claim()).status == 204


@pytest.mark.parametrize(
    ("capabilities", "status"),
    [(["Docker", "gpu"], 200), (["docker"], 204), ([], 204)],
    ids=["with all of them", "with one of them", "with none"],
)
async def test_an_item_that_needs_something_goes_to_who_can_do_it(
    tmp_path: Path, capabilities: list[str], status: int
) -> None:
    async with new_world(tmp_path, policy=PULL_POLICY + "mirror:\n  auto_ready: true\n") as world:
        world.thought("abc123", "run-it", front="needs: [docker, gpu]")
        await world.settle()
        session = await worker(world)
        assert (await session.claim(capabilities=capabilities)).status == status


async def test_a_worker_token_opens_only_what_it_names(world: World) -> None:
    session = await worker(world)
    answer = await session.ask(repo="olga/elsewhere")
    assert (answer.status, answer.code) == (403, "refused")


# --- the queue ---------------------------------------------------------------------------------------


async def test_the_queue_is_counted_by_band(world: World) -> None:
    high, low, _ = [await ready(world, title) for title in ("High", "Low", "Normal")]
    world.label(high, "tgs:priority/high")
    world.label(low, "tgs:priority/low")
    await world.settle()
    session = await worker(world)
    for path, bearer in (("", session.bearer), (f"?repo={REPO}", world.hub.user_token("rita"))):
        answer = await call(world, "GET", f"/queue/status{path}", bearer)
        assert answer.body["queues"] == {
            "high_priority": 1,
            "default": 1,
            "low_priority": 1,
            "worker_requests": 0,
            "controller_responses": 0,
        }
    await session.claim()
    assert session.number == high


async def test_work_is_enqueued_completed_and_failed_by_the_queues_own_names(world: World) -> None:
    number = world.issue()
    maria = world.hub.user_token("maria")
    [added] = await busy(world, call(world, "POST", "/queue/enqueue", maria, {"repo": REPO, "number": number}))
    assert (added.status, added.body["item"]["state"]) == (201, "ready")
    session = person(world)
    await session.claim()
    body = {"attempt": session.claimed["attempt"], "fence": 1}
    [refused] = await busy(world, call(world, "POST", "/queue/complete", session.token, body))
    assert refused.code == "refused"
    log = "it went wrong with password=" + "hunter2hunter2" + "\n" + RandomIds().new(RunSecret.ATTEMPT)
    body |= {"reason": "agent.crash", "log": log}
    [failed] = await busy(world, call(world, "POST", "/queue/fail", session.token, body))
    assert failed.status == 200
    path = f"/repos/{REPO}/items/{number}/attempts/{session.claimed['attempt']}/log"
    kept = await call(world, "GET", path, world.hub.user_token("rita"))
    assert "it went wrong" in kept.body["text"]
    assert log.splitlines()[1] not in kept.body["text"]
