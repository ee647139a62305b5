"""Pull requests: opening, following branches, mergeability, merging, reviews."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.localhub.rules import BranchRule
from tests.localhub.flow import Flow, by_hand, flow


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[Flow]:
    async with flow(tmp_path) as made:
        by_hand(made)
        yield made


async def opened(w: Flow, *, branch: str = "x", body: str = "", draft: bool = False, path: str = "a") -> dict[str, Any]:
    w.commit({path: f"{branch}\n"}, branch=branch, message=f"Work on {branch}")
    given = {"title": "Fix", "head": branch, "base": "main", "body": body, "draft": draft}
    answer = await w.call("POST", "/pulls", given)
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.body
    return made


async def state(w: Flow, number: int) -> str:
    await w.call("GET", f"/pulls/{number}")
    answer = await w.call("GET", f"/pulls/{number}")
    return str(answer.body["mergeable_state"])


async def test_a_pull_request_shares_numbers_with_issues_and_belongs_to_our_bot(w: Flow) -> None:
    w.hub.issues.open(w.repo, "Issue", actor=w.as_(w.owner))
    pull = await opened(w)
    assert (pull["number"], pull["user"]["login"], pull["head"]["repo"]["id"]) == (2, "tgs[bot]", w.repo.id)
    assert (pull["commits"], pull["changed_files"], pull["additions"]) == (1, 1, 1)
    files = await w.call("GET", "/pulls/2/files")
    assert [f["filename"] for f in files.body] == ["a"]
    assert (await w.call("GET", "/pulls/1")).status == 404


@pytest.mark.parametrize(
    ("head", "base", "expected"),
    [
        pytest.param("main", "main", "No commits between main and main", id="nothing to merge"),
        pytest.param("x", "main", "A pull request already exists for ada:x.", id="a second one for the branch"),
        pytest.param("no", "main", "head", id="an unknown head"),
        pytest.param("x", "no", "base", id="an unknown base"),
    ],
)
async def test_what_cannot_be_opened_is_refused(w: Flow, head: str, base: str, expected: str) -> None:
    await opened(w)
    answer = await w.call("POST", "/pulls", {"title": "t", "head": head, "base": base})
    assert (answer.status, answer.body["message"]) == (422, "Validation Failed")
    error = answer.body["errors"][0]
    assert expected in {error.get("message"), error.get("field")}


async def test_lists_filter_by_head_base_and_state(w: Flow) -> None:
    await opened(w, branch="x")
    await opened(w, branch="y", path="b")
    await w.call("PATCH", "/pulls/2", {"state": "closed"})
    found = {
        query: [p["number"] for p in (await w.call("GET", f"/pulls?{query}")).body]
        for query in ("", "head=ada:y&state=all", "head=eve:y&state=all", "state=closed", "state=all", "base=none")
    }
    assert found == {
        "": [1],
        "head=ada:y&state=all": [2],
        "head=eve:y&state=all": [],
        "state=closed": [2],
        "state=all": [2, 1],
        "base=none": [],
    }


async def test_mergeability_is_unknown_until_asked_and_after_each_change(w: Flow) -> None:
    await opened(w)
    first = await w.call("GET", "/pulls/1")
    assert (first.body["mergeable"], first.body["mergeable_state"]) == (None, "unknown")
    assert (await w.call("GET", "/pulls/1")).body["mergeable"] is True
    w.commit({"a": "clash\n"})
    assert (await w.call("GET", "/pulls/1")).body["mergeable"] is None
    conflict = await w.call("GET", "/pulls/1")
    assert (conflict.body["mergeable"], conflict.body["mergeable_state"]) == (False, "dirty")
    refused = await w.call("PUT", "/pulls/1/merge", {})
    assert (refused.status, refused.body["message"]) == (405, "Pull Request is not mergeable")


async def test_a_push_to_the_head_is_followed_and_announced(w: Flow) -> None:
    pull = await opened(w)
    sha = w.commit({"b": "2\n"}, branch="x")
    now = await w.call("GET", "/pulls/1")
    assert (now.body["head"]["sha"], now.body["commits"]) == (sha, 2)
    (event,) = [p for p in await w.events("pull_request") if p["action"] == "synchronize"]
    assert (event["before"], event["after"]) == (pull["head"]["sha"], sha)
    assert w.hub.git.bare(w.repo).ref("refs/pull/1/head") == sha


async def test_a_draft_is_not_merged_until_it_is_ready(w: Flow) -> None:
    await opened(w, draft=True)
    assert await state(w, 1) == "draft"
    refused = await w.call("PUT", "/pulls/1/merge", {})
    assert (refused.status, refused.body["message"]) == (405, "Pull Request is still a draft")
    pull = w.hub.pulls.get(w.repo, 1)
    assert pull is not None
    w.hub.pulls.mark_ready(pull, w.as_(w.owner))
    assert await state(w, 1) == "clean"
    assert (await w.call("PUT", "/pulls/1/merge", {})).status == 200
    assert await w.actions("pull_request") == ["opened", "ready_for_review", "closed"]


@pytest.mark.parametrize(("method", "parents", "message"), [
    ("merge", 2, "Merge pull request #1 from ada/x\n\nFix"),
    ("squash", 1, "Fix (#1)"),
    ("rebase", 1, "Work on x"),
])  # fmt: skip
async def test_each_way_of_merging(w: Flow, method: str, parents: int, message: str) -> None:
    await opened(w)
    w.commit({"other": "1\n"})
    merged = await w.call("PUT", "/pulls/1/merge", {"merge_method": method})
    assert merged.status == 200
    commit = w.hub.git.bare(w.repo).commit(merged.body["sha"])
    assert (len(commit.parents), commit.message.strip()) == (parents, message)
    assert w.hub.git.bare(w.repo).file("main", "a") == b"x\n"
    after = await w.call("GET", "/pulls/1")
    assert (after.body["merged"], after.body["merge_commit_sha"]) == (True, merged.body["sha"])
    assert after.body["merged_by"]["login"] == "tgs[bot]"
    assert after.body["changed_files"] == 1
    assert (await w.call("GET", "/pulls/1/merge")).status == 204
    assert (await w.call("PUT", "/pulls/1/merge", {})).status == 405


async def test_a_method_that_the_repository_forbids_is_refused(w: Flow) -> None:
    w.repo.allow_rebase_merge = False
    await opened(w)
    refused = await w.call("PUT", "/pulls/1/merge", {"merge_method": "rebase"})
    assert (refused.status, refused.body["message"]) == (405, "Rebase merges are not allowed on this repository.")


async def test_merging_needs_the_right_to_write_contents(w: Flow) -> None:
    await opened(w)
    answer = await w.call("PUT", "/pulls/1/merge", {}, token=w.token(pull_requests="write"))
    assert answer.status == 403


async def test_a_merge_closes_the_named_issues_and_the_branch_when_the_repository_says_so(w: Flow) -> None:
    w.repo.delete_branch_on_merge = True
    one, two, three = (w.hub.issues.open(w.repo, "I", actor=w.as_(w.owner)) for _ in range(3))
    await opened(w, body="Fixes #1, and resolves ada/demo#2.\nSee #3, closes other/repo#3")
    merged = await w.call("PUT", "/pulls/4/merge", {})
    assert [one.state, two.state, three.state] == ["closed", "closed", "open"]
    assert one.events[-1].event == "closed"
    assert one.events[-1].commit_id == merged.body["sha"]
    assert w.hub.git.bare(w.repo).ref("refs/heads/x") is None
    assert (await w.actions("issues")).count("closed") == 2
    assert [p["ref"] for p in await w.events("delete")] == ["x"]


async def test_a_commit_message_on_the_default_branch_closes_an_issue_too(w: Flow) -> None:
    issue = w.hub.issues.open(w.repo, "I", actor=w.as_(w.owner))
    sha = w.commit({"a": "1"}, message="Fix\n\nCloses #1")
    assert (issue.state, issue.events[-1].commit_id) == ("closed", sha)


async def test_pushing_the_head_into_the_base_counts_as_a_merge(w: Flow) -> None:
    pull = await opened(w)
    await w.call("PATCH", "/git/refs/heads/main", {"sha": pull["head"]["sha"]})
    now = await w.call("GET", "/pulls/1")
    assert (now.body["merged"], now.body["state"]) == (True, "closed")


async def test_deleting_the_head_branch_closes_and_restoring_it_allows_reopening(w: Flow) -> None:
    pull = await opened(w)
    await w.call("DELETE", "/git/refs/heads/x")
    assert (await w.call("GET", "/pulls/1")).body["state"] == "closed"
    assert (await w.call("PATCH", "/pulls/1", {"state": "open"})).status == 422
    await w.call("POST", "/git/refs", {"ref": "refs/heads/x", "sha": pull["head"]["sha"]})
    assert (await w.call("PATCH", "/pulls/1", {"state": "open"})).body["state"] == "open"
    assert await w.actions("pull_request") == ["opened", "closed", "reopened"]


async def test_title_and_body_are_edited_with_their_former_values(w: Flow) -> None:
    await opened(w, body="old")
    await w.call("PATCH", "/pulls/1", {"title": "New", "body": "new"})
    (event,) = [p for p in await w.events("pull_request") if p["action"] == "edited"]
    assert event["changes"] == {"title": {"from": "Fix"}, "body": {"from": "old"}}


async def test_update_branch_merges_the_base_only_for_the_expected_head(w: Flow) -> None:
    pull = await opened(w)
    w.commit({"other": "1\n"})
    stale = await w.call("PUT", "/pulls/1/update-branch", {"expected_head_sha": "1" * 40})
    assert stale.status == 422
    done = await w.call("PUT", "/pulls/1/update-branch", {"expected_head_sha": pull["head"]["sha"]})
    assert done.status == 202
    assert w.hub.git.bare(w.repo).file("x", "other") == b"1\n"
    again = await w.call("PUT", "/pulls/1/update-branch", {})
    assert again.body["message"] == "There are no new commits on the base branch."


async def test_required_checks_and_reviews_block_the_merge_until_they_are_there(w: Flow) -> None:
    w.hub.rules.protect(w.repo, BranchRule("main", required_checks=("test",), required_reviews=1))
    pull = await opened(w)
    sha = pull["head"]["sha"]
    assert await state(w, 1) == "blocked"
    refused = await w.call("PUT", "/pulls/1/merge", {})
    assert (refused.status, refused.body["message"]) == (405, 'Required status check "test" is expected.')
    await w.call("POST", f"/statuses/{sha}", {"state": "success", "context": "test"})
    refused = await w.call("PUT", "/pulls/1/merge", {})
    assert "approving review is required" in refused.body["message"]
    own = await w.call("POST", "/pulls/1/reviews", {"event": "APPROVE"})
    assert (own.status, own.body["errors"]) == (422, ["Can not approve your own pull request"])
    person = w.hub.tokens.for_user(w.writer)
    review = await w.call("POST", "/pulls/1/reviews", {"event": "APPROVE"}, token=person)
    assert review.body["state"] == "APPROVED"
    assert await state(w, 1) == "clean"
    assert (await w.call("PUT", "/pulls/1/merge", {"sha": sha})).status == 200
    reviews = await w.call("GET", "/pulls/1/reviews")
    assert [(r["user"]["login"], r["state"]) for r in reviews.body] == [("wim", "APPROVED")]
    (event,) = await w.events("pull_request_review")
    assert event["review"]["state"] == "approved"


async def test_a_failed_check_that_is_not_required_makes_it_unstable(w: Flow) -> None:
    pull = await opened(w)
    await w.call("POST", f"/statuses/{pull['head']['sha']}", {"state": "failure", "context": "lint"})
    assert await state(w, 1) == "unstable"


async def test_a_pull_request_from_a_fork_names_the_fork_as_its_head(w: Flow) -> None:
    eve = w.hub.create_user("eve")
    fork = w.hub.create_repo(eve, "demo", files={"z": "1"})
    base = w.hub.git.bare(w.repo)
    bare = w.hub.git.bare(fork)
    bare.run("fetch", "--quiet", str(base.path), "main:refs/heads/work")
    w.hub.git.commit(fork, {"evil": "1\n"}, by=eve, branch="work")
    body = {"title": "From outside", "head": "eve:work", "base": "main"}
    answer = await w.call("POST", "/pulls", body, token=w.hub.tokens.for_user(eve))
    assert answer.status == 201
    assert (answer.body["head"]["repo"]["id"], answer.body["head"]["label"]) == (fork.id, "eve:work")
    assert [f["filename"] for f in (await w.call("GET", "/pulls/1/files")).body] == ["evil"]
    sha = w.hub.git.commit(fork, {"more": "1\n"}, by=eve, branch="work")
    assert (await w.call("GET", "/pulls/1")).body["head"]["sha"] == sha
