"""Repositories, trees, files and roles through the gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from bot.domain.model import Person, RepoKey, Role
from bot.errors import Invalid, NotFound
from bot.github.gateway import Gateway
from tests.github.hub import World
from tests.github.script import VIEW, Script
from tests.github.support import ISSUE, REPO, reply


async def test_a_repository_as_it_is(w: World) -> None:
    view = await w.gateway.repository(w.key)
    assert (view.key, view.full_name, view.default_branch, view.empty) == (w.key, "olive/demo", "main", False)
    assert (view.owner_id, view.owner_login, view.private, view.archived) == (w.owner.id, "olive", False, False)


async def test_a_rename_the_ledger_missed_is_found_by_id(w: World) -> None:
    w.hub.rename_repo(w.repo, "renamed")
    assert (await w.gateway.repository(w.key)).full_name == "olive/renamed"


@pytest.mark.parametrize("name", ["nobody/nothing", "no slash", "", "a/b/c"])
async def test_a_wrong_name_in_the_ledger_is_mended_by_the_id(w: World, name: str) -> None:
    w.known_name = name
    assert (await w.gateway.repository(w.key)).full_name == "olive/demo"


async def test_a_name_is_confirmed_once_in_ten_minutes(w: World) -> None:
    for _ in range(3):
        await w.gateway.head(w.key, "main")
    assert w.sent().count("GET /repos/{owner}/{repo}") == 1
    w.clock.forward(minutes=11)
    await w.gateway.head(w.key, "main")
    assert w.sent().count("GET /repos/{owner}/{repo}") == 2


async def test_the_head_of_a_branch(w: World) -> None:
    refs = await w.hub.git.refs(w.repo)
    assert await w.gateway.head(w.key, "main") == refs["refs/heads/main"]
    assert await w.gateway.head(w.key, "tgs/5-nothing") is None


async def test_an_empty_repository_has_no_head_and_no_tree(w: World) -> None:
    bare = w.hub.create_repo(w.owner, "bare")
    w.hub.change_repositories(w.installation, add=[bare])
    w.repo, w.known_name = bare, bare.full_name
    assert await w.gateway.head(w.key, "main") is None
    assert await w.gateway.file(w.key, "README.md", "main") is None


async def test_a_folder_is_listed_relative_to_itself(w: World) -> None:
    sha = await w.gateway.head(w.key, "main")
    assert sha is not None
    tree = await w.gateway.tree(w.key, sha, "tgs/thoughts", recursive=True)
    assert tree is not None
    assert {entry.path for entry in tree.entries if entry.type == "blob"} == {
        "ab12-cache/plan.md",
        "ab12-cache/research.md",
    }
    flat = await w.gateway.tree(w.key, sha, "tgs/thoughts", recursive=False)
    assert flat is not None
    assert [(entry.path, entry.type) for entry in flat.entries] == [("ab12-cache", "tree")]
    root = await w.gateway.tree(w.key, sha, "", recursive=False)
    assert root is not None
    assert "README.md" in {entry.path for entry in root.entries}


@pytest.mark.parametrize("path", ["tgs/nothing", "README.md", "README.md/deeper"])
async def test_no_such_folder(w: World, path: str) -> None:
    sha = await w.gateway.head(w.key, "main")
    assert sha is not None
    assert await w.gateway.tree(w.key, sha, path, recursive=True) is None


async def test_a_commit_that_is_not_there_does_not_look_like_an_empty_folder(w: World) -> None:
    with pytest.raises(NotFound):
        await w.gateway.tree(w.key, "f" * 40, "tgs/thoughts", recursive=True)


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(lambda g, key: g.head(key, "nothing"), id="a branch"),
        pytest.param(lambda g, key: g.file(key, "nothing.md", "main"), id="a file"),
        pytest.param(lambda g, key: g.pull(key, 99), id="a pull request"),
        pytest.param(lambda g, key: g.comment(key, 99), id="a comment"),
        pytest.param(lambda g, key: g.workflow_state(key, "x.yml"), id="a workflow"),
    ],
)
async def test_a_repository_we_lost_does_not_look_like_one_without_the_thing(
    w: World, look: Callable[[Gateway, RepoKey], Awaitable[object]]
) -> None:
    assert await look(w.gateway, w.key) is None
    w.repo.private = True
    w.hub.change_repositories(w.installation, add=[w.hub.create_repo(w.owner, "other")], remove=[w.repo])
    w.drop_tokens()
    with pytest.raises(NotFound):
        await look(w.gateway, w.key)


async def test_a_rename_between_two_looks_is_followed(s: Script) -> None:
    assert await s.gateway.pull(REPO, 3) is None
    s.answers["GET /repos/o/r"] = reply(None, 301, Location="/repositories/42")
    s.answers["GET /repositories/42"] = reply(VIEW | {"name": "new", "full_name": "o/new"})
    s.answers["GET /repos/o/new/actions/workflows/w.yml"] = reply({"id": 1, "state": "active"})
    assert await s.gateway.workflow_state(REPO, "w.yml") == "active"


async def test_a_read_redirected_to_another_repository_is_not_ours(s: Script) -> None:
    s.on("GET /issues/5/events", reply(None, 301, Location="/repositories/666/issues/5/events"))
    s.answers["GET /repositories/666/issues/5/events"] = reply([])
    with pytest.raises(NotFound, match="another repository"):
        await s.gateway.label_events(ISSUE)


async def test_a_read_redirected_to_our_repository_is_ours(s: Script) -> None:
    s.on("GET /issues/5/events", reply(None, 301, Location="/repositories/42/issues/5/events"))
    s.answers["GET /repositories/42/issues/5/events"] = reply([])
    assert await s.gateway.label_events(ISSUE) == []


async def test_an_id_that_answers_for_another_is_refused(s: Script) -> None:
    s.answers["GET /repos/o/r"] = reply({"message": "Not Found"}, 404)
    s.answers["GET /repositories/42"] = reply(VIEW | {"id": 666})
    with pytest.raises(NotFound, match="another repository"):
        await s.gateway.head(REPO, "main")


async def test_a_file_with_its_blob(w: World) -> None:
    found = await w.gateway.file(w.key, "tgs/thoughts/ab12-cache/plan.md", "main")
    assert found is not None
    sha, content = found
    assert content == b"the plan\n"
    assert await w.gateway.blob(w.key, sha) == content
    empty = await w.gateway.file(w.key, "empty.txt", "main")
    assert empty is not None
    assert empty[1] == b""
    assert await w.gateway.file(w.key, "tgs/none.md", "main") is None


@pytest.mark.parametrize("path", ["tgs", "tgs/../README.md"])
async def test_what_is_no_file_is_refused(w: World, path: str) -> None:
    with pytest.raises(Invalid):
        await w.gateway.file(w.key, path, "main")


@pytest.mark.parametrize(
    ("login", "role"),
    [
        pytest.param("olive", Role.ADMIN, id="the owner"),
        pytest.param("mia", Role.MAINTAIN, id="a maintainer, not the basic write"),
        pytest.param("wim", Role.WRITE, id="a writer"),
        pytest.param("tess", Role.TRIAGE, id="triage, not the basic read"),
        pytest.param("rob", Role.READ, id="a reader"),
        pytest.param("eve", Role.READ, id="anybody on a public repository"),
        pytest.param("tgs[bot]", Role.NONE, id="our bot"),
    ],
)
async def test_roles(w: World, login: str, role: Role) -> None:
    assert await w.gateway.role(w.key, w.person(login)) is role


async def test_a_login_that_another_account_took_has_no_role(w: World) -> None:
    assert await w.gateway.role(w.key, Person(999, "olive")) is Role.NONE


async def test_nobody_has_no_role(w: World) -> None:
    assert await w.gateway.role(w.key, Person(999, "nobody")) is Role.NONE


async def test_who_can_be_assigned(w: World) -> None:
    assert await w.gateway.assignable(w.key, "wim")
    assert not await w.gateway.assignable(w.key, "eve")
    assert not await w.gateway.assignable(w.key, "tgs[bot]")
