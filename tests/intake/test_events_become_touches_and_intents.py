"""What each webhook event points at and asks for. Touches are written `kind:value(hint)` to be read at a glance."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from bot.domain import labels
from bot.domain.intake import Intake, Touch
from bot.domain.intents import body_digest
from bot.domain.model import IssueKey, ItemState
from handlers import REGISTRY

INSTALLATION, REPO, ME, ANN = 1, 2, 777, 9
READY = labels.state_label(ItemState.READY)
DONE = labels.state_label(ItemState.DONE)
PULL: dict[str, Any] = {"pull_request": {"url": "https://api.github.com/x"}}
SHA = "6113728f27ae82c7b1a177c8d03f9e96e0adf246"
WRITTEN = "2026-03-01T10:00:00Z"
EDITED = "2026-03-02T10:00:00Z"


def user(id_: int = ANN, type_: str = "User") -> dict[str, Any]:
    return {"id": id_, "login": f"user-{id_}", "type": type_}


def issue(*names: str, **more: Any) -> dict[str, Any]:
    return {"number": 5, "labels": [{"name": name} for name in names]} | more


def comment(body: str | None = "hello", by: dict[str, Any] | None = None) -> dict[str, Any]:
    written = {"id": 31, "node_id": "IC_31", "created_at": WRITTEN, "updated_at": EDITED}
    return written | {"body": body, "user": by if by is not None else user()}


def read(event: str, action: str | None = None, self_id: int | None = ME, **parts: Any) -> Intake:
    payload = {
        "action": action,
        "installation": {"id": INSTALLATION},
        "repository": {"id": REPO, "full_name": "o/r", "default_branch": "main", "owner": {"id": 3, "login": "o"}},
        "sender": user(),
    } | parts
    body = {key: value for key, value in payload.items() if value is not None}
    return REGISTRY[event].read(json.dumps(body).encode(), self_id)[1]


def short(touch: Touch) -> str:
    assert touch.installation == INSTALLATION
    return f"{touch.kind}:{touch.value}" + (f"({touch.hint})" if touch.hint else "")


def touches(intake: Intake) -> list[str]:
    return [short(touch) for touch in intake.touches]


PLAIN = issue("bug")
OURS = issue("bug", DONE)
LABEL: dict[str, Any] = {"label": {"name": READY}}
OTHER: dict[str, Any] = {"label": {"name": "bug"}}
HEAD = {"ref": "tgs/5-fix", "sha": SHA, "repo": {"id": REPO}}
FORK = HEAD | {"repo": {"id": 99}}
RUN = {"id": 70, "head_sha": SHA, "status": "queued"}

TOUCHED: dict[str, tuple[str, str | None, dict[str, Any], list[str]]] = {
    "a push to the default branch": ("push", None, {"ref": "refs/heads/main"}, ["repo:"]),
    "a push to another branch": ("push", None, {"ref": "refs/heads/tgs/5-fix"}, ["branch:tgs/5-fix"]),
    "a push by us": ("push", None, {"ref": "refs/heads/main", "sender": user(ME)}, ["repo:"]),
    "a branch that was deleted": ("push", None, {"ref": "refs/heads/x", "deleted": True}, ["branch:x"]),
    "a tag called like the default branch": ("push", None, {"ref": "refs/tags/main"}, []),
    "a plain issue": ("issues", "opened", {"issue": PLAIN}, ["issue:5"]),
    "an issue opened as ready": ("issues", "opened", {"issue": issue(READY)}, ["issue:5(track)", "repo:"]),
    "an issue opened with another of our labels": ("issues", "opened", {"issue": OURS}, ["issue:5(track)"]),
    "an issue whose label has other capitals": ("issues", "edited", {"issue": issue("TGS:Ready")}, ["issue:5(track)"]),
    "the ready label given": ("issues", "labeled", {"issue": issue(READY)} | LABEL, ["issue:5(track)", "repo:"]),
    "the ready label taken": ("issues", "unlabeled", {"issue": PLAIN} | LABEL, ["issue:5(track)", "repo:"]),
    "another label given to an item": ("issues", "labeled", {"issue": issue(READY)} | OTHER, ["issue:5(track)"]),
    "another label on another issue": ("issues", "labeled", {"issue": PLAIN} | OTHER, ["issue:5"]),
    "an edit": ("issues", "edited", {"issue": OURS}, ["issue:5(track)"]),
    "an assignment": ("issues", "assigned", {"issue": PLAIN}, ["issue:5"]),
    "an assignment taken back": ("issues", "unassigned", {"issue": PLAIN}, ["issue:5"]),
    "a closed issue": ("issues", "closed", {"issue": PLAIN}, ["issue:5", "repo:"]),
    "a reopened issue": ("issues", "reopened", {"issue": OURS}, ["issue:5(track)", "repo:"]),
    "a deleted issue": ("issues", "deleted", {"issue": PLAIN}, ["issue:5", "repo:"]),
    "a transferred issue": ("issues", "transferred", {"issue": PLAIN}, ["issue:5", "repo:"]),
    "a pinned issue": ("issues", "pinned", {"issue": OURS}, []),
    "an action that GitHub invents later": ("issues", "field_added", {"issue": OURS}, []),
    "an issue event of a pull request": ("issues", "closed", {"issue": issue(READY, **PULL)}, ["pull:5"]),
    "our own label change": ("issues", "labeled", {"issue": issue(READY), "sender": user(ME)} | LABEL, []),
    "a comment": ("issue_comment", "created", {"issue": PLAIN, "comment": comment()}, ["issue:5"]),
    "a comment on an item": ("issue_comment", "created", {"issue": OURS, "comment": comment()}, ["issue:5(track)"]),
    "a deleted comment": (
        "issue_comment",
        "deleted",
        {"issue": PLAIN, "comment": comment()},
        ["issue:5", "issue:5(talk)"],
    ),
    "a pinned comment": ("issue_comment", "pinned", {"issue": PLAIN, "comment": comment()}, []),
    "a comment on a pull request": (
        "issue_comment",
        "created",
        {"issue": issue(**PULL), "comment": comment()},
        ["pull:5"],
    ),
    "our own comment": (
        "issue_comment",
        "created",
        {"issue": OURS, "comment": comment(by=user(ME)), "sender": user(ME)},
        [],
    ),
    "an opened pull request": ("pull_request", "opened", {"pull_request": {"number": 8, "head": HEAD}}, []),
    "a pull request that got commits": (
        "pull_request",
        "synchronize",
        {"pull_request": {"number": 8, "head": HEAD}},
        ["pull:8", "branch:tgs/5-fix"],
    ),
    "a pull request of ours": (
        "pull_request",
        "closed",
        {"pull_request": {"number": 8, "head": HEAD}, "sender": user(ME)},
        ["pull:8", "branch:tgs/5-fix"],
    ),
    "a pull request of a fork": (
        "pull_request",
        "synchronize",
        {"pull_request": {"number": 8, "head": FORK}},
        ["pull:8"],
    ),
    "a pull request whose fork is gone": (
        "pull_request",
        "closed",
        {"pull_request": {"number": 8, "head": HEAD | {"repo": None}}},
        ["pull:8"],
    ),
    "a review": ("pull_request_review", "submitted", {"pull_request": {"number": 8, "head": HEAD}}, ["pull:8"]),
    "a check": ("check_run", "completed", {"check_run": {"head_sha": SHA}}, [f"head:{SHA}"]),
    "our own check": ("check_run", "created", {"check_run": {"head_sha": SHA}, "sender": user(ME)}, []),
    "a suite of checks": ("check_suite", "completed", {"check_suite": {"head_sha": SHA}}, [f"head:{SHA}"]),
    "a suite that our check made": (
        "check_suite",
        "requested",
        {"check_suite": {"head_sha": SHA}, "sender": user(ME)},
        [],
    ),
    "a commit status": ("status", None, {"sha": SHA}, [f"head:{SHA}"]),
    "a run that was requested": (
        "workflow_run",
        "requested",
        {"workflow_run": RUN, "sender": user(ME)},
        ["run:70(requested)", f"head:{SHA}"],
    ),
    "a run that ended": (
        "workflow_run",
        "completed",
        {"workflow_run": RUN | {"status": "completed"}},
        ["run:70(completed)", f"head:{SHA}"],
    ),
    "a late event of a run that is over": (
        "workflow_run",
        "in_progress",
        {"workflow_run": RUN | {"status": "completed"}},
        ["run:70(completed)", f"head:{SHA}"],
    ),
    "a job of a run": ("workflow_job", "completed", {"workflow_job": {"id": 4, "run_id": 70}}, ["run:70"]),
    "a renamed label": ("label", "edited", {"label": {"name": "x"}}, ["repo:"]),
    "a label that we made": ("label", "created", {"label": {"name": READY}, "sender": user(ME)}, []),
    "a renamed repository": ("repository", "renamed", {}, ["repo:"]),
    "a renamed account": ("installation_target", "renamed", {"account": {"id": 3}}, ["installation:"]),
    "a ping": ("ping", None, {"zen": "x"}, []),
    "a deleted hook": ("meta", "deleted", {"hook_id": 1}, []),
}


@pytest.mark.parametrize(("event", "action", "parts", "expected"), TOUCHED.values(), ids=TOUCHED.keys())
def test_an_event_touches(event: str, action: str | None, parts: dict[str, Any], expected: list[str]) -> None:
    assert touches(read(event, action, **parts)) == expected


def test_before_our_own_id_is_known_nothing_is_taken_for_ours() -> None:
    assert touches(read("label", "created", self_id=None, label={"name": "x"}, sender=user(ME))) == ["repo:"]


def test_a_payload_tells_what_the_repository_is() -> None:
    (seen,) = read("push", ref="refs/heads/x").repos
    assert (seen.key.installation, seen.key.repo, seen.full_name, seen.owner_id) == (1, 2, "o/r", 3)
    assert (seen.default_branch, seen.private, seen.archived) == ("main", False, None)


# --- commands


def asked(body: str | None, action: str = "created", **parts: Any) -> list[Any]:
    values = {"issue": PLAIN, "comment": comment(body)} | parts
    return list(read("issue_comment", action, **values).intents)


def test_every_command_of_a_comment_is_an_intent_with_its_own_key() -> None:
    first, second = asked("Thanks!\n\n/tgs hold waiting for design\n/tgs priority high")
    assert (first.id, first.verb, second.id, second.verb) == ("comment:31:0", "hold", "comment:31:1", "priority")
    assert first.key == IssueKey(INSTALLATION, REPO, 5)
    assert (first.actor.id, first.comment_id, first.comment_node) == (ANN, 31, "IC_31")
    assert first.created_at == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert first.body_sha256 == body_digest("Thanks!\n\n/tgs hold waiting for design\n/tgs priority high")
    assert (first.error, first.edited) == (None, False)


def test_a_command_that_cannot_be_understood_says_why() -> None:
    (intent,) = asked("/tgs strat")
    assert intent.verb == ""
    assert "strat" in intent.error
    assert "line 1" in intent.error


NO_INTENT: dict[str, dict[str, Any]] = {
    "a plain comment": {"body": "what about /tgs start?"},
    "a quoted command": {"body": "> /tgs start"},
    "a command in code": {"body": "```\n/tgs start\n```"},
    "an empty comment": {"body": None},
    "a comment by another bot": {"body": "/tgs start", "comment": comment("/tgs start", user(50, "Bot"))},
    "a comment sent by another bot": {"body": "/tgs start", "sender": user(50, "Bot")},
    "a comment of an account that is gone": {
        "body": "/tgs start",
        "comment": comment("/tgs start") | {"user": None},
    },
    "a comment without a sender": {"body": "/tgs start", "sender": None},
    "a deleted command": {"body": "/tgs start", "action": "deleted"},
}


@pytest.mark.parametrize("case", NO_INTENT.values(), ids=NO_INTENT.keys())
def test_no_intent_comes_from(case: dict[str, Any]) -> None:
    assert asked(**case) == []


def test_a_command_on_a_pull_request_carries_the_number_of_the_pull_request() -> None:
    intake = read("issue_comment", "created", issue=issue(**PULL), comment=comment("/tgs merge"))
    assert touches(intake) == ["pull:5"]
    assert [(intent.key.number, intent.verb) for intent in intake.intents] == [(5, "merge")]


def edited(before: str | None, after: str, **parts: Any) -> list[Any]:
    changes = {"body": {"from": before}} if before is not None else {"title": {"from": "x"}}
    return asked(after, "edited", changes=changes, **parts)


def test_an_edit_that_brings_a_command_is_one_flagged_intent() -> None:
    (intent,) = edited("hello", "/tgs start\n/tgs merge")
    assert (intent.id, intent.verb, intent.edited) == ("comment:31:edited", "start", True)
    assert intent.created_at == datetime(2026, 3, 2, 10, tzinfo=UTC)


def test_an_edit_that_changes_a_command_is_flagged_too() -> None:
    (intent,) = edited("/tgs priority low", "/tgs priority high")
    assert (intent.args, intent.edited) == (("high",), True)


def test_the_editor_asks_not_the_author() -> None:
    (intent,) = edited("hello", "/tgs start", sender=user(60))
    assert intent.actor.id == 60


SILENT_EDITS = {
    "the command was there before": ("/tgs start", "/tgs start\n\nplease"),
    "the command was taken out": ("/tgs start", "never mind"),
    "the edit has no earlier text": (None, "/tgs start"),
}


@pytest.mark.parametrize(("before", "after"), SILENT_EDITS.values(), ids=SILENT_EDITS.keys())
def test_an_edit_asks_for_nothing_when(before: str | None, after: str) -> None:
    assert edited(before, after) == []


# --- installations


def install(action: str, event: str = "installation", **more: Any) -> Intake:
    about = {"id": 1, "account": {"id": 3, "login": "o"}, "permissions": {"issues": "write", "checks": "read"}}
    return read(event, action, installation=about | more.pop("about", {}), **more)


NAMED = [{"id": 2, "full_name": "o/r", "private": True}]


def test_an_installation_tells_account_permissions_and_repositories() -> None:
    change = install("created", repositories=NAMED).installation
    assert change is not None
    assert (change.installation, change.account_id, change.account_login) == (1, 3, "o")
    assert (change.active, change.removed) == (True, False)
    assert change.permissions == (("checks", "read"), ("issues", "write"))
    assert [(repo.full_name, repo.owner_id, repo.private) for repo in change.repos_added] == [("o/r", 3, True)]


STATES = {
    "created": (True, False),
    "new_permissions_accepted": (True, False),
    "suspend": (False, False),
    "unsuspend": (True, False),
    "deleted": (False, True),
}


@pytest.mark.parametrize(("action", "state"), STATES.items(), ids=STATES.keys())
def test_the_installation_is_active_or_removed_after(action: str, state: tuple[bool, bool]) -> None:
    intake = install(action)
    assert intake.installation is not None
    assert (intake.installation.active, intake.installation.removed) == state
    assert touches(intake) == ["installation:"]


def test_a_suspended_installation_stays_inactive_when_something_else_changes() -> None:
    change = install("new_permissions_accepted", about={"suspended_at": WRITTEN}).installation
    assert change is not None
    assert not change.active


def test_repositories_come_and_go() -> None:
    intake = install("added", "installation_repositories", repositories_added=NAMED, repositories_removed=[])
    assert intake.installation is not None
    assert [repo.key.repo for repo in intake.repos] == [2]
    gone = install("removed", "installation_repositories", repositories_removed=NAMED).installation
    assert gone is not None
    assert gone.repos_removed == (2,)


def test_an_enterprise_has_a_name_though_it_has_no_login() -> None:
    change = install("created", about={"account": {"id": 3, "slug": "acme"}}).installation
    assert change is not None
    assert change.account_login == "acme"


def test_a_deleted_repository_is_taken_from_the_installation() -> None:
    change = read("repository", "deleted").installation
    assert change is not None
    assert (change.repos_removed, change.account_id, change.active) == ((2,), 3, True)


def test_a_renamed_account_does_not_revive_a_suspended_installation() -> None:
    assert read("installation_target", "renamed", account={"id": 3}).installation is None
