"""Issues over REST: bot identity, silent drops, labels, events, deletion and transfer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bot.localhub.core import Issue
from tests.localhub.support import World


def opened(w: World, title: str = "A bug", **more: Any) -> tuple[Issue, str]:
    issue = w.hub.issues.open(w.repo, title, actor=w.hub.as_user("olive"), **more)
    return issue, f"/repos/{w.repo.full_name}/issues/{issue.number}"


async def test_the_app_writes_as_its_bot(w: World) -> None:
    path = f"/repos/{w.repo.full_name}/issues"
    made = await w.call("POST", path, {"title": "From a bot", "labels": ["tgs:ready"]})
    assert made.status == 201
    assert made.body["user"]["login"] == "tgs[bot]"
    assert made.body["user"]["type"] == "Bot"
    assert made.body["performed_via_github_app"]["slug"] == "tgs"
    assert made.body["labels"][0]["color"] == "ededed"
    assert made.headers["Location"] == made.body["url"]
    by_person = await w.call("POST", path, {"title": "x"}, token=w.hub.user_token("wim"))
    assert by_person.body["performed_via_github_app"] is None


async def test_opening_sends_opened_then_labeled_and_assigned(w: World) -> None:
    await w.hub.settle()
    w.receiver.got.clear()
    path = f"/repos/{w.repo.full_name}/issues"
    await w.call("POST", path, {"title": "x", "labels": ["a"], "assignees": ["wim"]})
    await w.hub.settle()
    assert sorted(w.receiver.names()) == sorted(["label.created", "issues.opened", "issues.labeled", "issues.assigned"])
    payload = w.receiver.last("issues.labeled").payload
    assert payload["label"]["name"] == "a"
    assert payload["sender"]["id"] == w.app.bot.id
    assert payload["installation"]["id"] == w.installation.id


async def test_people_without_triage_cannot_label_while_opening(w: World) -> None:
    path = f"/repos/{w.repo.full_name}/issues"
    body = {"title": "x", "labels": ["a"], "assignees": ["eve"]}
    made = await w.call("POST", path, body, token=w.hub.user_token("eve"))
    assert (made.status, made.body["labels"], made.body["assignees"]) == (201, [], [])
    number = made.body["number"]
    refused = await w.call("POST", f"{path}/{number}/labels", ["a"], token=w.hub.user_token("eve"))
    assert refused.status == 403


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(["a"], 200, id="a list of names"),
        pytest.param([{"name": "a"}], 200, id="a list of objects"),
        pytest.param({"labels": ["a"]}, 200, id="an object with names"),
        pytest.param("a", 422, id="not a bare string although documented"),
        pytest.param({"labels": [{"name": "a"}]}, 422, id="not objects within an object"),
        pytest.param({"label": "a"}, 422, id="not a misspelt member"),
    ],
)
async def test_forms_of_adding_labels(w: World, body: object, status: int) -> None:
    _, path = opened(w)
    assert (await w.call("POST", f"{path}/labels", body)).status == status


async def test_the_loser_of_a_label_race_is_told(w: World) -> None:
    _, path = opened(w, labels=["tgs:ready", "tgs:priority/high"])
    answers = await asyncio.gather(*(w.call("DELETE", f"{path}/labels/tgs:ready") for _ in range(5)))
    assert sorted(x.status for x in answers) == [200, 404, 404, 404, 404]
    lost = next(x for x in answers if x.status == 404)
    assert lost.body["message"] == "Label does not exist"
    won = next(x for x in answers if x.status == 200)
    assert [x["name"] for x in won.body] == ["tgs:priority/high"]
    slash = await w.call("DELETE", f"{path}/labels/tgs:priority%2Fhigh")
    assert (slash.status, slash.body) == (200, [])


async def test_label_events_name_actor_and_label(w: World) -> None:
    issue, path = opened(w, labels=["a"])
    w.clock.forward(seconds=2)
    await w.call("DELETE", f"{path}/labels/A")
    w.hub.labels.add(issue, ["a", "a"], w.hub.as_user("tess"))
    events = (await w.call("GET", f"{path}/events")).body
    assert [(x["event"], x["actor"]["login"]) for x in events] == [
        ("labeled", "olive"),
        ("unlabeled", "tgs[bot]"),
        ("labeled", "tess"),
    ]
    assert events[1]["label"] == {"name": "a", "color": "ededed"}
    assert events[1]["created_at"] == "2026-11-20T12:00:02Z"
    assert events[1]["performed_via_github_app"]["slug"] == "tgs"


async def test_replacing_labels_loses_what_others_added(w: World) -> None:
    _, path = opened(w, labels=["theirs"])
    replaced = await w.call("PUT", f"{path}/labels", ["mine"])
    assert [x["name"] for x in replaced.body] == ["mine"]
    events = (await w.call("GET", f"{path}/events")).body
    assert [x["event"] for x in events] == ["labeled", "unlabeled", "labeled"]


async def test_who_cannot_be_assigned_is_dropped_silently(w: World) -> None:
    _, path = opened(w)
    names = {"assignees": ["tgs[bot]", "eve", "nobody", "wim"]}
    answer = await w.call("POST", f"{path}/assignees", names)
    assert answer.status == 201
    assert [x["login"] for x in answer.body["assignees"]] == ["wim"]
    await w.call("POST", f"{path}/comments", {"body": "hello"}, token=w.hub.user_token("eve"))
    later = await w.call("POST", f"{path}/assignees", {"assignees": ["eve"]})
    assert [x["login"] for x in later.body["assignees"]] == ["wim", "eve"], "commenters can be"
    gone = await w.call("DELETE", f"{path}/assignees", {"assignees": ["WIM"]})
    assert [x["login"] for x in gone.body["assignees"]] == ["eve"]


async def test_assigning_without_push_access_is_ignored(w: World) -> None:
    _, path = opened(w)
    body = {"assignees": ["wim"]}
    answer = await w.call("POST", f"{path}/assignees", body, token=w.hub.user_token("eve"))
    assert (answer.status, answer.body["assignees"]) == (201, [])


async def test_editing_closing_and_reopening(w: World) -> None:
    _, path = opened(w, body="old")
    await w.call("PATCH", path, {"title": "New", "body": "new"})
    closed = await w.call("PATCH", path, {"state": "closed", "state_reason": "not_planned"})
    assert closed.body["state_reason"] == "not_planned"
    assert closed.body["closed_by"]["login"] == "tgs[bot]"
    again = await w.call("PATCH", path, {"state": "closed"})
    assert again.status == 200
    await w.call("PATCH", path, {"state": "open"})
    await w.hub.settle()
    assert w.receiver.names().count("issues.closed") == 1
    edited = w.receiver.last("issues.edited").payload
    assert edited["changes"] == {"title": {"from": "A bug"}, "body": {"from": "old"}}
    events = (await w.call("GET", f"{path}/events")).body
    assert [x["event"] for x in events] == ["renamed", "closed", "reopened"]
    assert events[0]["rename"] == {"from": "A bug", "to": "New"}


async def test_an_over_long_body_is_kept_out_silently(w: World) -> None:
    issue, path = opened(w, body="old")
    answer = await w.call("PATCH", path, {"body": "x" * 262_145})
    assert (answer.status, answer.body["body"]) == (200, "old")
    await w.call("PATCH", path, {"body": "x" * 262_144})
    assert issue.body == "x" * 262_144


async def test_lists_are_filtered(w: World) -> None:
    first, _ = opened(w, "one", labels=["a", "b"])
    w.clock.forward(seconds=10)
    opened(w, "two", labels=["a"], assignees=["wim"])
    w.hub.issues.set_state(first, "closed", w.hub.as_user("olive"))

    async def titles(query: str) -> list[str]:
        answer = await w.call("GET", f"/repos/{w.repo.full_name}/issues?{query}")
        return [x["title"] for x in answer.body]

    assert await titles("") == ["two"]
    assert await titles("state=all&sort=created&direction=asc") == ["one", "two"]
    assert await titles("state=all&labels=A,b") == ["one"]
    assert await titles("assignee=wim") == ["two"]
    assert await titles("assignee=none") == []
    assert await titles("state=all&since=2026-11-20T12:00:10Z") == ["two", "one"]
    assert await titles("state=all&since=2026-11-20T12:00:11Z") == []
    wrong = await w.call("GET", f"/repos/{w.repo.full_name}/issues?state=broken")
    assert wrong.status == 422


async def test_a_deleted_issue_is_gone(w: World) -> None:
    issue, path = opened(w)
    w.hub.issues.delete(issue, w.hub.as_user("olive"))
    answer = await w.call("GET", path)
    assert (answer.status, answer.body["message"]) == (410, "This issue was deleted")
    assert (await w.call("DELETE", f"{path}/labels/x")).status == 410
    assert (await w.call("GET", f"/repos/{w.repo.full_name}/issues?state=all")).body == []
    await w.hub.settle()
    assert "issues.deleted" in w.receiver.names()


async def test_a_transferred_issue_points_to_its_new_place(w: World) -> None:
    issue, path = opened(w, labels=["a"])
    target = w.hub.create_repo(w.repo.owner, "target")
    w.hub.change_repositories(w.installation, add=[target])
    moved = w.hub.issues.transfer(issue, target, w.hub.as_user("olive"))
    answer = await w.call("GET", path)
    assert answer.status == 301
    assert answer.headers["Location"].endswith(f"/repositories/{target.id}/issues/{moved.number}")
    await w.hub.settle()
    payload = w.receiver.last("issues.transferred").payload
    assert payload["changes"]["new_repository"]["id"] == target.id
    assert payload["changes"]["new_issue"]["number"] == moved.number


async def test_a_locked_issue_takes_comments_of_the_team_only(w: World) -> None:
    _, path = opened(w)
    assert (await w.call("PUT", f"{path}/lock", {"lock_reason": "resolved"})).status == 204
    body = {"body": "hi"}
    refused = await w.call("POST", f"{path}/comments", body, token=w.hub.user_token("eve"))
    assert refused.status == 403
    assert (await w.call("POST", f"{path}/comments", body)).status == 201
    assert (await w.call("GET", path)).body["active_lock_reason"] == "resolved"
    assert (await w.call("DELETE", f"{path}/lock")).status == 204
    wrong = await w.call("PUT", f"{path}/lock", {"lock_reason": "because"})
    assert wrong.status == 422


async def test_the_time_line_mixes_events_and_comments(w: World) -> None:
    issue, path = opened(w, labels=["a"])
    w.hub.comments.create(issue, "hello", w.hub.as_user("wim"))
    await w.call("DELETE", f"{path}/labels/a")
    rows = (await w.call("GET", f"{path}/timeline")).body
    assert [x["event"] for x in rows] == ["labeled", "commented", "unlabeled"]
    assert rows[1]["body"] == "hello"


async def test_repository_labels(w: World) -> None:
    path = f"/repos/{w.repo.full_name}/labels"
    made = await w.call("POST", path, {"name": "tgs:ready", "color": "0E8A16"})
    assert (made.status, made.body["color"]) == (201, "0e8a16")
    taken = await w.call("POST", path, {"name": "TGS:Ready"})
    assert taken.body["errors"][0]["code"] == "already_exists"
    issue, issue_path = opened(w, labels=["tgs:ready"])
    renamed = await w.call("PATCH", f"{path}/tgs:ready", {"new_name": "go"})
    assert renamed.body["name"] == "go"
    assert [x.name for x in issue.labels] == ["go"]
    assert (await w.call("DELETE", f"{path}/go")).status == 204
    assert (await w.call("GET", issue_path)).body["labels"] == []
    assert (await w.call("GET", f"{path}/go")).status == 404
    await w.hub.settle()
    assert w.receiver.last("label.edited").payload["changes"] == {"name": {"from": "tgs:ready"}}
    assert "label.deleted" in w.receiver.names()


async def test_a_pull_request_number_needs_the_pull_request_permission(w: World) -> None:
    issue, path = opened(w)
    issue.is_pull = True
    token = w.narrowed(issues="write")
    refused = await w.call("POST", f"{path}/comments", {"body": "x"}, token=token)
    assert refused.status == 403
    assert refused.headers["X-Accepted-GitHub-Permissions"] == "pull_requests=write"
    allowed = w.narrowed(pull_requests="write")
    made = await w.call("POST", f"{path}/comments", {"body": "x"}, token=allowed)
    assert made.status == 201
