"""The door to the model: what passes, what is kept out, and what nobody gets to see."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web
from pydantic import SecretStr

from bot.errors import UserError
from bot.worker.model_proxy import (
    DEFAULT_URL,
    ModelAccess,
    ModelDoor,
    ModelLimits,
    access_from,
    filled_again,
    open_door,
)

KEY = "sk-ant-the-real-key-0123456789abcdefghij"
USAGE = {"input_tokens": 100_000, "output_tokens": 10_000}


class Model:
    """The model's API as somebody else runs it."""

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []
        self.answer = web.json_response({"model": "claude-haiku", "usage": USAGE})
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.seen.append({"path": request.path_qs, **{k.lower(): v for k, v in request.headers.items()}})
        answer = self.answer
        return web.Response(body=answer.body, status=answer.status, headers=dict(answer.headers))


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    found = Model()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


async def post(door: ModelDoor, path: str = "/v1/messages", **headers: str) -> tuple[int, str]:
    given = {"x-api-key": door.token} | headers
    async with aiohttp.ClientSession() as session, session.post(door.url + path, json={}, headers=given) as answer:
        return answer.status, await answer.text()


async def test_the_key_is_added_and_nothing_else_of_the_agent_passes(model: Model) -> None:
    async with open_door(ModelAccess(model.url, SecretStr(KEY)), ModelLimits()) as door:
        headers = {
            "anthropic-version": "1",
            "cookie": "a=b",
            "authorization": "Bearer mine",
            "x-forwarded-host": "evil",
        }
        assert (await post(door, "/v1/messages?beta=true&to=evil", **headers))[0] == 200
        assert (await post(door, "/v1/messages/count_tokens"))[0] == 200
        for path in ("/v1/models", "/v1/messages/batches", "/v1/messages/../files", "/"):
            assert (await post(door, path))[0] == 404
    [first, second] = model.seen
    assert (first["path"], second["path"]) == ("/v1/messages?beta=true", "/v1/messages/count_tokens")
    assert (first["x-api-key"], first["anthropic-version"]) == (KEY, "1")
    assert not {"cookie", "authorization", "x-forwarded-host"} & set(first)


async def test_a_token_for_a_bearer_is_sent_as_one(model: Model) -> None:
    async with open_door(ModelAccess(model.url, SecretStr(KEY), bearer=True), ModelLimits()) as door:
        assert (await post(door))[0] == 200
    assert model.seen[0]["authorization"] == f"Bearer {KEY}"
    assert "x-api-key" not in model.seen[0]


@pytest.mark.parametrize("given", ["", "guess", KEY])
async def test_without_the_token_of_the_run_nothing_is_passed_on(given: str, model: Model) -> None:
    async with open_door(ModelAccess(model.url, SecretStr(KEY)), ModelLimits()) as door:
        status, text = await post(door, **{"x-api-key": given})
    assert (status, model.seen) == (401, [])
    assert KEY not in text


async def test_an_error_that_repeats_the_key_is_cleaned_and_a_redirect_is_not_followed(model: Model) -> None:
    async with open_door(ModelAccess(model.url, SecretStr(KEY)), ModelLimits()) as door:
        model.answer = web.json_response({"error": f"wrong key {KEY}"}, status=401)
        assert await post(door) == (401, json.dumps({"error": "wrong key [redacted]"}))
        model.answer = web.Response(status=302, headers={"Location": "http://127.0.0.1:9/steal"})
        status, text = await post(door)
        assert (status, "redirect" in text) == (502, True)
        assert door.passed.last_error == 302


async def test_the_bounds_close_the_door_and_say_which_one(model: Model) -> None:
    async with open_door(ModelAccess(model.url, SecretStr(KEY)), ModelLimits(requests=1)) as door:
        assert [(await post(door))[0] for _ in range(2)] == [200, 400]
        assert "all its 1 requests" in door.passed.exhausted
    # 100,000 tokens in and 10,000 out cost 0.15 dollars by the list price of the family.
    async with open_door(ModelAccess(model.url, SecretStr(KEY)), ModelLimits(cost_usd=0.05)) as door:
        assert [(await post(door))[0] for _ in range(3)] == [200, 200, 400]
        assert "budget of 0.05" in door.passed.exhausted
        assert (door.passed.input_tokens, door.passed.output_tokens) == (200_000, 20_000)


NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
RESETS = {
    "seconds": ({"Retry-After": "90"}, timedelta(seconds=90)),
    "a date": ({"retry-after": "Wed, 04 Mar 2026 06:06:07 GMT"}, timedelta(hours=1)),
    "the latest of several": (
        {"retry-after": "5", "anthropic-ratelimit-unified-reset": str(int(NOW.timestamp()) + 60)}, timedelta(minutes=1)
    ),
    "nonsense": ({"retry-after": "soon", "anthropic-ratelimit-unified-reset": "-"}, None),
}  # fmt: skip


@pytest.mark.parametrize(("headers", "after"), RESETS.values(), ids=RESETS.keys())
def test_when_a_quota_is_back(headers: dict[str, str], after: timedelta | None) -> None:
    assert filled_again(headers, NOW) == (None if after is None else NOW + after)


def test_the_credential_is_taken_out_of_the_environment() -> None:
    environment = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_AUTH_TOKEN": "t", "ANTHROPIC_BASE_URL": "", "PATH": "/bin"}
    access = access_from(environment)
    assert access is not None
    assert (access.url, access.key.get_secret_value(), access.bearer) == (DEFAULT_URL, KEY, False)
    assert environment == {"PATH": "/bin"}
    assert KEY not in repr(access)
    assert access_from({}) is None
    with pytest.raises(UserError, match="https"):
        access_from({"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "http://example.org"})
