"""The client of the bot's API against wrong answers, and the form of the context bundle."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest
from aiohttp import web
from pydantic import ValidationError

from bot.domain.bundle import ContextBundle, bundle_schema
from bot.errors import LostClaim, Refused, TgsError, UserError
from bot.worker.api import Api
from bot.worker.oidc import ActionsIdentity
from bot.worker.wire import MAX_ANSWER, ApiDown, ApiError
from tests.worker.support import ATTEMPT_TOKEN, Origin, context, secret

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SHA = "a" * 40


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[tuple[str, Api, list[float]]]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    try:
        async with aiohttp.ClientSession() as session:
            yield url, Api(session, url, sleep), waited
    finally:
        await runner.cleanup()


def answer(body: Any, status: int = 200) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    return handle


WRONG: dict[str, tuple[Handler, type[TgsError], str]] = {
    "an answer without its fields": (answer({"attempt": "a"}), ApiError, "fence: Field required"),
    "an attempt id that is a path": (
        answer({"attempt": "../x", "number": 1, "fence": 1, "handoff": "h", "issue": 1}),
        ApiError,
        "attempt: String should match",
    ),
    "a list": (answer([]), ApiError, "invalid_answer"),
    "a problem without form": (answer("oops", 418), ApiError, "418"),
    "a conflict that is no lost claim": (answer({"code": "busy", "detail": "later"}, 409), ApiError, "busy later"),
    "a lost claim": (answer({"code": "lost_claim", "detail": "gone"}, 409), LostClaim, "gone"),
    "a lost claim by its type": (answer({"type": "https://x/problems/lost_claim"}, 409), LostClaim, "taken over"),
    "a refusal": (answer({"code": "refused", "detail": "not you"}, 403), Refused, "not you"),
    "a credential in a detail": (answer({"detail": "ghs_0123456789abcdefghijklmn"}, 400), ApiError, r"\[redacted\]"),
}


@pytest.mark.parametrize(("handler", "error", "words"), WRONG.values(), ids=WRONG.keys())
async def test_an_answer_becomes_a_typed_error(handler: Handler, error: type[TgsError], words: str) -> None:
    async with server(handler) as (_, api, waited):
        with pytest.raises(error, match=words) as caught:
            await api.activate(secret, None, None)
        assert ATTEMPT_TOKEN not in str(caught.value)
        assert waited == []


async def test_credentials_do_not_follow_a_redirect() -> None:
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with server(handle) as (_, api, _):
        with pytest.raises(ApiError, match="307"):
            await api.activate(secret, None, None)
    assert seen == ["/api/v1/runs/activate"]


async def test_an_endless_answer_is_cut_off() -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=b" " * MAX_ANSWER + b"{}")

    async with server(handle) as (_, api, _):
        with pytest.raises(ApiError, match="invalid_answer"):
            await api.context("a", 1, secret)


async def test_a_deeply_nested_answer_is_no_answer() -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=b"[" * 100_000)

    async with server(handle) as (_, api, _):
        with pytest.raises(ApiError, match="invalid_answer"):
            await api.context("a", 1, secret)


REPEATED: dict[str, Callable[[Api, Any], Awaitable[object]]] = {
    "activation": lambda api, code: api.activate(secret, None, None),
    "the hand-over": lambda api, code: api.handoff("a", 1, code),
    "the request for the push token": lambda api, code: api.push_token("a", secret, {}),
    "the last report": lambda api, code: api.published("a", 1, secret, SHA),
}


@pytest.mark.parametrize("call", REPEATED.values(), ids=REPEATED)
async def test_a_call_without_an_answer_is_repeated_with_the_same_body(
    call: Callable[[Api, Any], Awaitable[object]],
) -> None:
    bodies: list[Any] = []

    async def handle(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        return web.Response(status=502)

    async with server(handle) as (_, api, waited):
        with pytest.raises(ApiDown):
            await call(api, await secret())
    assert waited == [1.0, 3.0, 9.0]
    assert len(bodies) == 4
    assert all(body == bodies[0] for body in bodies)


async def test_the_next_heartbeat_is_the_repetition_of_the_last() -> None:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(status=502)

    async with server(handle) as (_, api, waited):
        with pytest.raises(ApiDown):
            await api.heartbeat("a", 1, secret, None)
    assert waited == []


@pytest.mark.parametrize("answered", [answer({}), answer({"value": ""}), answer({"value": 3}), answer({}, 500)])
async def test_an_identity_service_without_a_token_is_down(answered: Handler) -> None:
    async with server(answered) as (url, _, _), aiohttp.ClientSession() as session:
        environment = {"ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t"}
        with pytest.raises(ApiDown):
            await ActionsIdentity(session, environment, "aud").token()


async def test_an_identity_address_without_encryption_is_refused() -> None:
    environment = {"ACTIONS_ID_TOKEN_REQUEST_URL": "http://evil.example/", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t"}
    async with aiohttp.ClientSession() as session:
        with pytest.raises(UserError, match="not encrypted"):
            ActionsIdentity(session, environment, "aud")


# --- the context bundle


def bundle() -> ContextBundle:
    return context(Origin(Path(), SHA))


def test_a_bundle_round_trips_and_satisfies_its_schema() -> None:
    wire = bundle().model_dump(mode="json")
    jsonschema.validate(wire, bundle_schema())
    assert ContextBundle.model_validate(wire) == bundle()


def test_the_schema_names_what_a_worker_relies_on() -> None:
    required = set(bundle_schema()["required"])
    assert required == {"attempt", "number", "fence", "issue", "title", "repository", "base_sha", "branch"}
    assert {"thought", "existing_branch_sha", "limits", "protected_paths", "identity"} <= set(
        bundle_schema()["properties"]
    )


def test_fields_of_a_newer_server_are_ignored() -> None:
    wire = bundle().model_dump(mode="json") | {"novelty": 1}
    assert ContextBundle.model_validate(wire) == bundle()


BAD: dict[str, dict[str, Any]] = {
    "a branch that is an option": {"branch": "--upload-pack=evil"},
    "a branch that climbs": {"branch": "tgs/../main"},
    "a branch with a space": {"branch": "tgs/7 x"},
    "a short commit id": {"base_sha": "abc"},
    "an attempt that is a path": {"attempt": "../../etc"},
    "an identity that adds a header": {"identity": {"name": "a\nb", "email": "x@y"}},
    "an identity that closes the address": {"identity": {"name": "a", "email": "x@y> <z"}},
    "a thought outside the repository": {
        "thought": {"dir": "../x", "plan_path": "p", "research_path": "r", "plan_sha": SHA}
    },
}


@pytest.mark.parametrize("change", BAD.values(), ids=BAD.keys())
def test_a_bundle_is_refused_with(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ContextBundle.model_validate(bundle().model_dump(mode="json") | change)


def test_the_start_is_the_earlier_attempts_branch_if_there_is_one() -> None:
    assert bundle().start_sha == SHA
    assert bundle().model_copy(update={"existing_branch_sha": "b" * 40}).start_sha == "b" * 40
    assert bundle().model_copy(update={"thought": None}).label == "issue-7"
