"""Comments and reactions over REST."""

from __future__ import annotations

import pytest

from bot.localhub.core import Issue
from tests.localhub.support import World


def opened(w: World) -> tuple[Issue, str]:
    issue = w.hub.issues.open(w.repo, "A bug", actor=w.hub.as_user("olive"))
    return issue, f"/repos/{w.repo.full_name}/issues/{issue.number}"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(" \n\t", id="a blank body"),
        pytest.param(None, id="no body"),
        pytest.param("ä" * 131_073, id="a body over the limit in bytes"),
    ],
)
async def test_refused_bodies(w: World, body: str | None) -> None:
    _, path = opened(w)
    answer = await w.call("POST", f"{path}/comments", {"body": body})
    assert answer.status == 422
    assert answer.body["errors"][0]["code"] == "unprocessable"


async def test_a_body_at_the_limit_is_taken(w: World) -> None:
    _, path = opened(w)
    body = "ä" * 131_072
    answer = await w.call("POST", f"{path}/comments", {"body": body})
    assert (answer.status, answer.body["body"]) == (201, body)


async def test_an_edit_tells_what_it_was(w: World) -> None:
    issue, path = opened(w)
    made = (await w.call("POST", f"{path}/comments", {"body": "first"})).body
    w.clock.forward(seconds=5)
    one = f"/repos/{w.repo.full_name}/issues/comments/{made['id']}"
    edited = (await w.call("PATCH", one, {"body": "second"})).body
    assert edited["updated_at"] == "2026-11-20T12:00:05Z"
    assert edited["created_at"] == "2026-11-20T12:00:00Z"
    await w.call("PATCH", one, {"body": "second"})
    assert (await w.call("DELETE", one)).status == 204
    assert (await w.call("GET", one)).status == 404
    await w.hub.settle()
    names = [x for x in w.receiver.names() if x.startswith("issue_comment")]
    assert sorted(names) == [
        "issue_comment.created",
        "issue_comment.deleted",
        "issue_comment.edited",
    ]
    payload = w.receiver.last("issue_comment.edited").payload
    assert payload["changes"] == {"body": {"from": "first"}}
    assert payload["comment"]["performed_via_github_app"]["id"] == w.app.id
    assert payload["issue"]["number"] == issue.number


async def test_people_edit_only_their_own_comments(w: World) -> None:
    issue, _ = opened(w)
    comment = w.hub.comments.create(issue, "mine", w.hub.as_user("wim"))
    one = f"/repos/{w.repo.full_name}/issues/comments/{comment.id}"
    body = {"body": "changed"}
    assert (await w.call("PATCH", one, body, token=w.hub.user_token("eve"))).status == 403
    assert (await w.call("PATCH", one, body, token=w.hub.user_token("wim"))).status == 200
    assert (await w.call("PATCH", one, {"body": "by the App"})).status == 200
    read_only = w.narrowed(issues="read")
    assert (await w.call("PATCH", one, body, token=read_only)).status == 403


async def test_comments_are_listed_since_a_time(w: World) -> None:
    issue, path = opened(w)
    w.hub.comments.create(issue, "early", w.hub.as_user("wim"))
    w.clock.forward(minutes=1)
    w.hub.comments.create(issue, "late", w.hub.as_user("wim"))
    every = (await w.call("GET", f"{path}/comments")).body
    assert [x["body"] for x in every] == ["early", "late"]
    recent = (await w.call("GET", f"{path}/comments?since=2026-11-20T12:00:30Z")).body
    assert [x["body"] for x in recent] == ["late"]
    of_all = f"/repos/{w.repo.full_name}/issues/comments?sort=updated&direction=desc"
    assert [x["body"] for x in (await w.call("GET", of_all)).body] == ["late", "early"]


async def test_a_reaction_exists_once_per_account(w: World) -> None:
    issue, path = opened(w)
    comment = w.hub.comments.create(issue, "/tgs why", w.hub.as_user("wim"))
    for base in (path, f"/repos/{w.repo.full_name}/issues/comments/{comment.id}"):
        first = await w.call("POST", f"{base}/reactions", {"content": "eyes"})
        again = await w.call("POST", f"{base}/reactions", {"content": "eyes"})
        assert (first.status, again.status) == (201, 200)
        assert first.body["id"] == again.body["id"]
        shown = (await w.call("GET", base)).body["reactions"]
        assert (shown["eyes"], shown["total_count"]) == (1, 1)
        gone = await w.call("DELETE", f"{base}/reactions/{first.body['id']}")
        assert gone.status == 204
    wrong = await w.call("POST", f"{path}/reactions", {"content": "shrug"})
    assert wrong.status == 422
