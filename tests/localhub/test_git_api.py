"""Contents, trees, commits and references over REST, with the words of the real service."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.localhub.rules import BranchRule
from tests.localhub.flow import Flow, by_hand, flow

FILES = {"README.md": "# Demo\n", "tgs/thoughts/a b/plan.md": "plan\n", "tgs/x.sh": "#!/bin/sh\n"}


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[Flow]:
    async with flow(tmp_path, files=FILES) as made:
        by_hand(made)
        yield made


def tip(w: Flow, ref: str = "main") -> str:
    sha = w.hub.git.bare(w.repo).resolve(ref)
    assert sha is not None
    return sha


async def test_files_and_folders_are_read_at_any_ref(w: Flow) -> None:
    old = tip(w)
    w.commit({"README.md": "# New\n"}, branch="topic/deep")
    new = await w.call("GET", "/contents/README.md?ref=topic/deep")
    assert base64.b64decode(new.body["content"]) == b"# New\n"
    before = await w.call("GET", f"/contents/README.md?ref={old}")
    assert base64.b64decode(before.body["content"]) == b"# Demo\n"
    listing = await w.call("GET", "/contents/tgs")
    assert [(e["path"], e["type"]) for e in listing.body] == [("tgs/thoughts", "dir"), ("tgs/x.sh", "file")]
    plan = await w.call("GET", "/contents/tgs/thoughts/a%20b/plan.md")
    assert plan.body["path"] == "tgs/thoughts/a b/plan.md"
    root = await w.call("GET", "/contents")
    assert [e["name"] for e in root.body] == ["README.md", "tgs"]


async def test_raw_contents_come_as_they_are(w: Flow) -> None:
    answer = await w.call("GET", "/contents/README.md", headers={"Accept": "application/vnd.github.raw+json"})
    assert answer.body == b"# Demo\n"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        pytest.param("GET", "/contents/none", None, 404, "Not Found", id="a missing file"),
        pytest.param(
            "GET", "/contents/README.md?ref=no", None, 404, "No commit found for the ref no", id="a missing ref"
        ),
        pytest.param("GET", "/commits/no", None, 422, "No commit found for SHA: no", id="a missing commit"),
        pytest.param("GET", "/compare/main...no", None, 404, "Not Found", id="a missing head to compare"),
        pytest.param("GET", "/branches/no", None, 404, "Branch not found", id="a missing branch"),
        pytest.param("GET", "/git/ref/heads/no", None, 404, "Not Found", id="a missing reference"),
        pytest.param(
            "DELETE", "/git/refs/heads/no", None, 422, "Reference does not exist", id="deleting what is not there"
        ),
        pytest.param(
            "PATCH", "/git/refs/heads/no", {"sha": "0" * 40}, 422, "Reference does not exist", id="moving nothing"
        ),
        pytest.param(
            "POST", "/git/refs", {"ref": "refs/heads/x", "sha": "1" * 40}, 422, "Object does not exist", id="no object"
        ),
        pytest.param(
            "PUT",
            "/contents/README.md",
            {"message": "m", "content": "eA=="},
            422,
            'Invalid request.\n\n"sha" wasn\'t supplied.',
            id="changing a file without its id",
        ),
        pytest.param(
            "PUT",
            "/contents/README.md",
            {"message": "m", "content": "eA==", "sha": "1" * 40},
            409,
            "README.md does not match " + "1" * 40,
            id="changing a file that has changed",
        ),
    ],
)
async def test_refusals_have_the_words_of_the_real_service(
    w: Flow, method: str, path: str, body: object, status: int, message: str
) -> None:
    answer = await w.call(method, path, body)
    assert (answer.status, answer.body["message"], answer.body["status"]) == (status, message, str(status))


async def test_an_empty_repository_says_so(w: Flow) -> None:
    empty = w.hub.create_repo(w.owner, "empty")
    w.hub.change_repositories(w.installation, add=[empty])
    token = w.hub.tokens.for_installation(w.installation, [empty.id], {"contents": "write"}).value
    root = f"{w.hub.api_url}/repos/ada/empty"
    expected = {
        "/contents/a": (404, "This repository is empty."),
        "/commits": (409, "Git Repository is empty."),
        "/git/trees/main": (409, "Git Repository is empty."),
        "/git/ref/heads/main": (409, "Git Repository is empty."),
    }
    for path, wanted in expected.items():
        answer = await w.call("GET", root + path, token=token)
        assert (answer.status, answer.body["message"]) == wanted, path
    refused = await w.call("POST", root + "/git/refs", {"ref": "refs/heads/x", "sha": "1" * 40}, token=token)
    assert (refused.status, refused.body["message"]) == (409, "Git Repository is empty.")


async def test_a_commit_is_built_from_blobs_and_trees_and_published_by_a_ref(w: Flow) -> None:
    blob = await w.call("POST", "/git/blobs", {"content": base64.b64encode(b"\0\1").decode(), "encoding": "base64"})
    entries = [
        {"path": "bin", "mode": "100644", "type": "blob", "sha": blob.body["sha"]},
        {"path": "text", "mode": "100755", "type": "blob", "content": "hi\n"},
        {"path": "README.md", "mode": "100644", "type": "blob", "sha": None},
    ]
    tree = await w.call("POST", "/git/trees", {"base_tree": tip(w), "tree": entries})
    commit = await w.call(
        "POST", "/git/commits", {"message": "Build\n\nbody", "tree": tree.body["sha"], "parents": [tip(w)]}
    )
    assert commit.body["author"]["name"] == "tgs[bot]"
    made = await w.call("POST", "/git/refs", {"ref": "refs/heads/built", "sha": commit.body["sha"]})
    assert (made.status, made.body["object"]["sha"]) == (201, commit.body["sha"])
    listing = await w.call("GET", "/git/trees/built?recursive=1")
    files = {e["path"]: e["mode"] for e in listing.body["tree"] if e["type"] == "blob"}
    assert files == {"bin": "100644", "text": "100755", "tgs/thoughts/a b/plan.md": "100644", "tgs/x.sh": "100755"}
    read = await w.call("GET", f"/git/blobs/{blob.body['sha']}")
    assert base64.b64decode(read.body["content"]) == b"\0\1"
    full = await w.call("GET", f"/git/commits/{commit.body['sha']}")
    assert full.body["message"] == "Build\n\nbody"
    seen = await w.call("GET", "/commits/built")
    assert [f["status"] for f in seen.body["files"]] == ["removed", "added", "added"]


async def test_a_root_commit_can_carry_a_claim_on_a_private_ref(w: Flow) -> None:
    tree = await w.call("POST", "/git/trees", {"tree": [{"path": "c", "mode": "100644", "content": "{}"}]})
    commit = await w.call("POST", "/git/commits", {"message": "claim 1", "tree": tree.body["sha"], "parents": []})
    body = {"ref": "refs/tgs/claims/1", "sha": commit.body["sha"]}
    assert (await w.call("POST", "/git/refs", body)).status == 201
    again = await w.call("POST", "/git/refs", body)
    assert (again.status, again.body["message"]) == (422, "Reference already exists")
    found = await w.call("GET", "/git/matching-refs/tgs/claims/")
    assert [r["ref"] for r in found.body] == ["refs/tgs/claims/1"]
    assert await w.events("push") == []
    assert (await w.call("DELETE", "/git/refs/tgs/claims/1")).status == 204
    assert (await w.call("GET", "/git/matching-refs/tgs/claims/")).body == []


async def test_of_many_creators_of_one_ref_exactly_one_wins(w: Flow) -> None:
    body = {"ref": "refs/tgs/claims/7", "sha": tip(w)}
    answers = await asyncio.gather(*(w.call("POST", "/git/refs", body) for _ in range(8)))
    assert sorted(a.status for a in answers) == [201] + [422] * 7


@pytest.mark.parametrize("name", ["heads/x", "refs/x", "refs/heads/a..b", "refs/heads/"])
async def test_malformed_reference_names_are_refused(w: Flow, name: str) -> None:
    answer = await w.call("POST", "/git/refs", {"ref": name, "sha": tip(w)})
    assert answer.status == 422


async def test_only_force_moves_a_ref_backwards(w: Flow) -> None:
    old = tip(w)
    new = w.commit({"a": "1"}, branch="x")
    refused = await w.call("PATCH", "/git/refs/heads/x", {"sha": old})
    assert (refused.status, refused.body["message"]) == (422, "Update is not a fast forward")
    forced = await w.call("PATCH", "/git/refs/heads/x", {"sha": old, "force": True})
    assert (forced.status, tip(w, "x")) == (200, old)
    forward = await w.call("PATCH", "/git/refs/heads/x", {"sha": new})
    assert forward.status == 200
    assert [p["forced"] for p in await w.events("push")] == [False, True, False]


async def test_a_persons_edit_in_the_web_interface_is_one_commit_with_a_push(w: Flow) -> None:
    token = w.hub.tokens.for_user(w.writer)
    now = await w.call("GET", "/contents/README.md")
    text = base64.b64encode(b"# Edited\n").decode()
    body = {"message": "Edit", "content": text, "sha": now.body["sha"]}
    edited = await w.call("PUT", "/contents/README.md", body, token=token)
    assert (edited.status, edited.body["commit"]["message"]) == (200, "Edit")
    created = await w.call("PUT", "/contents/new/file.txt", {"message": "New", "content": text}, token=token)
    assert created.status == 201
    gone = {"message": "Gone", "sha": created.body["content"]["sha"]}
    assert (await w.call("DELETE", "/contents/new/file.txt", gone, token=token)).status == 200
    pushes = await w.events("push")
    assert [p["sender"]["login"] for p in pushes] == ["wim"] * 3
    assert [p["commits"][0]["removed"] for p in pushes] == [[], [], ["new/file.txt"]]


async def test_workflow_files_need_their_own_permission_over_rest_too(w: Flow) -> None:
    body = {"message": "m", "content": "eA=="}
    refused = await w.call("PUT", "/contents/.github/workflows/x.yml", body)
    assert (refused.status, refused.body["message"]) == (403, "Resource not accessible by integration")
    token = w.token(contents="write", workflows="write")
    assert (await w.call("PUT", "/contents/.github/workflows/x.yml", body, token=token)).status == 201


async def test_a_protected_branch_moves_through_pull_requests_only(w: Flow) -> None:
    w.hub.rules.protect(w.repo, BranchRule("main", required_checks=("test",), required_reviews=1))
    body = {"message": "m", "content": "eA=="}
    assert (await w.call("PUT", "/contents/x", body)).status == 409
    branch = await w.call("GET", "/branches/main")
    assert branch.body["protected"] is True
    rules = await w.call("GET", "/rules/branches/main")
    assert {r["type"] for r in rules.body} >= {"pull_request", "required_status_checks", "non_fast_forward"}
    assert (await w.call("GET", "/rules/branches/other")).body == []


async def test_compare_lists_commits_and_files_between_two_refs(w: Flow) -> None:
    base = tip(w)
    for number in range(3):
        w.commit({f"f{number}": "x\n"}, branch="topic/a", message=f"c{number}")
    w.commit({"m": "x\n"})
    seen = await w.call("GET", "/compare/main...topic/a?per_page=2")
    assert (seen.body["status"], seen.body["ahead_by"], seen.body["behind_by"]) == ("diverged", 3, 1)
    assert seen.body["merge_base_commit"]["sha"] == base
    assert [c["commit"]["message"] for c in seen.body["commits"]] == ["c0", "c1"]
    assert 'rel="next"' in seen.headers["Link"]
    assert [f["filename"] for f in seen.body["files"]] == ["f0", "f1", "f2"]


async def test_history_and_branches_are_listed(w: Flow) -> None:
    w.commit({"a": "1"}, branch="x", message="On x")
    history = await w.call("GET", "/commits?sha=x")
    assert [c["commit"]["message"] for c in history.body] == ["On x", "Initial commit"]
    of_path = await w.call("GET", "/commits?sha=x&path=a")
    assert len(of_path.body) == 1
    branches = await w.call("GET", "/branches")
    assert [b["name"] for b in branches.body] == ["main", "x"]


async def test_a_long_tree_listing_says_that_it_is_cut(w: Flow) -> None:
    w.hub.git.tree_limit = 2
    listing = await w.call("GET", "/git/trees/main?recursive=1")
    assert (len(listing.body["tree"]), listing.body["truncated"]) == (2, True)


async def test_reading_and_writing_need_their_permissions(w: Flow) -> None:
    assert (await w.call("GET", "/contents/README.md", token=w.token(issues="write"))).status == 403
    body = {"ref": "refs/heads/x", "sha": tip(w)}
    answer = await w.call("POST", "/git/refs", body, token=w.token(contents="read"))
    assert (answer.status, answer.headers["X-Accepted-GitHub-Permissions"]) == (403, "contents=write")


async def test_a_new_branch_that_leaves_the_workflow_files_out_needs_no_permission_for_them(w: Flow) -> None:
    """As branches for pages do, which actions push with tokens that may not change workflows."""
    w.hub.git.commit(w.repo, {".github/workflows/ci.yml": "on: push\n"}, by=w.owner)
    row = {"path": "a.txt", "mode": "100644", "type": "blob", "content": "a"}
    tree = (await w.call("POST", "/git/trees", {"tree": [row]})).body["sha"]
    orphan = (await w.call("POST", "/git/commits", {"message": "a", "tree": tree, "parents": []})).body["sha"]
    assert (await w.call("POST", "/git/refs", {"ref": "refs/heads/pages", "sha": orphan})).status == 201
    assert (await w.call("GET", "/git/ref/heads/pages")).body["object"]["sha"] == orphan


async def test_a_namespace_that_a_ruleset_closes_takes_no_refs(w: Flow) -> None:
    w.hub.git.closed_namespaces = ("refs/tgs/",)
    head = (await w.call("GET", "/git/ref/heads/main")).body["object"]["sha"]
    assert (await w.call("POST", "/git/refs", {"ref": "refs/tgs/claims/1", "sha": head})).status == 422
    assert (await w.call("POST", "/git/refs", {"ref": "refs/heads/tgs-claims/1", "sha": head})).status == 201
