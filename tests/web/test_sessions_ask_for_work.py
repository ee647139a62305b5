"""A session asks for work, gets an item that nobody else gets, and says how it ended; GitHub has the last word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from bot.domain.model import ItemState
from bot.localhub.git_model import RefUpdate
from tests.scenarios.steps import item_of, last_attempt, ready
from tests.web.asking import PULL_POLICY, Session, busy, person, worker
from tests.world import World, new_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with new_world(tmp_path, policy=PULL_POLICY) as found:
        yield found


# --- asking ------------------------------------------------------------------------------------------


async def test_a_claim_comes_with_all_that_is_needed_and_is_visible_on_the_issue(world: World) -> None:
    number = await ready(world)
    session = person(world)
    answer = await session.claim()
    assert answer.status == 200
    claimed = session.claimed
    assert claimed["item"]["number"] == number
    assert claimed["fence"] == 1
    assert claimed["branch"] == f"tgs/{number}-add-a-greeting"
    assert claimed["base_sha"] == claimed["context"]["base_sha"]
    assert claimed["context"]["title"] == "Add a greeting"
    assert claimed["lease_until"] == (world.clock.now() + timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert world.state(number) == "in-progress"
    assert not world.runs()
    assert (await last_attempt(world, number)).worker.name == "maria/laptop"


async def test_the_same_secret_gets_the_same_claim_also_when_both_calls_come_at_once(world: World) -> None:
    for title in ("One", "Two"):
        await ready(world, title)
    session = person(world)
    first, second = await busy(world, session.ask(), session.ask())
    third = await session.claim()
    assert {answer.body["claims"][0]["attempt"] for answer in (first, second, third)} == {session.claimed["attempt"]}


async def test_a_secret_whose_claim_has_ended_is_not_taken_for_another(world: World) -> None:
    await ready(world, "One")
    await ready(world, "Two")
    session = person(world)
    await session.claim()
    assert (await session.say("fail", reason="agent.gave_up", retryable=False)).status == 200
    world.bot_said(session.number)
    assert (await session.claim()).code == "lost_claim"


async def test_a_named_item_that_somebody_has_is_refused_with_the_owner(world: World) -> None:
    number = await ready(world)
    await person(world).claim()
    answer = await person(world, world.owner).claim(number=number)
    assert (answer.status, answer.code) == (409, "taken")
    assert answer.body["owner"] == "maria/laptop"
    assert answer.body["lease_until"]


async def test_a_named_item_need_not_be_the_first(world: World) -> None:
    await ready(world, "First")
    second = await ready(world, "Second")
    session = person(world)
    assert (await session.claim(number=second)).status == 200
    assert session.number == second


async def test_an_item_is_named_by_the_folder_of_its_plan(tmp_path: Path) -> None:
    async with new_world(tmp_path, policy=PULL_POLICY + "mirror:\n  auto_ready: true\n") as world:
        folder = world.thought("abc123", "say-hello")
        await world.settle()
        session = person(world)
        assert (await session.claim(dir=f"./{folder}/")).status == 200
        assert session.claimed["context"]["thought"]["plan_path"] == f"{folder}/plan.md"
        assert (await person(world).claim(dir="tgs/thoughts/none")).code == "not_found"


async def test_who_only_looks_takes_nothing(world: World) -> None:
    numbers = [await ready(world, title) for title in ("One", "Two")]
    answer = await person(world).claim(peek=True, count=5)
    assert [claim["item"]["number"] for claim in answer.body["claims"]] == numbers
    assert [world.state(number) for number in numbers] == ["ready", "ready"]


async def test_an_empty_queue_says_what_waits_and_for_what(world: World) -> None:
    number = await ready(world)
    world.label(number, "tgs:hold")
    await world.settle()
    answer = await person(world).claim()
    assert answer.status == 204
    assert answer.headers["X-Tgs-Waiting"] == "1"
    assert answer.headers["X-Tgs-Waiting-For"] == "held"


async def test_who_waits_is_answered_when_work_appears(world: World) -> None:
    session = person(world)
    [answer, number] = await busy(world, session.ask(wait=30), ready(world))
    assert answer.status == 200
    assert session.number == number


@pytest.mark.parametrize(
    ("who", "status"),
    [("maria", 200), ("tom", 403), ("rita", 403)],
    ids=["who may start work", "who may only sort it", "who may only read"],
)
async def test_a_person_claims_with_the_role_that_starts_work(world: World, who: str, status: int) -> None:
    await ready(world)
    assert (await person(world, getattr(world, who)).claim()).status == status


async def test_two_sessions_never_get_the_same_item_whoever_is_first(world: World) -> None:
    numbers = {await ready(world, title) for title in ("One", "Two")}
    one, two = person(world), person(world, world.owner)
    await busy(world, one.ask(), two.ask())
    assert {one.number, two.number} == numbers


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["the first asks first", "the second asks first"])
async def test_of_two_who_name_one_item_one_gets_it_and_the_other_learns_who(
    world: World, order: tuple[int, int]
) -> None:
    number = await ready(world)
    sessions = [person(world), person(world, world.owner)]
    answers = await busy(world, *(sessions[index].ask(number=number) for index in order))
    assert sorted(answer.status for answer in answers) == [200, 409]
    [lost] = [answer for answer in answers if answer.status == 409]
    winner = await last_attempt(world, number)
    assert lost.body["owner"] == winner.worker.name


# --- the end -----------------------------------------------------------------------------------------


async def working(world: World, **options: object) -> Session:
    """A person's session with an item."""
    number = await ready(world)
    session = person(world)
    assert (await session.claim(number=number, **options)).status == 200
    return session


