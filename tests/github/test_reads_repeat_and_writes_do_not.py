"""What is sent again after trouble, and what never is."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from bot.errors import Invalid, NotFound, Superseded, Unauthorized, Unavailable
from bot.github import client as client_module
from bot.github.calls import call
from bot.github.limits import Lane
from tests.github.support import Rig, make_client, reply

READ = call("GET", "/x")
WRITE = call("POST", "/x", body={"a": 1}, lane=Lane.WORDS)
OK = reply({"ok": True})


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_read_is_repeated_after_a_hiccup(rig: Rig, status: int) -> None:
    rig.server.say(reply(None, status), reply(None, status), OK)
    assert (await rig.client.request(READ)).data == {"ok": True}
    assert rig.clock.slept == [0.5, 1.0]


async def test_a_read_gives_up_after_three_tries(rig: Rig) -> None:
    rig.server.say(reply(None, 502))
    with pytest.raises(Unavailable) as caught:
        await rig.client.request(READ)
    assert len(rig.server.seen) == 3
    assert not caught.value.uncertain


async def test_a_read_is_repeated_after_a_lost_answer(rig: Rig) -> None:
    rig.server.say("drop", OK)
    assert (await rig.client.request(READ)).data == {"ok": True}


async def test_a_graphql_query_is_a_read(rig: Rig) -> None:
    rig.server.say(reply(None, 502), reply({"data": {"a": 1}}))
    assert (await rig.client.graphql_call("query { a }", {}, label="a")).data == {"a": 1}


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(reply(None, 502), id="a bad gateway"),
        pytest.param(reply({"message": "Server Error"}, 500), id="an internal error"),
        pytest.param("drop", id="a closed connection"),
    ],
)
async def test_a_write_is_sent_once_and_its_loss_is_uncertain(rig: Rig, trouble: object) -> None:
    rig.server.say(trouble)  # type: ignore[arg-type]
    for send in (
        rig.client.request(WRITE),
        rig.client.graphql_call("mutation { a }", {}, label="a", lane=Lane.WORDS),
    ):
        rig.server.seen.clear()
        with pytest.raises(Unavailable) as caught:
            await send
        assert caught.value.uncertain
        assert len(rig.server.seen) == 1


async def test_a_write_whose_right_was_lost_is_not_sent_and_a_read_is(rig: Rig) -> None:
    async def lost() -> None:
        raise Superseded("another run has begun")

    client = make_client(rig.session, rig.server.url, rig.clock, rig.tokens, before_write=lost)
    rig.server.say(OK)
    for send in (client.request(WRITE), client.graphql_call("mutation { a }", {}, label="a", lane=Lane.WORDS)):
        with pytest.raises(Superseded):
            await send
    assert rig.server.seen == []
    assert (await client.request(READ)).data == {"ok": True}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
async def test_the_http_library_repeats_no_write_behind_our_back(rig: Rig, method: str) -> None:
    rig.server.say(OK)
    await rig.client.request(READ)  # opens the connection that is then reused
    rig.server.seen.clear()
    rig.server.say("drop", OK)
    with pytest.raises(Unavailable) as caught:
        await rig.client.request(call(method, "/x", lane=Lane.WORDS))
    assert caught.value.uncertain
    assert len(rig.server.seen) == 1


async def test_a_write_that_never_connected_is_certain(rig: Rig) -> None:
    # Port 9 (discard) has no listener on the loopback interface of a test machine.
    lonely = make_client(rig.session, "http://127.0.0.1:9", rig.clock, rig.tokens)
    with pytest.raises(Unavailable) as caught:
        await lonely.request(WRITE)
    assert not caught.value.uncertain


async def test_silence_ends_with_the_time_limit(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(*_: object, **__: object) -> object:
        raise TimeoutError

    monkeypatch.setattr(rig.client, "_request", silent)
    with pytest.raises(Unavailable) as caught:
        await rig.client.request(WRITE)
    assert caught.value.uncertain


async def test_the_session_has_time_limits() -> None:
    async with client_module.open_session() as session:
        assert session.timeout.total == 20
        assert session.timeout.connect == 5


async def test_a_401_is_tried_once_with_a_fresh_token_also_for_a_write(rig: Rig) -> None:
    rig.tokens.left = ["old", "new"]
    rig.server.say(reply({"message": "Bad credentials"}, 401), reply({"ok": 1}, 201))
    assert (await rig.client.request(WRITE)).data == {"ok": 1}
    assert [seen.headers["authorization"] for seen in rig.server.seen] == ["Bearer old", "Bearer new"]


async def test_a_second_401_is_the_answer(rig: Rig) -> None:
    rig.tokens.left = ["old", "new", "newer"]
    rig.server.say(reply({"message": "Bad credentials"}, 401))
    with pytest.raises(Unauthorized):
        await rig.client.request(READ)
    assert len(rig.server.seen) == 2


async def test_a_token_that_cannot_be_renewed_is_not_tried_twice(rig: Rig) -> None:
    rig.server.say(reply({"message": "Bad credentials"}, 401))
    with pytest.raises(Unauthorized):
        await rig.client.request(READ)
    assert len(rig.server.seen) == 1


async def test_a_fresh_object_is_looked_for_as_often_as_the_caller_says(rig: Rig) -> None:
    rig.server.say(reply({"message": "Not Found"}, 404), reply({"message": "Not Found"}, 404), OK)
    assert (await rig.client.request(call("GET", "/x", fresh=2))).data == {"ok": True}
    rig.server.say(reply({"message": "Not Found"}, 404))
    rig.server.seen.clear()
    with pytest.raises(NotFound):
        await rig.client.request(call("GET", "/x", fresh=2))
    assert len(rig.server.seen) == 3


async def test_a_deleted_object_is_not_looked_for_again(rig: Rig) -> None:
    rig.server.say(reply({"message": "This issue was deleted"}, 410))
    with pytest.raises(NotFound):
        await rig.client.request(call("GET", "/x", fresh=2))
    assert len(rig.server.seen) == 1


async def test_concurrent_reads_all_get_their_own_answer(rig: Rig) -> None:
    rig.server.say(lambda seen: reply({"path": seen.path}))
    wanted = [call("GET", "/things/{n}", {"n": n}) for n in range(30)]
    answers = await asyncio.gather(*(rig.client.request(one) for one in wanted))
    assert [answer.data["path"] for answer in answers] == [f"/things/{n}" for n in range(30)]


async def test_an_answer_that_is_no_json_is_unavailable(rig: Rig) -> None:
    rig.server.say(lambda _: web.Response(text="<html>maintenance</html>", content_type="text/html"))
    with pytest.raises(Unavailable, match="not JSON"):
        await rig.client.request(READ)


async def test_a_huge_answer_is_not_read(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MAX_BODY", 100)
    rig.server.say(reply({"x": "y" * 200}))
    with pytest.raises(Invalid, match="larger than 100 bytes"):
        await rig.client.request(READ)
    assert len(rig.server.seen) == 1


async def test_every_request_pins_the_api_version_and_says_who_asks(rig: Rig) -> None:
    rig.server.say(reply({"data": {}}))
    await rig.client.request(READ)
    await rig.client.request(WRITE)
    await rig.client.graphql_call("query { a }", {}, label="a")
    await rig.client.getitem("/x")
    await rig.client.graphql("query { a }")
    for seen in rig.server.seen:
        assert seen.headers["x-github-api-version"] == "2026-03-10"
        assert seen.headers["user-agent"] == "tgs-bot"
        assert seen.headers["authorization"].startswith("Bearer ")


@pytest.mark.parametrize("value", ["..", ".", "", ["a", "..", "b"], ["a", ""]])
async def test_a_value_cannot_climb_out_of_its_place_in_the_path(rig: Rig, value: str | list[str]) -> None:
    rig.server.say(OK)
    with pytest.raises(Invalid, match="cannot stand in a path"):
        await rig.client.request(call("DELETE", "/issues/5/labels{/name*}", {"name": value}, lane=Lane.WORDS))
    assert rig.server.seen == []


async def test_values_are_escaped(rig: Rig) -> None:
    rig.server.say(OK)
    wanted = call("GET", "/labels/{name}/files{/path*}", {"name": "a/b?c#d", "path": ["x y", "z%"]}, query={"q": "&="})
    await rig.client.request(wanted)
    assert rig.server.seen[0].path == "/labels/a%2Fb%3Fc%23d/files/x%20y/z%25?q=%26%3D"
