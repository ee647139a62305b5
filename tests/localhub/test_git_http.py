"""Clone, fetch and push over HTTP: who may, what is refused, what is announced."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.localhub.rules import BranchRule
from tests.localhub.flow import PERMISSIONS, Flow, by_hand, flow, git

ZERO = "0" * 40


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[Flow]:
    async with flow(tmp_path) as made:
        by_hand(made)
        yield made


@pytest.fixture
async def hidden(tmp_path: Path) -> AsyncIterator[Flow]:
    async with flow(tmp_path, private=True) as made:
        yield made


async def clone(w: Flow, token: str = "", name: str = "work") -> Path:
    work = w.tmp / name
    work.mkdir()
    await git(work, "clone", "-q", w.url(token), ".")
    return work


async def commit(work: Path, path: str, text: str, message: str = "Change") -> str:
    (work / path).parent.mkdir(parents=True, exist_ok=True)
    (work / path).write_text(text)
    await git(work, "add", "-A")
    await git(work, "commit", "-qm", message)
    return (await git(work, "rev-parse", "HEAD")).strip()


async def test_a_public_repository_is_cloned_without_credentials(w: Flow) -> None:
    work = await clone(w)
    assert (work / "README.md").read_text() == "# Demo\n"


async def test_a_private_repository_is_closed_to_strangers(hidden: Flow) -> None:
    assert "could not read Username" in await git(hidden.tmp, "clone", hidden.url(), "a", ok=False)
    stranger = hidden.hub.create_user("eve")
    token = hidden.hub.tokens.for_user(stranger)
    assert "not found" in await git(hidden.tmp, "clone", hidden.url(token), "b", ok=False)
    await git(hidden.tmp, "clone", "-q", hidden.url(hidden.token(contents="read")), "c")


async def test_a_push_is_announced_with_its_commits(w: Flow) -> None:
    before = w.hub.git.bare(w.repo).resolve("main")
    work = await clone(w, w.token())
    first = await commit(work, "a.txt", "1\n", "One")
    second = await commit(work, "README.md", "# New\n", "Two")
    await git(work, "push", "-q", "origin", "main")
    (push,) = await w.events("push")
    assert (push["ref"], push["before"], push["after"]) == ("refs/heads/main", before, second)
    assert (push["created"], push["deleted"], push["forced"]) == (False, False, False)
    assert [(c["id"], c["message"]) for c in push["commits"]] == [(first, "One"), (second, "Two")]
    assert (push["commits"][0]["added"], push["commits"][1]["modified"]) == (["a.txt"], ["README.md"])
    assert push["head_commit"]["id"] == second
    assert push["sender"]["login"] == "tgs[bot]"
    assert push["sender"]["type"] == "Bot"


async def test_creating_forcing_and_deleting_a_branch_say_so(w: Flow) -> None:
    work = await clone(w, w.token())
    await git(work, "checkout", "-qb", "x")
    one = await commit(work, "a", "1")
    await git(work, "push", "-q", "origin", "x")
    await git(work, "commit", "-q", "--amend", "-m", "Other")
    await git(work, "push", "-qf", "origin", "x")
    await git(work, "push", "-q", "origin", ":x")
    created, forced, deleted = await w.events("push")
    assert (created["created"], created["before"], created["after"]) == (True, ZERO, one)
    assert [c["id"] for c in created["commits"]] == [one]
    assert (forced["forced"], forced["before"]) == (True, one)
    assert (deleted["deleted"], deleted["after"], deleted["head_commit"]) == (True, ZERO, None)
    assert [p["ref"] for p in await w.events("create")] == ["x"]
    assert [p["ref_type"] for p in await w.events("delete")] == ["branch"]


@pytest.mark.parametrize(
    ("permissions", "who"),
    [
        pytest.param({"contents": "read"}, "tgs[bot]", id="an App that may only read"),
        pytest.param(None, "rob", id="a person with the read role"),
    ],
)
async def test_a_push_without_the_right_to_write_is_denied(
    w: Flow, permissions: dict[str, str] | None, who: str
) -> None:
    token = w.token(**permissions) if permissions else w.hub.tokens.for_user(w.reader)
    work = await clone(w, token)
    await commit(work, "a", "1")
    output = await git(work, "push", "origin", "main", ok=False)
    assert f"Permission to ada/demo.git denied to {who}" in output
    assert await w.events("push") == []


async def test_an_app_without_the_workflows_permission_cannot_push_workflow_files(w: Flow) -> None:
    work = await clone(w, w.token())
    await commit(work, ".github/workflows/ci.yml", "on: push\n")
    output = await git(work, "push", "origin", "main:refs/heads/x", ok=False)
    assert "refusing to allow a GitHub App to create or update workflow" in output
    assert ".github/workflows/ci.yml" in output
    assert w.hub.git.bare(w.repo).ref("refs/heads/x") is None
    allowed = w.url(w.token(**PERMISSIONS, workflows="write"))
    await git(work, "push", "-q", allowed, "main:refs/heads/x")


async def test_a_workflow_file_that_the_default_branch_has_may_pass(w: Flow) -> None:
    w.commit({".github/workflows/ci.yml": "on: push\n"})
    work = await clone(w, w.token())
    await commit(work, "a", "1")
    await git(work, "push", "-q", "origin", "main:refs/heads/x")


async def test_protected_and_hidden_refs_refuse_pushes_from_everybody(w: Flow) -> None:
    w.hub.rules.protect(w.repo, BranchRule("main"))
    work = await clone(w, w.hub.tokens.for_user(w.owner))
    await commit(work, "a", "1")
    output = await git(work, "push", "origin", "main", ok=False)
    assert "GH006: Protected branch update failed for refs/heads/main" in output
    output = await git(work, "push", "origin", "main:refs/pull/1/head", ok=False)
    assert "deny updating a hidden ref" in output
    assert await w.events("push") == []


async def test_an_empty_repository_takes_its_first_push(w: Flow) -> None:
    repo = w.hub.create_repo(w.owner, "empty")
    work = w.tmp / "work"
    work.mkdir()
    token = w.hub.tokens.for_user(w.owner)
    await git(work, "clone", "-q", w.url(token).replace("demo", "empty"), ".")
    sha = await commit(work, "a", "1")
    await git(work, "push", "-q", "origin", "HEAD:main")
    assert w.hub.git.bare(repo).resolve("main") == sha


async def test_of_two_pushes_from_the_same_base_one_is_rejected(w: Flow) -> None:
    one, two = await clone(w, w.token(), "one"), await clone(w, w.token(), "two")
    sha = await commit(one, "a", "1")
    await commit(two, "b", "2")
    await git(one, "push", "-q", "origin", "main")
    assert "rejected" in await git(two, "push", "origin", "main", ok=False)
    assert w.hub.git.bare(w.repo).resolve("main") == sha


async def test_a_lease_on_a_stale_head_is_refused(w: Flow) -> None:
    work = await clone(w, w.token())
    await git(work, "checkout", "-qb", "x")
    one = await commit(work, "a", "1")
    await git(work, "push", "-q", "origin", "x")
    w.commit({"b": "2"}, branch="x")
    await git(work, "commit", "-q", "--amend", "-m", "Other")
    output = await git(work, "push", f"--force-with-lease=x:{one}", "origin", "x", ok=False)
    assert "stale info" in output


async def test_a_large_push_arrives_whole(w: Flow) -> None:
    work = await clone(w, w.token())
    (work / "big").write_bytes(bytes(range(256)) * 20_000)
    sha = await commit(work, "small", "1")
    await git(work, "-c", "http.postBuffer=65536", "push", "-q", "origin", "main")
    assert w.hub.git.bare(w.repo).resolve("main") == sha
