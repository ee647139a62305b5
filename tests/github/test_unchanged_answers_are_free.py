"""ETags: a 304 gives the remembered body, to each caller its own."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from bot.github import calls, client
from bot.github.base import collect
from bot.github.calls import call
from bot.github.limits import Lane
from tests.github.support import JumpingClock, Rig, Seen, Tokens, make_client, reply

READ = call("GET", "/x")


def tagged(body: object, **headers: str) -> Callable[[Seen], web.Response]:
    """Answers 304 to who knows the ETag."""

    def answer(seen: Seen) -> web.Response:
        if seen.headers.get("if-none-match") == '"1"':
            return reply(None, 304, ETag='"1"')
        return reply(body, ETag='"1"', **headers)

    return answer


async def test_the_second_read_is_conditional_and_counted_as_free(rig: Rig) -> None:
    rig.server.say(tagged({"labels": ["a"]}))
    first = await rig.client.request(READ)
    second = await rig.client.request(READ)
    assert (first.not_modified, second.not_modified) == (False, True)
    assert (first.data, first.status) == (second.data, second.status)
    assert rig.limits.usage.requests == 2
    assert rig.limits.usage.not_modified == 1


async def test_callers_never_share_the_remembered_object(rig: Rig) -> None:
    rig.server.say(tagged({"labels": ["a"]}))
    for _ in range(3):
        answer = await rig.client.request(READ)
        assert answer.data == {"labels": ["a"]}
        answer.data["labels"].append("mutated by a careless caller")


async def test_a_remembered_page_remembers_its_next_link(rig: Rig) -> None:
    pages = {"/x": [1], "/x?page=2": [2]}

    def serve(seen: Seen) -> web.Response:
        link = f'<{rig.server.url}/x?page=2>; rel="next"' if seen.path == "/x" else ""
        return tagged(pages[seen.path], **({"Link": link} if link else {}))(seen)

    rig.server.say(serve)
    for _ in range(2):
        assert await collect(rig.client, await rig.client.request(READ), "/x") == [1, 2]
    assert rig.limits.usage.not_modified == 2


async def test_another_query_is_another_answer(rig: Rig) -> None:
    rig.server.say(tagged({"n": 1}))
    await rig.client.request(READ)
    await rig.client.request(call("GET", "/x", query={"page": 2}))
    assert "if-none-match" not in rig.server.seen[1].headers


async def test_another_installation_starts_from_nothing(rig: Rig) -> None:
    rig.server.say(tagged({"n": 1}))
    other = make_client(rig.session, rig.server.url, JumpingClock(), Tokens("another"))
    await rig.client.request(READ)
    await other.request(READ)
    assert "if-none-match" not in rig.server.seen[1].headers


async def test_errors_redirects_and_writes_are_not_remembered(rig: Rig) -> None:
    rig.server.say(reply({"a": 1}, 201, ETag='"1"'))
    await rig.client.request(call("POST", "/x", body={}, lane=Lane.WORDS))
    rig.server.say(reply(None, 301, ETag='"1"', Location="/y"), reply({"y": 1}))
    await rig.client.request(READ)
    rig.server.say(reply({"x": 1}))
    await rig.client.request(READ)
    assert all("if-none-match" not in seen.headers for seen in rig.server.seen)


async def test_a_very_large_answer_is_not_remembered(rig: Rig) -> None:
    rig.server.say(reply({"x": "y" * (client.CACHE_ENTRY_BYTES + 1)}, ETag='"1"'))
    await rig.client.request(READ)
    await rig.client.request(READ)
    assert "if-none-match" not in rig.server.seen[1].headers


def test_the_address_is_the_key() -> None:
    wanted = calls.call("GET", "/a/{b}", {"b": "c d"}, query={"z": 1, "y": "2"})
    assert wanted.url("http://h/api/v3/") == "http://h/api/v3/a/c%20d?y=2&z=1"
