"""Conversations: what is said on the issue, over the API and by workers is one list, each thing once, at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.chat_service import PERSON_LIMIT, WORKER_LIMIT
from bot.localhub.hooks import HookFault, HookFaultKind
from tests.web.follow import fits, receive
from tests.world import World, new_world

REPO = "olga/greeter"
URL = "/api/v1/chat/messages"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with new_world(tmp_path) as found:
        yield found


async def call(world: World, method: str, token: str, body: Any = None, key: str = "", **query: str) -> tuple[int, Any]:
    assert world.http is not None
    headers = {"Authorization": f"Bearer {token}"} | ({"Idempotency-Key": key} if key else {})
    async with world.http.request(method, world.url + URL, json=body, params=query, headers=headers) as answer:
        return answer.status, await answer.json()


async def say(
    world: World, number: int, text: str, *, by: str = "maria", key: str = "", **more: Any
) -> tuple[int, Any]:
    body = {"repo": REPO, "number": number, "text": text, **more}
    return await call(world, "POST", world.hub.user_token(by), body, key)


async def conversation(world: World, number: int) -> list[tuple[str, str, str]]:
    """(sender, type, text) of each message."""
    status, page = await call(world, "GET", world.hub.user_token("rita"), repo=REPO, number=str(number))
    assert status == 200, page
    return [(m["sender"], m["type"], m["text"]) for m in page["messages"]]


@asynccontextmanager
async def watching(world: World, number: int, by: str = "rita") -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    assert world.http is not None
    headers = {"Authorization": f"Bearer {world.hub.user_token(by)}"}
    url = f"{world.url}/api/v1/chat/ws?repo={REPO}&number={number}"
    async with world.http.ws_connect(url, headers=headers) as ws:
        assert (await receive(ws))["type"] == "hello"
        yield ws


async def heard(ws: aiohttp.ClientWebSocketResponse) -> Any:
    """The next message, which must arrive within a few seconds (`PATIENCE`)."""
    found = await receive(ws)
    fits("ChatEnvelope", found)
    assert found["type"] == "message"
    return found["message"]


async def item(world: World) -> int:
    number = world.issue()
    world.label(number, "tgs:proposed")
    await world.settle()
    return number


async def test_a_message_is_heard_at_once_and_stands_on_the_issue_once(world: World) -> None:
    number = await item(world)
    async with watching(world, number) as ws:
        status, first = await say(world, number, "Use British spelling.\n/greet is a path.", key="one")
        assert status == 201
        assert (await heard(ws))["id"] == first["id"]
    # The answer is lost and the process ends before the comment is written.
    await world.restart_bot()
    assert (await say(world, number, "Use British spelling.\n/greet is a path.", key="one"))[1]["id"] == first["id"]
    await world.settle()
    (comment,) = world.bot_said(number)
    assert "`maria` says:\n\n> Use British spelling." in comment
    assert "<!-- tgs:say chat:" in comment
    _, page = await call(world, "GET", world.hub.user_token("rita"), repo=REPO, number=str(number))
    assert [m["comment_id"] for m in page["messages"]] == [world.comments(number)[-1].id]
    assert (await say(world, number, "Something else.", key="one"))[0] == 400


async def test_comments_of_people_arrive_whatever_becomes_of_their_webhooks(world: World) -> None:
    number = await item(world)
    async with watching(world, number) as ws:
        world.comment(number, "Is it hard?", by=world.rita)
        await world.settle()
        assert (await heard(ws))["text"] == "Is it hard?"
    world.hub.hooks.faults.append(HookFault(HookFaultKind.DROP, "issue_comment"))
    world.comment(number, "Never mind.", by=world.rita)
    await world.settle()
    world.comment(number, "I can help.", by=world.tom)
    await world.settle()
    assert await conversation(world, number) == [
        ("rita", "request", "Is it hard?"),
        ("rita", "request", "Never mind."),
        ("tom", "request", "I can help."),
    ]


async def test_an_edited_comment_reads_as_edited_and_a_deleted_one_is_forgotten(world: World) -> None:
    number = await item(world)
    first = world.comment(number, "My password is hunter2", by=world.rita)
    second = world.comment(number, "Helo", by=world.rita)
    await world.settle()
    comments = {c.id: c for c in world.record(number).comments}
    world.hub.comments.edit(comments[second], "Hello", world.as_(world.rita))
    world.hub.comments.delete(comments[first], world.as_(world.rita))
    await world.settle()
    assert await conversation(world, number) == [("rita", "request", "Hello")]


async def test_what_the_bot_says_is_part_of_the_conversation_once(world: World) -> None:
    number = await item(world)
    world.comment(number, "/tgs help start")
    await world.settle()
    (comment,) = world.bot_said(number)
    said = await conversation(world, number)
    assert [(sender, type_) for sender, type_, _ in said] == [("maria", "request"), ("tgs", "response")]
    assert said[1][2] in comment
    assert "<!--" not in said[1][2]


REFUSED = {
    "a command": ("maria", {"text": "/tgs start"}, 400, "actions"),
    "a command in the second line": ("maria", {"text": "Please\n/tgs start"}, 400, "actions"),
    "nothing": ("maria", {"text": "  "}, 400, "characters"),
    "an unknown parent": ("maria", {"parent": 999}, 400, "999"),
    "an issue that is no item": ("maria", {"number": 1}, 404, "#1"),
    "somebody who may not answer": ("rita", {}, 403, "write"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_refused_is(world: World, what: str) -> None:
    by, body, status, word = REFUSED[what]
    number = await item(world)
    found, problem = await say(world, **{"number": number, "text": "Hello.", "by": by, **body})
    assert found == status, problem
    assert word in problem["detail"]
    await world.settle()
    assert await conversation(world, number) == []
    assert await world.attempts(number) == []


async def test_nobody_floods_an_issue(world: World) -> None:
    number = await item(world)
    for index in range(PERSON_LIMIT):
        assert (await say(world, number, f"{index}"))[0] == 201
    assert (await say(world, number, "one more"))[0] == 429
    world.clock.advance(timedelta(minutes=2))
    assert (await say(world, number, "one more"))[0] == 201
    await world.settle()
    assert len(world.bot_said(number)) == PERSON_LIMIT + 1


async def test_a_worker_tells_how_it_goes_and_reads_nothing(world: World) -> None:
    number = world.issue()
    world.label(number, "tgs:ready")
    await world.settle()
    run = world.run()
    await run.start()
    secret = "ghp_" + "A" * 36
    async with watching(world, number) as ws:
        body = {"attempt": run.attempt, "text": f"Half done {secret} " + "x" * 5_000}
        status, _ = await call(world, "POST", run.token, body)
        assert status == 201
        message = await heard(ws)
        assert (message["sender_type"], message["type"], message["sender"]) == ("worker", "status", run.attempt)
        assert secret not in message["text"]
        assert len(message["text"]) < 1_200
    for index in range(WORKER_LIMIT - 1):
        assert (await call(world, "POST", run.token, {"attempt": run.attempt, "text": f"{index}"}))[0] == 201
    assert (await call(world, "POST", run.token, {"attempt": run.attempt, "text": "more"}))[0] == 429
    assert (await call(world, "POST", run.token, {"attempt": "other", "text": "x"}))[0] == 409
    assert (await call(world, "GET", run.token, repo=REPO))[0] == 401
    await world.settle()
    assert world.bot_said(number) == []
    await run.fail("agent.gave_up")
    assert (await call(world, "POST", run.token, {"attempt": run.attempt, "text": "late"}))[0] == 409
    world.bot_said(number)


async def test_people_speak_over_the_websocket_too(world: World) -> None:
    number = await item(world)
    async with watching(world, number, by="maria") as ws:
        await ws.send_json({"text": "Hello.", "key": "a"})
        kinds = {}
        for _ in range(2):
            found = await receive(ws)
            fits("ChatEnvelope", found)
            kinds[found["type"]] = found
        assert kinds["posted"]["key"] == "a"
        assert kinds["posted"]["message"]["id"] == kinds["message"]["message"]["id"]
        await ws.send_json({"text": "/tgs start", "key": "b"})
        assert (await receive(ws))["code"] == "invalid"
        await ws.send_str("not json")
        assert (await receive(ws))["type"] == "problem"
    async with watching(world, number, by="rita") as ws:
        await ws.send_json({"text": "Hello."})
        assert (await receive(ws))["code"] == "refused"
    await world.settle()
    assert len(world.bot_said(number)) == 1


async def test_a_message_keeps_its_place_when_its_act_was_not_recorded(world: World) -> None:
    """The comment was written, the process ended before it was noted, and the comments are mirrored first."""
    number = await item(world)
    _, posted = await say(world, number, "Hello.")
    await world.settle()
    (comment,) = world.comments(number)[-1:]
    key = world.key(number)

    def forget(tx: Any) -> None:
        tx.connection.exec_driver_sql("UPDATE messages SET comment_id = NULL")
        tx.set_mirrored(key, -1)
        tx.mark(key)

    await world.parts.store.write(forget)
    await world.settle()
    _, page = await call(world, "GET", world.hub.user_token("rita"), repo=REPO, number=str(number))
    assert [(m["id"], m["comment_id"]) for m in page["messages"]] == [(posted["id"], comment.id)]
    world.bot_said(number)