async def test_without_a_branch_or_commits_completing_is_refused_and_can_be_repeated(world: World) -> None:
    session = await working(world)
    answer = await session.say("complete")
    assert (answer.status, answer.code) == (403, "refused")
    assert "is not on GitHub" in answer.body["detail"]
    branch = f"refs/heads/{session.claimed['branch']}"
    world.hub.git.bare(world.repo).update_refs([RefUpdate(branch, None, session.claimed["base_sha"])])
    assert "has no commits beyond its base" in (await session.say("complete")).body["detail"]
    session.push()
    answer = await session.say("complete")
    assert answer.status == 200
    [pull] = world.pulls()
    assert (
        answer.body["text"] == f"Pull request #{pull.number} is open as a draft; the checks are watched from here on."
    )
    assert answer.body["item"]["state"] == "in-review"
    assert (await session.say("complete")).body["text"] == answer.body["text"]
    assert world.state(session.number) == "in-review"


async def test_a_plan_is_complete_only_with_its_implementation_file(tmp_path: Path) -> None:
    async with new_world(tmp_path, policy=PULL_POLICY + "mirror:\n  auto_ready: true\n") as world:
        folder = world.thought("abc123", "say-hello")
        await world.settle()
        session = person(world)
        await session.claim(dir=folder)
        session.push()
        answer = await session.say("complete")
        assert f"`{folder}/implementation.md` is not on the branch" in answer.body["detail"]
        session.push({"hello.txt": "hello\n", f"{folder}/implementation.md": "# Done\n"})
        assert (await session.say("complete")).body["item"]["state"] == "in-review"


async def test_a_person_who_may_merge_can_say_that_no_code_is_needed(world: World) -> None:
    session = await working(world)
    answer = await session.say("complete", evidence="It was fixed upstream.")
    assert answer.status == 200
    assert answer.body["item"]["state"] == "done"
    history = await world.parts.store.read(lambda tx: tx.history(world.key(session.number)))
    assert [(line.actor, line.cause) for line in history if line.kind == "no_code"] == [
        ("maria", "It was fixed upstream.")
    ]
    await world.after(timedelta(minutes=1))
    assert world.record(session.number).state == "closed"


async def test_who_may_not_merge_cannot_say_that_no_code_is_needed(tmp_path: Path) -> None:
    async with new_world(tmp_path, policy=PULL_POLICY + "roles:\n  merge: admin\n") as world:
        session = await working(world)
        answer = await session.say("complete", evidence="Trust me.")
        assert (answer.status, answer.code) == (403, "refused")
        assert "takes the role `admin`" in answer.body["detail"]
        assert world.state(session.number) == "in-progress"


async def test_a_worker_cannot_say_that_no_code_is_needed_nor_complete_without_its_bundle(world: World) -> None:
    await ready(world)
    session = await worker(world)
    assert (await session.claim()).status == 200
    assert "Only a person" in (await session.say("complete", evidence="Trust me.")).body["detail"]
    assert "No result was uploaded" in (await session.say("complete")).body["detail"]


async def test_a_failure_that_may_pass_is_tried_again_later(world: World) -> None:
    session = await working(world)
    answer = await session.say("fail", reason="agent.crash", message="It crashed.")
    assert answer.status == 200
    item = await item_of(world, session.number)
    assert item.not_before is not None
    assert answer.body["due_at"] == item.not_before.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    again = await session.say("fail", reason="agent.crash")
    assert (again.body["text"], again.body["due_at"]) == (answer.body["text"], answer.body["due_at"])


@pytest.mark.parametrize(
    ("reason", "retryable", "state"),
    [("agent.crash", False, ItemState.FAILED), ("policy.denied", True, ItemState.IN_PROGRESS)],
    ids=["a failure called final is final", "a failure called passing is tried again"],
)
async def test_the_word_of_who_reports_goes_before_the_table(
    world: World, reason: str, retryable: bool, state: ItemState
) -> None:
    session = await working(world)
    answer = await session.say("fail", reason=reason, retryable=retryable)
    assert answer.body["item"]["state"] == state.value
    world.bot_said(session.number)


async def test_an_unknown_reason_is_refused_with_the_known_ones(world: World) -> None:
    session = await working(world)
    answer = await session.say("fail", reason="bad.day")
    assert (answer.status, answer.code) == (400, "invalid")
    assert "agent.crash" in answer.body["detail"]
    assert "cancelled.person" not in answer.body["detail"]
    assert (await last_attempt(world, session.number)).live


@pytest.mark.parametrize("what", ["complete", "fail", "heartbeat"])
async def test_a_stale_claim_is_told_to_stop(world: World, what: str) -> None:
    session = await working(world)
    body = {"reason": "agent.crash"} if what == "fail" else {}
    answer = await session.say(what, fence=session.claimed["fence"] + 1, **body)
    assert (answer.status, answer.code) == (409, "lost_claim")
    assert "ask for the next item" in answer.body["detail"]
