"""Live events: in order and once, only of what the caller may read, from where they left off, at any speed."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.clock import SystemClock
from bot.domain.model import InstallationId, Person, RepoId, RepoKey
from bot.domain.workers import DEFAULT_TOKEN_LIFE
from bot.errors import Refused
from bot.localhub.core import Role
from bot.protocols.ledger import Audit
from bot.web.live import PER_CALLER, ConnectionManager, Ended, Found
from tests.web.follow import PATIENCE, follow, receive
from tests.world import FakeClock, World, new_world

REPO = "olga/greeter"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with new_world(tmp_path) as found:
        yield found


async def record(
    world: World, count: int = 1, *, text: str = "x", kind: str = "test", number: int | None = None
) -> None:
    """Write lines of history in one commit."""
    key = world.repo_key if number is None else world.key(number)

    def write(tx: Any) -> None:
        for index in range(count):
            tx.audit(Audit(world.clock.now(), key, kind, "tgs", f"{index}", detail={"text": text}))

    await world.parts.store.write(write)


async def get(world: World, path: str, token: str, **query: str) -> tuple[int, Any]:
    assert world.http is not None
    headers = {"Authorization": f"Bearer {token}"}
    async with world.http.get(f"{world.url}{path}", params=query, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_what_happens_arrives_in_order_with_names_and_states(world: World) -> None:
    token = world.hub.user_token("rita")
    async with follow(world, token, repo=REPO) as stream:
        number = world.issue()
        world.label(number, "tgs:ready")
        await world.settle()
        first = await stream.data()
        assert (first["repository"], first["number"]) == (REPO, number)
        ids = [first["id"]]
        while first["to_state"] != "in-progress":
            first = await stream.data()
            ids.append(first["id"])
    assert ids == sorted(set(ids))


async def test_a_follower_goes_on_where_it_was_cut_off(world: World) -> None:
    token = world.hub.user_token("rita")
    await record(world, 7)
    _, page = await get(world, f"/api/v1/repos/{REPO}/events", token, limit="3")
    assert page["more"]
    seen = [event["id"] for event in page["events"]]
    async with follow(world, token, repo=REPO, after=str(page["next"])) as stream:
        seen += [(await stream.data())["id"] for _ in range(2)]
    # A browser sends the id by itself when it reconnects to the same address.
    async with follow(world, token, repo=REPO, after="0", **{"Last-Event-ID": str(seen[-1])}) as stream:
        await record(world, 1, kind="last")
        while True:
            event = await stream.data()
            seen.append(event["id"])
            if event["kind"] == "last":
                break
    _, everything = await get(world, f"/api/v1/repos/{REPO}/events", token, limit="500")
    assert seen == [event["id"] for event in everything["events"]]
    assert not everything["more"]


async def test_one_item_alone_can_be_followed_over_a_websocket(world: World) -> None:
    assert world.http is not None
    headers = {"Authorization": f"Bearer {world.hub.user_token('rita')}"}
    url = f"{world.url}/api/v1/events/ws?repo={REPO}&number=7"
    async with world.http.ws_connect(url, headers=headers) as ws:
        assert (await receive(ws))["type"] == "hello"
        await record(world, kind="other", number=6)
        await record(world, kind="mine", number=7)
        assert (await receive(ws))["event"]["kind"] == "mine"


async def test_nobody_hears_of_another_tenant(world: World) -> None:
    other = world.hub.create_user("otto")
    theirs = world.hub.create_repo(other, "theirs", private=True, files={"README.md": "x"}, roles={"otto": Role.ADMIN})
    world.hub.install(world.app, other, [theirs], by=other)
    await world.settle()
    await record(world, kind="secret")
    token = world.hub.user_token("otto")
    for path in ("/api/v1/events", f"/api/v1/repos/{REPO}/events"):
        query = {"repo": REPO} if path == "/api/v1/events" else {}
        assert (await get(world, path, token, **query))[0] == 403
    by = Person(world.maria.id, "maria")
    _, worker = await world.parts.engine.pull.create_token([await world.repo_record()], by, "w", DEFAULT_TOKEN_LIFE)
    assert (await get(world, "/api/v1/events", worker, repo="otto/theirs"))[0] == 403
    # The table has both tenants' lines; the token's stream has those of its own repository.
    await world.parts.store.write(
        lambda tx: tx.audit(Audit(world.clock.now(), RepoKey(InstallationId(1), RepoId(1)), "theirs", "x", ""))
    )
    async with follow(world, worker, after="0") as stream:
        await record(world, kind="end")
        kinds = []
        while "end" not in kinds:
            event = await stream.data()
            assert event["repository"] == REPO
            kinds.append(event["kind"])
    assert "theirs" not in kinds


async def test_who_loses_the_role_is_cut_off(world: World) -> None:
    async with follow(world, world.hub.user_token("rita"), repo=REPO) as stream:
        await record(world, kind="before")
        assert (await stream.data())["kind"] == "before"
        world.hub.set_role(world.repo, "rita", Role.NONE)
        world.clock.advance(timedelta(minutes=2))
        await record(world, kind="after")
        assert await stream.next() == ("end", None, {"why": "refused"})


async def test_a_role_that_is_lost_while_news_are_read_is_asked_for_before_they_are_sent() -> None:
    clock, key = FakeClock(), RepoKey(InstallationId(1), RepoId(2))
    manager = ConnectionManager(clock)
    connection = manager.connect("person:1", {key: REPO}, 0)

    async def read(_repos: Mapping[RepoKey, str], _after: int, _limit: int) -> list[Found]:
        clock.advance(timedelta(minutes=2))
        return [Found(1, "what happened since")]

    async def check() -> Mapping[RepoKey, str]:
        raise Refused("the role is gone", "")

    assert [found async for found in manager.follow(connection, read, check)] == []
    assert connection.ended is Ended.REFUSED


async def test_a_revoked_token_is_cut_off(world: World) -> None:
    by = Person(world.maria.id, "maria")
    pull = world.parts.engine.pull
    repo = await world.repo_record()
    token, secret = await pull.create_token([repo], by, "w", DEFAULT_TOKEN_LIFE)
    async with follow(world, secret) as stream:
        await pull.revoke(repo, token.id)
        world.clock.advance(timedelta(minutes=2))
        await record(world)
        assert await stream.next() == ("end", None, {"why": "refused"})


FOREIGN = {
    "a page of another origin": ({"Origin": "https://evil.example"}, 403),
    "a page that sends a cookie and no token": ({"Cookie": "session=1", "Authorization": ""}, 401),
    "nobody": ({"Authorization": ""}, 401),
    "a program without an upgrade": ({}, 400),
}


@pytest.mark.parametrize("who", FOREIGN)
async def test_a_websocket_opens_for_programs_and_our_own_pages_only(world: World, who: str) -> None:
    assert world.http is not None
    extra, status = FOREIGN[who]
    headers = {"Authorization": f"Bearer {world.hub.user_token('rita')}"} | extra
    url = f"{world.url}/api/v1/events/ws?repo={REPO}"
    if status == 400:
        async with world.http.get(url, headers=headers) as answer:
            assert answer.status == 400
        return
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await world.http.ws_connect(url, headers=headers)
    assert refused.value.status == status
    async with world.http.ws_connect(url, headers=headers | {
        "Origin": world.url, "Authorization": f"Bearer {world.hub.user_token('rita')}"
    }) as ws:  # fmt: skip
        assert (await receive(ws))["type"] == "hello"


async def test_a_caller_has_a_limited_number_of_connections_and_gets_them_back(world: World) -> None:
    token = world.hub.user_token("rita")
    hub = world.parts.live
    opened = [follow(world, token, repo=REPO) for _ in range(PER_CALLER)]
    for one in opened:
        await one.__aenter__()
    status, body = await get(world, "/api/v1/events", token, repo=REPO)
    assert (status, body["code"]) == (429, "too_many")
    async with follow(world, world.hub.user_token("maria"), repo=REPO):
        assert len(hub.connections) == PER_CALLER + 1
    for one in opened:
        await one.__aexit__(None, None, None)
    while hub.connections:
        await record(world)
    async with follow(world, token, repo=REPO):
        pass


async def test_a_slow_reader_costs_no_memory_and_misses_nothing(world: World) -> None:
    """It does not read while 12 megabytes happen: the server reads a few pages ahead of it and then waits."""
    total, text = 3_000, "y" * 4_000
    token = world.hub.user_token("rita")
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", world.port))
        reader, writer = await asyncio.open_connection(sock=raw, limit=2**14)
        start = await world.parts.store.read(lambda tx: tx.last_event())
        writer.write(
            f"GET /api/v1/events?repo={REPO}&after={start} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        assert b"200 OK" in await reader.readline()
        await record(world, total, text=text)
        (connection,) = world.parts.live.connections
        before = -1
        while connection.cursor != before:
            before = connection.cursor
            for _ in range(20):
                await world.parts.store.read(lambda tx: tx.last_event())
        ahead = connection.cursor - start
        assert ahead < total * 0.6, "it was served although it did not read"
        ids = []
        async with asyncio.timeout(4 * PATIENCE):
            while not ids or ids[-1] < start + total:
                line = await reader.readline()
                if line.startswith(b"data: ") and b'"id"' in line:
                    ids.append(json.loads(line[6:])["id"])
        writer.close()
        await writer.wait_closed()
    assert ids == list(range(start + 1, start + total + 1))


async def test_followers_are_told_when_the_server_stops(world: World) -> None:
    assert world.http is not None
    token = world.hub.user_token("rita")
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        follow(world, token, repo=REPO) as stream,
        world.http.ws_connect(f"{world.url}/api/v1/events/ws?repo={REPO}", headers=headers) as ws,
    ):
        await receive(ws)
        async with asyncio.timeout(PATIENCE):
            await world.stop_bot()
        assert await stream.next() == ("end", None, {"why": "draining"})
        assert await stream.next() == ("closed", None, None)
        assert (await ws.receive()).data == aiohttp.WSCloseCode.GOING_AWAY
    await world.start_bot()
    await world.settle()


async def test_a_silent_stream_gives_signs_of_life() -> None:
    hub = ConnectionManager(SystemClock(), heartbeat=0.001)
    connection = hub.connect("somebody", {}, 0)

    async def nothing(*_: Any) -> list[Any]:
        return []

    async def check() -> dict[RepoKey, str]:
        return {}

    seen = []
    async for found in hub.follow(connection, nothing, check):
        seen.append(found)
        if len(seen) == 3:
            connection.end(Ended.GONE)
    assert seen == [None, None, None]


def test_an_answer_goes_to_one_follower_and_is_bounded() -> None:
    hub = ConnectionManager(SystemClock())
    one, other = hub.connect("a", {}, 0), hub.connect("b", {}, 0)
    for index in range(100):
        hub.send_personal(one, index)
    assert len(one.personal) < 50
    assert not other.personal
    hub.disconnect(one)
    assert hub.connections == {other}
