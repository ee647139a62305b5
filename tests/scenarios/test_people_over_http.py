"""People use the HTTP API: what they add, change and take out follows the same rules as their commands on GitHub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bot.localhub.core import Account
from tests.world import World, new_world

PLAIN = "agent:\n  adapter: scripted\nallow_unisolated: true\nmirror:\n  auto_ready: false\n"


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]


async def ask(
    world: World,
    method: str,
    path: str,
    body: object | None = None,
    *,
    by: Account | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """A call by a person, while the bot goes on with its work. `path` is within the repository."""
    return await world.meanwhile(call(world, method, path, body, by=by, headers=headers))


async def call(
    world: World,
    method: str,
    path: str,
    body: object | None = None,
    *,
    by: Account | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """The call alone; somebody else must let the bot work."""
    token = world.hub.user_token((by or world.maria).login)
    assert world.http is not None
    url = f"{world.url}/api/v1{path}" if path.startswith("/") else f"{world.url}/api/v1/repos/olga/greeter/{path}"
    async with world.http.request(
        method, url.rstrip("/"), json=body, headers={"Authorization": f"Bearer {token}", **(headers or {})}
    ) as found:
        text = await found.text()
        return Answer(found.status, await found.json(content_type=None) if text else None, found.headers)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with new_world(tmp_path, policy=PLAIN) as found:
        yield found


async def test_an_issue_is_added_once_and_shows_who_approved_it(world: World) -> None:
    number = world.issue()
    added = await ask(world, "POST", "items", {"number": number, "priority": 7})
    assert (added.status, added.body["item"]["number"]) == (201, number)
    assert world.run().run.inputs["issue"] == str(number)
    item = await ask(world, "GET", f"items/{number}")
    assert (item.body["state"], item.body["priority"], item.body["approved_by"]) == ("in-progress", 7, "maria")
    assert item.headers["ETag"] == f'"{item.body["revision"]}"'
    again = await ask(world, "POST", "items", {"number": number})
    assert again.status == 200
    assert "working on it already" in again.body["text"]
    history = (await ask(world, "GET", f"items/{number}/history")).body["history"]
    assert [line["kind"] for line in history][:3] == ["approved", "priority", "claimed"]
    [attempt] = (await ask(world, "GET", f"items/{number}/attempts")).body["attempts"]
    assert (attempt["number"], attempt["live"], attempt["issue"]) == (1, True, number)


async def test_a_plan_gets_its_issue_when_it_is_added(world: World) -> None:
    folder = world.thought("abc123", "add-welcome")
    world.push({".tgs/policy.yml": PLAIN + "  enabled: false\n"})
    added = await ask(world, "POST", "items", {"dir": folder + "/"})
    assert (added.status, added.body["item"]["dir"]) == (201, folder)
    number = added.body["item"]["number"]
    assert world.record(number).user is world.app.bot
    again = await ask(world, "POST", "items", {"dir": folder})
    assert (again.status, again.body["item"]["number"]) == (200, number)
    assert len(world.repo.issues) == 2


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        pytest.param("tgs/thoughts/../../etc", "is not the folder of a plan", id="a way out of the folder"),
        pytest.param("tgs/thoughts/abc123-nothing", "is not on `main`", id="a folder that is not committed"),
        pytest.param("tgs/thoughts/abc124-half", "has no `plan.md`", id="a folder without a plan"),
        pytest.param("tgs/thoughts/abc125-built", "is built already", id="a plan that is built"),
        pytest.param("tgs/thoughts/abc126-odd", "must be high, normal, low or a whole number", id="a broken plan"),
    ],
)
async def test_a_folder_that_cannot_be_added_says_why(world: World, folder: str, says: str) -> None:
    half = "tgs/thoughts/abc124-half"
    built, odd = "tgs/thoughts/abc125-built", "tgs/thoughts/abc126-odd"
    world.push(
        {
            f"{half}/research.md": "r",
            f"{built}/research.md": "r",
            f"{built}/plan.md": "p",
            f"{built}/implementation.md": "i",
            f"{odd}/research.md": "r",
            f"{odd}/plan.md": "---\npriority: urgent\n---\n",
        }
    )
    refused = await ask(world, "POST", "items", {"dir": folder})
    assert (refused.status, refused.body["code"]) == (400, "invalid")
    assert says in refused.body["detail"]


async def test_a_ticket_becomes_one_issue_however_often_it_is_sent(world: World) -> None:
    ticket = {
        "title": "Greet in French",
        "body": "Say bonjour. @tom should not be called.",
        "fields": {"id": "T-1", "type": "docs", "locks": ["docs/"], "priority": "high", "model": "big"},
    }
    added = await ask(world, "POST", "items", {"ticket": ticket})
    number = added.body["item"]["number"]
    assert added.status == 201
    body = world.record(number).body
    assert "Say bonjour." in body
    assert "A ticket of `maria`" in body
    again = await ask(world, "POST", "items", {"ticket": {**ticket, "body": "changed"}})
    assert (again.status, again.body["item"]["number"]) == (200, number)
    item = (await ask(world, "GET", f"items/{number}")).body
    assert (item["type"], item["locks"], item["priority"]) == ("docs", ["docs/**"], 100)
    assert [finding["code"] for finding in item["findings"]] == ["front_matter_ignored"]


async def test_who_may_not_start_adds_nothing(world: World) -> None:
    number = world.issue()
    for wish in ({"number": number}, {"ticket": {"title": "x"}}):
        refused = await ask(world, "POST", "items", wish, by=world.tom)
        assert (refused.status, refused.body["code"]) == (403, "refused")
        assert "needs the role write" in refused.body["detail"]
    assert len(world.repo.issues) == 2
    assert await world.item(number) is None
    assert (await ask(world, "POST", "items", {"number": 99})).status == 404


async def test_taking_out_what_is_being_worked_on_needs_force(world: World) -> None:
    number = world.issue()
    await ask(world, "POST", "items", {"number": number})
    await world.run().start()
    refused = await ask(world, "DELETE", f"items/{number}")
    assert (refused.status, refused.body["code"]) == (403, "refused")
    forced = await ask(world, "DELETE", f"items/{number}?force=true")
    assert forced.status == 200
    attempt = (await world.attempts(number))[-1]
    assert attempt.cancel_by == "maria"
    await ask(world, "POST", "actions/pause", {"args": ["quiet"]})
    waiting = world.issue("Another")
    await ask(world, "POST", "items", {"number": waiting})
    out = await ask(world, "DELETE", f"items/{waiting}")
    assert (out.status, out.body["item"]["status"]) == (200, "cancelled")
    assert world.state(waiting) == "cancelled"


async def test_a_change_that_was_decided_on_an_old_look_is_refused(world: World) -> None:
    world.comment(1, "/tgs pause release")
    await world.settle()
    world.bot_said(1)
    number = world.issue()
    await ask(world, "POST", "items", {"number": number})
    seen = (await ask(world, "GET", f"items/{number}")).headers["ETag"]
    assert (await ask(world, "PATCH", f"items/{number}", {"priority": 5}, headers={"If-Match": seen})).status == 200
    late = await ask(world, "PATCH", f"items/{number}", {"priority": 9}, headers={"If-Match": seen})
    assert (late.status, late.body["code"]) == (409, "conflict")
    now = await world.item(number)
    assert now is not None
    assert (now.priority, late.body["revision"]) == (5, now.revision)


async def test_an_action_is_its_command_and_its_repetition_does_nothing(world: World) -> None:
    number = world.issue()
    await ask(world, "POST", "items", {"number": number})
    key = {"Idempotency-Key": "one"}
    first = await ask(world, "POST", f"items/{number}/actions/pause", {"args": ["for the design"]}, headers=key)
    assert (first.status, first.body["outcome"]) == (200, "done")
    again = await ask(world, "POST", f"items/{number}/actions/pause", {"args": ["for the design"]}, headers=key)
    assert (again.body["id"], again.body["outcome"]) == (first.body["id"], "done")
    other = await ask(world, "POST", f"items/{number}/actions/resume", headers=key)
    assert (other.status, "another command" in other.body["detail"]) == (400, True)
    assert (await ask(world, "POST", f"items/{number}/actions/resume", by=world.rita)).status == 403
    later = await ask(world, "POST", f"items/{number}/actions/run_qa")
    assert (later.status, later.body["outcome"]) == (200, "not_available")
    assert "`/tgs review` is not available yet" in later.body["text"]
    lines = (await ask(world, "GET", f"items/{number}/explain")).body["lines"]
    assert any("is on hold by `maria` (for the design)" in line or "on hold" in line for line in lines)
    assert (await ask(world, "POST", f"items/{number}/actions/fly")).status == 404


async def test_a_repository_is_paused_and_goes_on(world: World) -> None:
    paused = await ask(world, "POST", "actions/pause", {"args": ["until", "2026-12-01", "code freeze"]})
    assert paused.body["outcome"] == "done"
    assert (await world.repo_record()).pause is not None
    assert (await ask(world, "POST", "actions/resume")).body["outcome"] == "done"
    assert (await world.repo_record()).pause is None


async def test_the_list_is_filtered_and_turned_page_by_page(world: World) -> None:
    await ask(world, "POST", "actions/pause", {"args": ["quiet"]})
    numbers = [world.issue(f"Item {n}") for n in range(3)]
    for number in numbers:
        await ask(world, "POST", "items", {"number": number})
    await ask(world, "PATCH", f"items/{numbers[2]}", {"priority": 50})
    await ask(world, "DELETE", f"items/{numbers[0]}")
    seen: list[int] = []
    cursor = ""
    for _ in range(3):
        page = (await ask(world, "GET", f"items?limit=1{cursor}")).body
        seen += [item["number"] for item in page["items"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [numbers[2], numbers[1], numbers[0]]
    assert page["next_cursor"] is None
    for query, found in {
        "status=queued": [numbers[2], numbers[1]],
        "state=cancelled&state=done": [numbers[0]],
        "label=TGS:ready&status=queued": [numbers[2], numbers[1]],
        "label=nothing": [],
    }.items():
        page = (await ask(world, "GET", f"items?{query}")).body
        assert [item["number"] for item in page["items"]] == found, query
    for query in ("state=flying", "limit=0", "cursor=x", "colour=red"):
        assert (await ask(world, "GET", f"items?{query}")).status == 400, query


async def test_every_answer_names_its_request(world: World) -> None:
    named = await ask(world, "GET", "items", headers={"X-Request-Id": "build-7.2"})
    assert named.headers["X-Request-Id"] == "build-7.2"
    odd = await ask(world, "GET", "items/77", headers={"X-Request-Id": "a b"})
    assert len(odd.headers["X-Request-Id"]) == 32
    assert odd.body["request_id"] == odd.headers["X-Request-Id"]


async def test_locks_and_dependencies_are_wished_before_anything_starts(world: World) -> None:
    first, second = world.issue("First"), world.issue("Second")
    body = {"number": second, "locks": ["docs/", "a file.txt"], "depends_on": [first]}
    assert (await ask(world, "POST", "items", body)).status == 201
    assert world.runs() == []
    item = (await ask(world, "GET", f"items/{second}")).body
    assert (item["locks"], item["depends_on"]) == (["a file.txt", "docs/**"], [first])
    changed = await ask(world, "PATCH", f"items/{second}", {"locks": ["src/"], "depends_on": [first]})
    assert changed.status == 200
    # An edit of the text by somebody who may does not undo what was asked for by name.
    world.edit(second, by=world.maria, body="Say it twice.")
    await world.settle()
    item = (await ask(world, "GET", f"items/{second}")).body
    assert (item["locks"], item["depends_on"]) == (["src/**"], [first])
    cannot = await ask(world, "PATCH", f"items/{second}", {"depends_on": [second]})
    assert (cannot.status, "cannot wait for itself" in cannot.body["detail"]) == (409, True)
    assert (await ask(world, "PATCH", f"items/{second}", {"locks": ["../x"]})).status == 400


async def test_labels_of_people_are_listed_and_found(world: World) -> None:
    number = world.issue(labels=["area/docs"])
    await ask(world, "POST", "items", {"number": number})
    [item] = (await ask(world, "GET", "items?label=area/docs")).body["items"]
    assert item["labels"] == ["tgs:in-progress", "area/docs"]


async def together(world: World, *calls: Coroutine[Any, Any, Answer]) -> list[Answer]:
    """The calls at the same time."""

    async def all_() -> list[Answer]:
        return list(await asyncio.gather(*calls))

    return await world.meanwhile(all_())


async def test_the_same_thing_added_at_the_same_time_is_one_issue(world: World) -> None:
    world.push({".tgs/policy.yml": PLAIN + "  enabled: false\n"})
    folder = world.thought("abc123", "add-welcome")
    await world.settle()
    ticket = {"title": "Greet in French", "body": "Say bonjour."}
    wishes: list[dict[str, object]] = [{"dir": folder}, {"ticket": ticket}]
    for wish in wishes:
        before = len(world.repo.issues)
        answers = await together(world, *(call(world, "POST", "items", wish) for _ in range(4)))
        # Who comes while the issue is being created is told to ask again, and never makes a second one.
        assert {answer.status for answer in answers} <= {200, 201, 502}, wish
        assert [answer.status for answer in answers].count(201) == 1, wish
        assert len(world.repo.issues) == before + 1, wish
        assert (await ask(world, "POST", "items", wish)).status == 200
    world.expected_errors = True


async def test_two_changes_of_one_look_are_one_change(world: World) -> None:
    await ask(world, "POST", "actions/pause", {"args": ["quiet"]})
    number = world.issue()
    await ask(world, "POST", "items", {"number": number})
    seen = {"If-Match": (await ask(world, "GET", f"items/{number}")).headers["ETag"]}
    answers = await together(
        world, *(call(world, "PATCH", f"items/{number}", {"priority": n}, headers=seen) for n in (5, 6, 7))
    )
    assert sorted(answer.status for answer in answers) == [200, 409, 409]
    item = await world.item(number)
    assert item is not None
    won = next(answer for answer in answers if answer.status == 200)
    assert item.priority == won.body["item"]["priority"]
