"""Repositories: roles, renames, archives, pages of lists, conditional requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.localhub.core import Role
from tests.localhub.support import World, world


@pytest.mark.parametrize(
    ("login", "permission", "role"),
    [
        pytest.param("olive", "admin", "admin", id="the owner is admin"),
        pytest.param("mia", "write", "maintain", id="maintain reads as write"),
        pytest.param("wim", "write", "write", id="write is write"),
        pytest.param("tess", "read", "triage", id="triage reads as read"),
        pytest.param("rob", "read", "read", id="read is read"),
        pytest.param("eve", "read", "read", id="everybody reads a public repository"),
    ],
)
async def test_roles(w: World, login: str, permission: str, role: str) -> None:
    path = f"/repos/{w.repo.full_name}/collaborators/{login}/permission"
    answer = await w.call("GET", path)
    assert (answer.body["permission"], answer.body["role_name"]) == (permission, role)


async def test_strangers_have_no_role_on_a_private_repository(tmp_path: Path) -> None:
    async with world(tmp_path, private=True) as w:
        path = f"/repos/{w.repo.full_name}/collaborators/eve/permission"
        assert (await w.call("GET", path)).body["permission"] == "none"


async def test_a_bot_is_not_a_user(w: World) -> None:
    path = f"/repos/{w.repo.full_name}/collaborators/tgs%5Bbot%5D/permission"
    answer = await w.call("GET", path)
    assert (answer.status, answer.body["message"]) == (404, "tgs[bot] is not a user")


async def test_members_get_their_role_from_the_organization(w: World) -> None:
    org = w.hub.create_org("acme", {"wim": Role.WRITE})
    repo = w.hub.create_repo(org, "tool", private=True)
    w.hub.install(w.app, org, [repo])
    item = w.hub.find_installation(w.app, repo)
    assert item is not None
    token = w.hub.tokens.for_installation(item, [repo.id], {"issues": "read"}).value
    path = "/repos/acme/tool/collaborators/wim/permission"
    assert (await w.call("GET", path, token=token)).body["role_name"] == "write"
    member = await w.call("GET", "/orgs/acme/members/wim", token=token)
    assert member.status == 404, "without members: read nobody is a member"


async def test_a_renamed_repository_answers_with_its_id(w: World) -> None:
    w.hub.rename_repo(w.repo, "new-name", by=w.repo.owner)
    moved = await w.call("GET", "/repos/olive/demo/issues?state=all")
    assert moved.status == 301
    url = f"{w.hub.api_url}/repositories/{w.repo.id}/issues?state=all"
    assert moved.headers["Location"] == url
    assert moved.body["url"] == url
    assert (await w.call("GET", url)).body == []
    followed = await w.call("GET", "/repos/olive/demo", redirects=True)
    assert followed.body["full_name"] == "olive/new-name"
    await w.hub.settle()
    renamed = w.receiver.last("repository.renamed").payload
    assert renamed["changes"] == {"repository": {"name": {"from": "demo"}}}


async def test_an_archived_repository_refuses_writes_only(w: World) -> None:
    issue = w.hub.issues.open(w.repo, "before", actor=w.hub.as_user("olive"))
    w.hub.set_archived(w.repo, True)
    path = f"/repos/{w.repo.full_name}/issues"
    refused = await w.call("POST", f"{path}/{issue.number}/labels", ["x"])
    assert refused.status == 403
    assert refused.body["message"] == "Repository was archived so is read-only."
    assert (await w.call("GET", path)).status == 200
    wake = {"archived": False}
    owner = w.hub.user_token("olive")
    assert (await w.call("PATCH", f"/repos/{w.repo.full_name}", wake, token=owner)).status == 200
    assert (await w.call("POST", path, {"title": "after"})).status == 201


@pytest.mark.parametrize(
    ("login", "status"),
    [
        pytest.param("wim", 204, id="a writer can be assigned"),
        pytest.param("eve", 404, id="a stranger cannot"),
        pytest.param("tgs%5Bbot%5D", 404, id="the App's bot cannot"),
        pytest.param("nobody", 404, id="an unknown login cannot"),
    ],
)
async def test_assignable_people(w: World, login: str, status: int) -> None:
    path = f"/repos/{w.repo.full_name}/assignees/{login}"
    assert (await w.call("GET", path)).status == status


async def test_pages_are_linked_by_repository_id(w: World) -> None:
    for number in range(5):
        w.hub.issues.open(w.repo, f"issue {number}", actor=w.hub.as_user("olive"))
    path = f"/repos/{w.repo.full_name}/issues?per_page=2&state=all"
    seen, answer = [], await w.call("GET", path)
    base = f"{w.hub.api_url}/repositories/{w.repo.id}/issues?per_page=2&state=all"
    assert f'<{base}&page=3>; rel="last"' in answer.headers["Link"]
    while True:
        seen += [x["number"] for x in answer.body]
        link = answer.headers.get("Link", "")
        following = [x for x in link.split(", ") if 'rel="next"' in x]
        if not following:
            break
        answer = await w.call("GET", following[0].split(">")[0][1:])
    assert seen == [5, 4, 3, 2, 1]
    assert 'rel="prev"' in answer.headers["Link"]


async def test_an_unchanged_answer_is_304_and_free(w: World) -> None:
    issue = w.hub.issues.open(w.repo, "one", actor=w.hub.as_user("olive"))
    path = f"/repos/{w.repo.full_name}/issues/{issue.number}"
    first = await w.call("GET", path)
    tag = {"If-None-Match": first.headers["ETag"]}
    again = await w.call("GET", path, headers=tag)
    assert again.status == 304
    assert again.headers["X-RateLimit-Used"] == first.headers["X-RateLimit-Used"]
    w.hub.labels.add(issue, ["x"], w.hub.as_user("olive"))
    changed = await w.call("GET", path, headers=tag)
    assert changed.status == 200
    assert changed.headers["ETag"] != first.headers["ETag"]
    assert [x.conditional_hit for x in w.hub.log.entries] == [False, True, False]


async def test_the_api_version_is_checked(w: World) -> None:
    chosen = await w.call("GET", "/meta", headers={"X-GitHub-Api-Version": "2026-03-10"})
    assert chosen.headers["X-GitHub-Api-Version-Selected"] == "2026-03-10"
    assert chosen.headers["X-GitHub-Request-Id"]
    wrong = await w.call("GET", "/meta", headers={"X-GitHub-Api-Version": "1999-01-01"})
    assert wrong.status == 400


async def test_errors_have_the_shape_of_the_real_ones(w: World) -> None:
    answer = await w.call("POST", f"/repos/{w.repo.full_name}/issues", {"title": " "})
    assert answer.status == 422
    assert answer.body["status"] == "422"
    assert answer.body["message"] == "Validation Failed"
    assert answer.body["errors"] == [{"resource": "Issue", "field": "title", "code": "missing_field"}]
    assert answer.body["documentation_url"].startswith("https://docs.github.com/")
    bad = await w.session.post(
        f"{w.hub.api_url}/repos/{w.repo.full_name}/issues",
        data=b"{",
        headers={"Authorization": f"Bearer {w.token}"},
    )
    assert (bad.status, (await bad.json())["message"]) == (400, "Problems parsing JSON")
