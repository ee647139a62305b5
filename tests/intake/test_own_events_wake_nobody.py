"""What the bot did itself wakes nobody: the recorded payloads of every event, with our own bot user as their sender."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bot.domain.intake import TouchKind
from handlers import REGISTRY

PAYLOADS = Path(__file__).parents[1] / "corpus" / "webhooks"
ME = 424242

WAKE: dict[str, str] = {
    "installation": "an App's own sender is never in it: it tells of rights, which must be read whoever changed them",
    "installation_repositories": "the same",
    "installation_target": "the same",
    "pull_request": "our own pull request, opened, merged or updated, is what items wait for",
    "pull_request_review": "we write none; what is heard of a pull request makes it be read",
    "push": "a change of the default branch counts whoever pushed it; our merges are such changes",
    "repository": "we change none; its name and its default branch must be known",
    "status": "it has no branch of ours that we did not want to hear of; outside CI may speak with our token",
    "workflow_job": "the jobs of our runs are started in our name",
    "workflow_run": "our runs are started in our name, and their end is what attempts wait for",
}
"""Events that count although they are our own, and why."""


@cache
def recorded(event: str) -> tuple[dict[str, Any], ...]:
    path = PAYLOADS / f"{event}.json"
    return tuple(json.loads(path.read_text("utf-8"))) if path.exists() else ()


def ours(payload: dict[str, Any]) -> bytes:
    sender = {"id": ME, "login": "tgs[bot]", "type": "Bot"}
    return json.dumps({"installation": {"id": 1}, **payload, "sender": sender}).encode()


@pytest.mark.parametrize("event", sorted(set(REGISTRY) - set(WAKE)))
def test_our_own_events_touch_nothing_and_ask_for_nothing(event: str) -> None:
    heard = others = 0
    for payload in recorded(event):
        _, intake = REGISTRY[event].read(ours(payload), ME)
        assert (intake.touches, intake.intents) == ((), ()), payload.get("action")
        heard += 1
        _, intake = REGISTRY[event].read(ours(payload), ME + 1)
        others += bool(intake.touches)
    assert heard
    # The same payloads of anybody else are heard, or the test would prove nothing.
    assert others or event in {"meta", "ping"}


def test_our_own_push_is_heard_on_the_default_branch_only() -> None:
    for payload in recorded("push"):
        _, intake = REGISTRY["push"].read(ours(payload), ME)
        assert all(touch.kind is TouchKind.REPO for touch in intake.touches)


def test_the_events_that_wake_although_they_are_ours_are_these() -> None:
    assert set(WAKE) < set(REGISTRY)
    assert {"issues", "issue_comment", "label", "check_run", "check_suite"} <= set(REGISTRY) - set(WAKE)
