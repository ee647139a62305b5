"""The webhook checker itself: real recordings pass, missing fields and headers are reported, exceptions are listed."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from handlers import REGISTRY
from tests.contract.description import github
from tests.contract.webhooks import EXCEPTIONS, Forgiven, check, name_of
from tests.corpus import reading

HEADERS = {
    "User-Agent": "GitHub-Hookshot/044aadd",
    "Content-Type": "application/json",
    "X-GitHub-Event": "issues",
    "X-GitHub-Delivery": "0b989ba4-242f-11e5-81e1-c7b6966d2516",
    "X-GitHub-Hook-ID": "12312312",
    "X-GitHub-Hook-Installation-Target-ID": "123123",
    "X-GitHub-Hook-Installation-Target-Type": "integration",
    "X-Hub-Signature-256": "sha256=" + "0" * 64,
}
LABELED = reading.events_of("issues")[9]


@pytest.mark.parametrize(
    ("event", "index"),
    [("issues", 9), ("issue_comment", 1), ("pull_request", 12), ("workflow_run", 1), ("check_run", 0), ("label", 1)],
)
def test_a_recording_of_github_passes(event: str, index: int) -> None:
    assert check(event, reading.events_of(event)[index]) == []


def without(*path: str) -> dict[str, Any]:
    payload = copy.deepcopy(LABELED)
    inner = payload
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return payload


@pytest.mark.parametrize("path", [("sender",), ("repository", "id"), ("issue", "number")], ids=".".join)
def test_a_missing_field_is_reported_with_its_place(path: tuple[str, ...]) -> None:
    (problem,) = check("issues", without(*path))
    assert repr(path[-1]) in problem
    assert "$" + "".join(f".{name}" for name in path[:-1]) + ":" in problem


def test_a_listed_exception_is_forgiven_and_nothing_else() -> None:
    forgiven = (Forgiven("issues-.*", r"'sender' is a required", "for the test"),)
    assert check("issues", without("sender"), exceptions=forgiven) == []
    assert check("issues", without("repository", "id"), exceptions=forgiven) != []
    assert check("issue_comment", {"action": "created"}, exceptions=forgiven) != []


def test_every_exception_says_why() -> None:
    assert all(exception.reason.endswith(".") for exception in EXCEPTIONS)


def test_an_unknown_webhook_is_reported() -> None:
    assert check("issues", {"action": "exploded"}) == ["issues-exploded: the description has no such webhook"]


def test_the_headers_of_github_pass() -> None:
    assert check("issues", LABELED, HEADERS) == []


@pytest.mark.parametrize("name", HEADERS)
def test_a_missing_header_is_reported(name: str) -> None:
    (problem,) = check("issues", LABELED, {key: value for key, value in HEADERS.items() if key != name})
    assert problem == f"the header {name} is missing"


WRONG = {
    "another event": {"X-GitHub-Event": "push"},
    "a short signature": {"X-Hub-Signature-256": "sha256=abc"},
    "a SHA-1 signature": {"X-Hub-Signature-256": "sha1=" + "0" * 40},
    "a delivery that is no GUID": {"X-GitHub-Delivery": "1"},
    "a delivery of dashes": {"X-GitHub-Delivery": "-" * 36},
    "another sender": {"User-Agent": "curl/8"},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_header_is_reported(change: dict[str, str]) -> None:
    assert len(check("issues", LABELED, HEADERS | change)) == 1


def test_every_handled_event_is_described() -> None:
    known = set(github().webhooks)
    for event in set(REGISTRY) - {"meta"}:
        stem = name_of(event, None)
        assert any(name == stem or name.startswith(f"{stem}-") for name in known), event
