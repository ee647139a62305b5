"""One table: what GitHub answers, and which error of the product it becomes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from bot.errors import (
    Conflict,
    Forbidden,
    GitHubError,
    Invalid,
    NotFound,
    RateLimited,
    Suspended,
    Unauthorized,
    Unavailable,
)
from bot.github.calls import call
from bot.github.limits import Lane
from tests.github.support import START, Rig, reply

RESET = str(int((START + timedelta(minutes=9)).timestamp()))
READ = call("GET", "/repos/{owner}/{repo}", {"owner": "o", "repo": "secret-name"}, query={"q": "hidden"})
WRITE = call("POST", "/repos/{owner}/{repo}/issues", {"owner": "o", "repo": "secret-name"}, body={}, lane=Lane.WORDS)


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind"),
    [
        pytest.param(400, {"message": "Problems parsing JSON"}, {}, Invalid, id="400 is invalid"),
        pytest.param(401, {"message": "Bad credentials"}, {}, Unauthorized, id="401 is unauthorized"),
        pytest.param(403, {"message": "Not accessible"}, {}, Forbidden, id="403 is a permission"),
        pytest.param(
            403, {"message": "This installation has been suspended"}, {}, Suspended, id="403 may be a suspension"
        ),
        pytest.param(
            403,
            {"message": "API rate limit exceeded"},
            {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": RESET},
            RateLimited,
            id="403 with nothing remaining is the primary limit",
        ),
        pytest.param(
            403, {"message": "wait"}, {"Retry_After": "3"}, RateLimited, id="403 with Retry-After is a secondary limit"
        ),
        pytest.param(
            403,
            {"message": "You have exceeded a secondary rate limit."},
            {},
            RateLimited,
            id="403 by its words is a secondary limit",
        ),
        pytest.param(404, {"message": "Not Found"}, {}, NotFound, id="404 is not found"),
        pytest.param(410, {"message": "This issue was deleted"}, {}, NotFound, id="410 is not found"),
        pytest.param(405, {"message": "Pull Request is not mergeable"}, {}, Conflict, id="405 is a conflict"),
        pytest.param(409, {"message": "Head branch was modified"}, {}, Conflict, id="409 is a conflict"),
        pytest.param(422, {"message": "Reference already exists"}, {}, Conflict, id="422 already exists"),
        pytest.param(422, {"message": "Reference does not exist"}, {}, Conflict, id="422 of an absent reference"),
        pytest.param(422, {"message": "Reference update failed"}, {}, Conflict, id="422 of a ruleset"),
        pytest.param(
            422,
            {"message": "Validation Failed", "errors": [{"code": "already_exists", "field": "name"}]},
            {},
            Conflict,
            id="422 with a code that says it exists",
        ),
        pytest.param(
            422,
            {"message": "Validation Failed", "errors": [{"message": "A pull request already exists for o:b."}]},
            {},
            Conflict,
            id="422 with details that say it exists",
        ),
        pytest.param(
            422,
            {"message": "Validation Failed", "errors": [{"code": "missing_field", "field": "title"}]},
            {},
            Invalid,
            id="422 of a missing field is invalid",
        ),
        pytest.param(422, {"message": "nope", "errors": "text"}, {}, Invalid, id="422 with errors as a text"),
        pytest.param(429, {"message": "slow"}, {"Retry_After": "3"}, RateLimited, id="429 is a limit"),
        pytest.param(500, {"message": "Server Error"}, {}, Unavailable, id="500 is unavailable"),
        pytest.param(503, None, {}, Unavailable, id="503 without a body is unavailable"),
        pytest.param(418, None, {}, Invalid, id="an unknown 4xx is invalid"),
        pytest.param(599, ["odd"], {}, Unavailable, id="an unknown 5xx with an odd body is unavailable"),
    ],
)
async def test_statuses(rig: Rig, status: int, body: Any, headers: dict[str, str], kind: type[GitHubError]) -> None:
    rig.server.say(reply(body, status, **headers))
    with pytest.raises(kind) as caught:
        await rig.client.request(READ)
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert caught.value.request == "GET /repos/{owner}/{repo}"
    assert "secret-name" not in str(caught.value)
    assert "hidden" not in str(caught.value)


async def test_a_permission_error_names_the_permission(rig: Rig) -> None:
    rig.server.say(reply({"message": "no"}, 403, X_Accepted_GitHub_Permissions="issues=write"))
    with pytest.raises(Forbidden) as caught:
        await rig.client.request(WRITE)
    assert caught.value.needs == "issues=write"


async def test_a_limit_says_until_when_and_stops_the_installation(rig: Rig) -> None:
    rig.server.say(reply({"message": "slow"}, 429, Retry_After="90"))
    with pytest.raises(RateLimited) as caught:
        await rig.client.request(READ)
    assert caught.value.until == START + timedelta(seconds=90)
    with pytest.raises(RateLimited):
        await rig.client.request(WRITE)
    assert len(rig.server.seen) == 1


async def test_a_long_message_is_cut(rig: Rig) -> None:
    rig.server.say(reply({"message": "x" * 5000 + "secret tail"}, 404))
    with pytest.raises(NotFound) as caught:
        await rig.client.request(READ)
    assert len(caught.value.message) <= 300


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        pytest.param({"type": "NOT_FOUND", "message": "Could not resolve"}, NotFound, id="not found"),
        pytest.param({"type": "FORBIDDEN", "message": "Resource not accessible"}, Forbidden, id="forbidden"),
        pytest.param({"type": "RATE_LIMITED", "message": "API rate limit exceeded"}, RateLimited, id="limited"),
        pytest.param({"message": "You have exceeded a secondary rate limit"}, RateLimited, id="limited by words"),
        pytest.param({"type": "UNPROCESSABLE", "message": "Reference already exists"}, Conflict, id="a conflict"),
        pytest.param({"type": "STALE_DATA", "message": "stale"}, Conflict, id="stale data"),
        pytest.param({"type": "UNPROCESSABLE", "message": "Body is blank"}, Invalid, id="invalid"),
        pytest.param({"message": "Something went wrong while executing your query"}, Unavailable, id="a hiccup"),
    ],
)
async def test_graphql_errors_with_status_200(rig: Rig, entry: dict[str, str], kind: type[GitHubError]) -> None:
    rig.server.say(reply({"data": None, "errors": [entry]}))
    with pytest.raises(kind) as caught:
        await rig.client.graphql_call("query { viewer { login } }", {}, label="viewer")
    assert type(caught.value) is kind


async def test_a_graphql_limit_uses_the_reset_of_its_own_bucket(rig: Rig) -> None:
    error = {"type": "RATE_LIMITED", "message": "API rate limit exceeded"}
    headers = {"X_RateLimit_Remaining": "0", "X_RateLimit_Reset": RESET, "X_RateLimit_Resource": "graphql"}
    rig.server.say(reply({"errors": [error]}, **headers), reply({"ok": True}))
    with pytest.raises(RateLimited) as caught:
        await rig.client.graphql_call("query { a }", {}, label="a")
    assert caught.value.until == START + timedelta(minutes=9)
    assert (await rig.client.request(READ)).data == {"ok": True}
    with pytest.raises(RateLimited):
        await rig.client.graphql_call("query { a }", {}, label="a")


async def test_partial_graphql_results_come_with_their_errors(rig: Rig) -> None:
    error = {"type": "NOT_FOUND", "path": ["b", "c"], "message": "no b"}
    rig.server.say(reply({"data": {"a": {"id": "1"}, "b": None}, "errors": [error]}))
    answer = await rig.client.graphql_call("mutation { a b }", {}, label="ab", lane=Lane.WORDS)
    assert answer.data["a"] == {"id": "1"}
    assert [(x.field, x.kind) for x in answer.errors] == [("b", "NOT_FOUND")]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param([1], id="a list"),
        pytest.param({}, id="neither data nor errors"),
    ],
)
async def test_a_graphql_answer_without_sense_is_unavailable(rig: Rig, body: Any) -> None:
    rig.server.say(reply(body))
    with pytest.raises(Unavailable):
        await rig.client.graphql_call("query { a }", {}, label="a")
