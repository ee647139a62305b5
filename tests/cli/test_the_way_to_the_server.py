"""The HTTP side of the command line: what odd answers mean, what is repeated, and where the token goes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from bot.client.backlog import Moved, Taken
from bot.client.http import BotHttp
from bot.errors import LostClaim, Refused, Unavailable, UserError

TOKEN = "ghp_the-token-of-the-person"


@dataclass
class Odd:
    """A server that answers what it is told, one after the other."""

    answers: list[Callable[[], web.Response]] = field(default_factory=list)
    asked: list[web.Request] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    http: Any = None

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        return self.answers.pop(0)()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
async def odd() -> AsyncIterator[Odd]:
    made = Odd()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        made.http = BotHttp(
            session, str(server.make_url("")), SecretStr(TOKEN), sleep=made.sleep, new_request=lambda: "r1"
        )
        yield made


def problem(status: int, code: str, **extra: object) -> Callable[[], web.Response]:
    body = {"code": code, "detail": "the words of the server\x1b[31m", **extra}
    return lambda: web.Response(status=status, body=json.dumps(body), content_type="application/problem+json")


def page(status: int, text: str = "<html>", **headers: str) -> Callable[[], web.Response]:
    return lambda: web.Response(status=status, text=text, headers=headers)


MEANINGS = {
    "an unknown token": (problem(401, "unauthenticated"), Refused, "does not know the token"),
    "what policy forbids": (problem(403, "refused"), Refused, "the words of the server"),
    "a wrong request": (problem(400, "invalid"), UserError, "The words of the server"),
    "an unknown thing": (problem(404, "not_found"), UserError, "The words of the server"),
    "an item of somebody else": (
        problem(409, "taken", owner="tom", lease_until="2026-01-01T09:30:00Z"), Taken, "the words of the server"
    ),
    "an item that changed": (problem(409, "conflict"), Moved, "The words of the server"),
    "a stale claim": (problem(409, "lost_claim"), LostClaim, "Stop, and change nothing more."),
    "GitHub's limits": (problem(503, "limited"), Unavailable, "request r1"),
    "an error of the bot": (problem(500, "internal"), Unavailable, "request r1"),
    "another program": (page(200), Unavailable, "is the address of the bot"),
    "a redirect": (page(302, Location="https://elsewhere.example.org/"), Unavailable, "status 302"),
    "a list instead of an object": (page(200, "[]"), Unavailable, "did not answer as the bot does"),
    "an endless answer": (page(200, "{" + " " * 10_000_001), Unavailable, "did not answer as the bot does"),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "error", "words"), MEANINGS.values(), ids=MEANINGS.keys())
async def test_each_answer_has_a_meaning(
    odd: Odd, answer: Callable[[], web.Response], error: type[Exception], words: str
) -> None:
    odd.answers = [answer]
    with pytest.raises(error) as caught:
        await odd.http.get("/api/v1/x")
    assert words in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert type(caught.value) is error or isinstance(caught.value, Refused | Unavailable)
    assert len(odd.asked) == 1, "what the bot says is not asked again"


@pytest.mark.parametrize(
    ("path", "words"),
    [("/api/v1/queue/claim", "has ended, was revoked"), ("/api/v1/repos/a/b/items", "only claims items")],
    ids=["where worker tokens count", "where they do not"],
)
async def test_a_worker_token_that_is_refused_is_told_why(odd: Odd, path: str, words: str) -> None:
    odd.answers = [problem(401, "unauthenticated")] * 2
    box = BotHttp(odd.http._session, odd.http.server, SecretStr("tgw_of-a-box"))
    with pytest.raises(Refused, match=words):
        await box.send("POST", path, {})
    with pytest.raises(LostClaim):
        await box.send("POST", "/api/v1/attempts/a1/fail", {}, bearer=SecretStr("tga_secret"))


async def test_the_token_and_a_number_of_the_request_are_sent(odd: Odd) -> None:
    odd.answers = [page(200, "{}")]
    await odd.http.get("/api/v1/x", [("state", "ready"), ("state", "done")])
    [asked] = odd.asked
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["X-Request-Id"] == "r1"
    assert asked.query.getall("state") == ["ready", "done"]


async def test_reading_is_repeated_when_something_on_the_way_fails(odd: Odd) -> None:
    odd.answers = [page(502), page(503), page(200, '{"items": []}')]
    assert (await odd.http.get("/api/v1/x")).body == {"items": []}
    assert len(odd.slept) == 2


async def test_reading_ends_after_three_times(odd: Odd) -> None:
    odd.answers = [page(502)] * 9
    with pytest.raises(Unavailable):
        await odd.http.get("/api/v1/x")
    assert len(odd.asked) == 3


async def test_writing_is_never_repeated_and_says_so(odd: Odd) -> None:
    odd.answers = [page(502)] * 9
    with pytest.raises(Unavailable, match="look before you repeat it"):
        await odd.http.send("POST", "/api/v1/x", {})
    assert len(odd.asked) == 1


async def test_a_claim_that_the_server_forgot_is_lost(odd: Odd) -> None:
    odd.answers = [problem(401, "unauthenticated")]
    with pytest.raises(LostClaim, match="does not know this claim any more"):
        await odd.http.send("POST", "/api/v1/attempts/a1/complete", {}, bearer=SecretStr("tga_secret"))
    assert odd.asked[0].headers["Authorization"] == "Bearer tga_secret"


@pytest.mark.parametrize("url", ["http://tgs.example.org", "ftp://tgs.example.org", "https://a@b.example.org", "tgs"])
async def test_no_token_leaves_without_encryption(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(UserError, match="TGS_SERVER_URL"):
            BotHttp(session, url, SecretStr(TOKEN))


async def test_without_a_token_nothing_is_asked(odd: Odd) -> None:
    odd.http._token = None
    with pytest.raises(UserError, match="Set TGS_TOKEN or GH_TOKEN"):
        await odd.http.get("/api/v1/x")
    assert odd.asked == []
