"""The validator itself: good exchanges pass, and each deliberate fault is reported."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.description import github
from tests.contract.validator import Validator
from tests.corpus import reading

HEADERS = {
    "User-Agent": "tgs-bot/1",
    "Authorization": "Bearer ghs_x",
    "X-GitHub-Api-Version": "2026-03-10",
    "Accept": "application/vnd.github+json",
}
R = "/repos/o/r"
SHA = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
USER = reading.events_of("issues")[9]["sender"]
LABEL = {"id": 1, "node_id": "L", "url": "https://x/l", "name": "a", "description": None, "color": "ededed"} | {
    "default": False
}
REF = {
    "ref": "refs/heads/tgs/1-x",
    "node_id": "R",
    "url": "https://x/r",
    "object": {"type": "commit", "sha": SHA, "url": "https://x/c"},
}
ERROR = {"message": "Not Found", "documentation_url": "https://docs.github.com/rest", "status": "404"}
DISPATCHED = {"workflow_run_id": 7, "run_url": "https://x/7", "html_url": "https://y/7"}

Exchange = tuple[str, str, dict[str, str], Any, int, Any]


def check(exchange: Exchange, headers: dict[str, str] | None = None) -> list[str]:
    method, path, query, body, status, answer = exchange
    return Validator().check(method, path, query, HEADERS if headers is None else headers, body, status, answer)


RUN = f"{R}/actions/workflows/tgs-server-run.yml/dispatches"
GOOD: dict[str, Exchange] = {
    "labels of an issue": ("POST", f"{R}/issues/5/labels", {}, {"labels": ["a"]}, 200, [LABEL]),
    "a label taken": ("DELETE", f"{R}/issues/5/labels/tgs%3Aready", {}, None, 200, []),
    "a label that was not there": ("DELETE", f"{R}/issues/5/labels/tgs:ready", {}, None, 404, ERROR),
    "a label with a slash": ("DELETE", f"{R}/issues/5/labels/a%20b%2Fc", {}, None, 200, []),
    "issues of a label": ("GET", f"{R}/issues", {"labels": "a,b", "state": "open", "per_page": "100"}, None, 200, []),
    "an answer from the cache": ("GET", f"{R}/issues", {}, None, 304, None),
    "a new reference": ("POST", f"{R}/git/refs", {}, {"ref": "refs/tgs/claims/5", "sha": SHA}, 201, REF),
    "a reference with slashes": ("GET", f"{R}/git/ref/heads/tgs/1-x", {}, None, 200, REF),
    "matching references": ("GET", f"{R}/git/matching-refs/heads/tgs/", {}, None, 200, [REF]),
    "a file in folders": ("GET", f"{R}/contents/tgs/thoughts/ab-c/plan.md", {"ref": "main"}, None, 404, ERROR),
    "the root of the tree": ("GET", f"{R}/contents/", {}, None, 404, ERROR),
    "a branch with slashes": ("GET", f"{R}/branches/tgs/1-x", {}, None, 404, ERROR),
    "a comparison": ("GET", f"{R}/compare/main...tgs/1-x", {}, None, 404, ERROR),
    "check runs of a branch with slashes": ("GET", f"{R}/commits/tgs/1-x/check-runs", {}, None, 200, None),
    "a dispatch that tells the run": (
        "POST",
        RUN,
        {},
        {"ref": "main", "inputs": {"issue": "5"}, "return_run_details": True},
        200,
        DISPATCHED,
    ),
    "a dispatch that tells nothing": ("POST", RUN, {}, {"ref": "main"}, 204, None),
    "a page named by the repository's id": ("GET", "/repositories/7/issues", {"page": "2"}, None, 200, []),
    "the repository by its id": ("GET", "/repositories/7", {}, None, 404, ERROR),
    "a narrowed token": (
        "POST",
        "/app/installations/3/access_tokens",
        {},
        {"repository_ids": [7], "permissions": {"contents": "write"}},
        201,
        {"token": "t", "expires_at": "2026-03-01T10:00:00Z"},
    ),
    "failed deliveries": ("GET", "/app/hook/deliveries", {"status": "failure", "per_page": "100"}, None, 200, []),
    "a role": ("GET", f"{R}/collaborators/ann/permission", {}, None, 404, ERROR),
    "runs since a time": ("GET", f"{R}/actions/runs", {"created": ">=2026-03-01T10:00:00Z"}, None, 502, None),
    "runs between times": (
        "GET",
        f"{R}/actions/runs",
        {"created": "2026-03-01T00:00:00Z..2026-03-02T00:00:00Z"},
        None,
        502,
        None,
    ),
    "an outage": ("GET", f"{R}/issues", {}, None, 502, b"<html>"),
    "a limit": ("POST", f"{R}/issues", {}, {"title": "x"}, 429, {"message": "secondary rate limit"}),
    "a GraphQL call": ("POST", "/graphql", {}, {"query": "{viewer{login}}", "variables": {}}, 200, {"data": {}}),
    "a body as bytes": ("POST", f"{R}/issues/5/comments", {}, b'{"body": "hi"}', 403, b'{"message": "no"}'),
}
GOOD["check runs of a branch with slashes"] = (
    *GOOD["check runs of a branch with slashes"][:5],
    {"total_count": 0, "check_runs": []},
)


@pytest.mark.parametrize("exchange", GOOD.values(), ids=GOOD.keys())
def test_a_good_exchange_passes(exchange: Exchange) -> None:
    assert check(exchange) == []


FAULTS: dict[str, tuple[Exchange, str]] = {
    "an unknown path": (("GET", f"{R}/isues", {}, None, 200, []), "the path is not known"),
    "a wrong method": (("PUT", f"{R}/issues/5", {}, {}, 200, {}), "only GET, PATCH is known"),
    "a misspelt query name": (("GET", f"{R}/issues", {"label": "a"}, None, 200, []), "query parameter label"),
    "a value outside the enum": (("GET", f"{R}/issues", {"state": "opened"}, None, 200, []), "query parameter state"),
    "a page that is a word": (("GET", f"{R}/issues", {"page": "two"}, None, 200, []), "query parameter page"),
    "a page that is too large": (("GET", f"{R}/issues", {"per_page": "200"}, None, 200, []), "more than 100"),
    "a time that is none": (("GET", f"{R}/actions/runs", {"created": ">=soon"}, None, 200, {}), "parameter created"),
    "an issue number that is a word": (("GET", f"{R}/issues/five", {}, None, 404, ERROR), "path parameter"),
    "a misspelt body name": (
        ("POST", f"{R}/issues", {}, {"title": "x", "label": ["a"]}, 429, None),
        "body $.label is not known",
    ),
    "a misspelt name deep in the body": (
        ("POST", f"{R}/git/trees", {}, {"tree": [{"path": "a", "mod": "100644"}]}, 422, None),
        "body $.tree[0].mod is not known",
    ),
    "a missing body name": (("POST", f"{R}/issues", {}, {"body": "x"}, 422, None), "'title' is a required property"),
    "no body at all": (("POST", f"{R}/git/refs", {}, None, 422, None), "the body is missing"),
    "a body where none belongs": (("DELETE", f"{R}/issues/5/labels/a", {}, {"x": 1}, 200, []), "none is known"),
    "a body value of another kind": (("POST", f"{R}/issues", {}, {"title": "x", "labels": "a"}, 422, None), "$.labels"),
    "too many annotations of a kind": (
        ("POST", f"{R}/check-runs", {}, {"name": "n", "head_sha": SHA, "status": "running"}, 422, None),
        "$.status",
    ),
    "an answer that lacks a field": (
        ("GET", f"{R}/git/ref/heads/main", {}, None, 200, {k: v for k, v in REF.items() if k != "object"}),
        "'object' is a required property",
    ),
    "an answer with a wrong value": (
        ("POST", f"{R}/issues/5/labels", {}, {"labels": ["a"]}, 200, [LABEL | {"id": "1"}]),
        "answer 200 $[0].id",
    ),
    "a status that is not described": (("POST", f"{R}/git/refs", {}, {"ref": "r", "sha": SHA}, 200, REF), "status 200"),
    "an empty answer with a body": (("POST", RUN, {}, {"ref": "main"}, 204, {"x": 1}), "204 has a body"),
    "an answer without a body": (("GET", f"{R}/issues", {}, None, 200, None), "has no body"),
    "a redirect of a write": (("POST", f"{R}/pulls", {}, {"head": "a", "base": "b"}, 307, None), "status 307"),
    "a GraphQL call without a query": (("POST", "/graphql", {}, {"querry": "x"}, 200, {}), "needs a query"),
    "a GraphQL call with another name": (("POST", "/graphql", {}, {"query": "x", "vars": {}}, 200, {}), "$.vars"),
}


@pytest.mark.parametrize(("exchange", "expected"), FAULTS.values(), ids=FAULTS.keys())
def test_a_deliberate_fault_is_reported(exchange: Exchange, expected: str) -> None:
    problems = check(exchange)
    assert any(expected in problem for problem in problems), problems
    assert all(problem.startswith(f"{exchange[0]} {exchange[1]}: ") for problem in problems)


HEADER_FAULTS = {
    "no user agent": ({"User-Agent": ""}, "User-Agent"),
    "no version": ({"X-GitHub-Api-Version": ""}, "X-GitHub-Api-Version"),
    "a version that is a word": ({"X-GitHub-Api-Version": "latest"}, "X-GitHub-Api-Version"),
    "a bare token": ({"Authorization": "ghs_x"}, "Authorization"),
}


STRANGE = (None, True, 1, 1.5, 2**70, -1, "x", "2026-11-02T09:00:00Z", "2026-11-02T09:00:00", "a@b", [], {})


def damaged(value: Any) -> Iterator[Any]:
    """The value, and the value with each of its parts left out or replaced by something strange."""
    yield value
    yield from STRANGE
    if isinstance(value, dict):
        for name in value:
            yield {key: inner for key, inner in value.items() if key != name}
            yield from ({**value, name: inner} for inner in damaged(value[name]))
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from ([*value[:index], inner, *value[index + 1 :]] for inner in damaged(item))


@pytest.mark.parametrize("exchange", GOOD.values(), ids=GOOD.keys())
def test_the_quick_reading_of_a_schema_says_what_the_slow_one_says(exchange: Exchange) -> None:
    method, path, _, body, status, answer = exchange
    operation, _, _ = github().find(method, path)
    answered = operation and operation.answers.get(str(status), {}).get("application/json")
    for schema, value in ((operation and operation.body, body), (answered, answer)):
        if schema is None or value is None or isinstance(value, bytes):
            continue
        slow = github()._validator(schema)
        for changed in damaged(value):
            assert github().holds(schema, changed) == (not any(True for _ in slow.iter_errors(changed))), changed


@pytest.mark.parametrize(("change", "expected"), HEADER_FAULTS.values(), ids=HEADER_FAULTS.keys())
def test_a_wrong_header_is_reported(change: dict[str, str], expected: str) -> None:
    (problem,) = check(GOOD["issues of a label"], HEADERS | change)
    assert expected in problem
    quiet = Validator(headers=False)
    assert quiet.check("GET", f"{R}/issues", {}, {}, None, 200, []) == []


def test_header_names_are_compared_without_case() -> None:
    assert check(GOOD["issues of a label"], {name.lower(): value for name, value in HEADERS.items()}) == []


def test_the_root_of_the_api_may_have_a_prefix() -> None:
    validator = Validator("/api/v3/")
    assert validator.check("GET", f"/api/v3{R}/issues", {}, HEADERS, None, 200, []) == []
    assert validator.check("GET", "/api/v3/nowhere", {}, HEADERS, None, 200, []) != []


def test_null_is_accepted_where_github_sends_it_beside_an_enum() -> None:
    issue = reading.events_of("issues")[9]["issue"] | {"state_reason": None}
    schema = {"$ref": "#/components/schemas/issue"}
    places = [place for place, _ in github().errors(schema, issue)]
    assert "$.state_reason" not in places
    wrong = [place for place, _ in github().errors(schema, issue | {"state_reason": "because"})]
    assert "$.state_reason" in wrong


NEEDED = (
    "GET /app",
    "GET /app/installations",
    "POST /app/installations/{installation_id}/access_tokens",
    "GET /app/hook/deliveries",
    "POST /app/hook/deliveries/{delivery_id}/attempts",
    "GET /installation/repositories",
    "DELETE /installation/token",
    "GET /users/{username}",
    "GET {R}",
    "GET {R}/issues",
    "POST {R}/issues",
    "PATCH {R}/issues/{issue_number}",
    "GET {R}/issues/{issue_number}/events",
    "POST {R}/issues/{issue_number}/labels",
    "DELETE {R}/issues/{issue_number}/labels/{name}",
    "POST {R}/issues/{issue_number}/assignees",
    "POST {R}/issues/{issue_number}/comments",
    "PATCH {R}/issues/comments/{comment_id}",
    "POST {R}/issues/comments/{comment_id}/reactions",
    "POST {R}/labels",
    "GET {R}/assignees/{assignee}",
    "GET {R}/collaborators/{username}/permission",
    "GET {R}/pulls",
    "POST {R}/pulls",
    "PUT {R}/pulls/{pull_number}/merge",
    "POST {R}/git/refs",
    "DELETE {R}/git/refs/{ref}",
    "POST {R}/git/trees",
    "POST {R}/git/commits",
    "GET {R}/git/blobs/{file_sha}",
    "GET {R}/contents/{path}",
    "GET {R}/commits/{ref}/check-runs",
    "GET {R}/commits/{ref}/status",
    "POST {R}/check-runs",
    "PATCH {R}/check-runs/{check_run_id}",
    "POST {R}/statuses/{sha}",
    "GET {R}/actions/workflows/{workflow_id}",
    "POST {R}/actions/workflows/{workflow_id}/dispatches",
    "GET {R}/actions/runs/{run_id}/jobs",
    "POST {R}/actions/runs/{run_id}/cancel",
    "POST {R}/actions/runs/{run_id}/force-cancel",
    "GET {R}/actions/artifacts/{artifact_id}/{archive_format}",
    "GET {R}/environments/{environment_name}",
)


def operations() -> Iterator[str]:
    for route in github().routes:
        for method in route.operations:
            yield f"{method.upper()} {route.template}"


def test_the_trimmed_copy_has_every_operation_the_product_uses() -> None:
    needed = {name.replace("{R}", "/repos/{owner}/{repo}") for name in NEEDED}
    assert needed - set(operations()) == set()


def test_the_notice_of_the_licence_is_kept() -> None:
    folder = reading.FOLDER.parent / "contract" / "data"
    for notice in (folder / "NOTICE.md", reading.FOLDER / "webhooks" / "NOTICE.md"):
        text = notice.read_text("utf-8")
        assert "MIT License" in text
        assert "Octokit contributors" in text


def test_checking_is_quick_enough_to_watch_every_request_of_a_test() -> None:
    body = json.dumps({"labels": ["a"]}).encode()
    validator = Validator()
    for _ in range(200):
        assert validator.check("POST", f"{R}/issues/5/labels", {}, HEADERS, body, 200, [LABEL]) == []
