"""Runs, checks and edits, against scripted answers: what each answer means for a decision."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from bot.domain.facts import Ci, ContentEdit, RunStatus
from bot.domain.model import Person
from bot.errors import Conflict, Invalid, NotFound, Unavailable
from bot.github.gateway_repos import blob_sha
from tests.github.script import NAME, VIEW, Script, at, moment
from tests.github.support import ISSUE, REPO, START, Seen, reply


def run(**more: Any) -> dict[str, Any]:
    return {
        "id": 9,
        "status": "queued",
        "conclusion": None,
        "html_url": "https://github.example/run",
        "head_sha": "a" * 40,
        "created_at": "2026-11-20T12:00:00Z",
        "run_attempt": 1,
        "display_title": "tgs #5 claim-1",
        "repository": {"id": REPO.repo},
    } | more


# --- runs


@pytest.mark.parametrize(
    ("status", "means"),
    [
        ("queued", RunStatus.QUEUED),
        ("requested", RunStatus.QUEUED),
        ("waiting", RunStatus.WAITING),
        ("pending", RunStatus.QUEUED),
        ("in_progress", RunStatus.IN_PROGRESS),
        ("completed", RunStatus.COMPLETED),
        ("a word of tomorrow", RunStatus.IN_PROGRESS),
        (None, RunStatus.IN_PROGRESS),
    ],
)
async def test_the_status_of_a_run(s: Script, status: str | None, means: RunStatus) -> None:
    s.on("GET /actions/runs/9", reply(run(status=status)))
    facts = await s.gateway.run(REPO, 9)
    assert facts is not None
    assert facts.status is means
    assert facts.created_at == START


async def test_a_run_of_another_repository_is_not_ours(s: Script) -> None:
    s.on("GET /actions/runs/9", reply(run(repository={"id": 666})))
    with pytest.raises(NotFound, match="another repository"):
        await s.gateway.run(REPO, 9)


async def test_an_absent_run_is_none(s: Script) -> None:
    assert await s.gateway.run(REPO, 9) is None


async def test_runs_are_found_by_their_title(s: Script) -> None:
    runs = [run(), run(id=10, display_title="tgs #6 claim-2")]
    s.on("GET /actions/workflows/w.yml/runs", reply({"total_count": 2, "workflow_runs": runs}))
    found = await s.gateway.runs_named(REPO, ".github/workflows/w.yml", "claim-1", START)
    assert [facts.id for facts in found] == [9]
    query = s.server.seen[-1].path.partition("?")[2]
    assert query == "created=%3E%3D2026-11-20T11%3A59%3A00Z&event=workflow_dispatch&per_page=100"


async def test_jobs(s: Script) -> None:
    jobs = [{"id": 1, "name": "start", "status": "completed", "conclusion": "success"}]
    s.on("GET /actions/runs/9/jobs", reply({"total_count": 1, "jobs": jobs}))
    assert await s.gateway.jobs(REPO, 9) == [(1, "start", "completed", "success")]


async def test_a_dispatch_names_its_run(s: Script) -> None:
    s.on("POST /actions/workflows/w.yml/dispatches", reply({"workflow_run_id": 9, "run_url": "u", "html_url": "h"}))
    assert await s.gateway.dispatch(REPO, "w.yml", "main", {"issue": "5"}) == 9
    assert s.server.seen[-1].body == {"ref": "main", "inputs": {"issue": "5"}, "return_run_details": True}


async def test_an_older_server_dispatches_without_naming_the_run(s: Script) -> None:
    def serve(seen: Seen) -> web.Response:
        if "return_run_details" in seen.body:
            return reply({"message": 'Invalid request.\n\n"return_run_details" is not a permitted key.'}, 422)
        return reply(None, 204)

    s.on("POST /actions/workflows/w.yml/dispatches", serve)
    assert await s.gateway.dispatch(REPO, "w.yml", "main", {}) is None


async def test_a_dispatch_whose_answer_was_lost_is_not_repeated(s: Script) -> None:
    s.on("POST /actions/workflows/w.yml/dispatches", reply(None, 502))
    with pytest.raises(Unavailable) as caught:
        await s.gateway.dispatch(REPO, "w.yml", "main", {})
    assert caught.value.uncertain
    assert [seen.method for seen in s.server.seen].count("POST") == 1


@pytest.mark.parametrize(("force", "path"), [(False, "cancel"), (True, "force-cancel")])
async def test_cancelling(s: Script, force: bool, path: str) -> None:
    s.on(f"POST /actions/runs/9/{path}", reply({}, 202))
    assert await s.gateway.cancel_run(REPO, 9, force=force) is True
    s.on(f"POST /actions/runs/9/{path}", reply({"message": "Cannot cancel a workflow run that is completed."}, 409))
    assert await s.gateway.cancel_run(REPO, 9, force=force) is False


async def test_the_state_of_a_workflow_and_of_an_environment(s: Script) -> None:
    assert await s.gateway.workflow_state(REPO, "w.yml") is None
    assert not await s.gateway.environment_exists(REPO, "tgs-agent")
    s.on("GET /actions/workflows/w.yml", reply({"id": 1, "state": "disabled_manually"}))
    s.on("GET /environments/tgs-agent", reply({"id": 1}))
    assert await s.gateway.workflow_state(REPO, "w.yml") == "disabled_manually"
    assert await s.gateway.environment_exists(REPO, "tgs-agent")


# --- checks


def check(conclusion: str | None, *, status: str = "completed", app: int = 1, name: str = "test") -> dict[str, Any]:
    return {
        "id": 1,
        "name": name,
        "status": status,
        "conclusion": conclusion,
        "html_url": "https://ci.example",
        "app": {"id": app},
    }


@pytest.mark.parametrize(
    ("checks", "statuses", "state"),
    [
        pytest.param([], [], Ci.NONE, id="nothing reports"),
        pytest.param([check("success")], [], Ci.PASSED, id="one passed"),
        pytest.param(
            [check("neutral"), check("skipped")], [], Ci.PASSED, id="neutral and skipped do not stand in the way"
        ),
        pytest.param([check(None, status="queued")], [], Ci.PENDING, id="one is queued"),
        pytest.param([check("failure"), check(None, status="in_progress")], [], Ci.PENDING, id="one failed, one runs"),
        pytest.param([check("failure"), check("success")], [], Ci.FAILED, id="one failed"),
        pytest.param([check("timed_out")], [], Ci.FAILED, id="one took too long"),
        pytest.param([check("action_required")], [], Ci.FAILED, id="one wants a person"),
        pytest.param([check("startup_failure")], [], Ci.FAILED, id="one did not start"),
        pytest.param([check("cancelled")], [], Ci.FAILED, id="one was cancelled"),
        pytest.param([check("a word of tomorrow")], [], Ci.FAILED, id="an unknown conclusion is no success"),
        pytest.param([], ["success"], Ci.PASSED, id="a status passed"),
        pytest.param([check("success")], ["pending"], Ci.PENDING, id="a status is pending"),
        pytest.param([check("success")], ["failure"], Ci.FAILED, id="a status failed"),
        pytest.param([check("success")], ["error"], Ci.FAILED, id="a status is an error"),
    ],
)
async def test_the_sum_of_the_checks(s: Script, checks: list[dict[str, Any]], statuses: list[str], state: Ci) -> None:
    s.on("GET /commits/abc/check-runs", reply({"total_count": len(checks), "check_runs": checks}))
    entries = [{"context": f"c{i}", "state": text, "target_url": None} for i, text in enumerate(statuses)]
    s.on("GET /commits/abc/status", reply({"state": "pending", "statuses": entries}))
    facts = await s.gateway.ci(REPO, "abc")
    assert facts.state is state
    assert facts.total == len(checks) + len(statuses)
    assert (facts.failed != ()) is ("failure" in str((checks, statuses)) or state is Ci.FAILED)


async def test_failed_checks_are_named_with_their_address(s: Script) -> None:
    s.on("GET /commits/abc/check-runs", reply({"check_runs": [check("failure", name="lint"), check("success")]}))
    s.on("GET /commits/abc/status", reply({"statuses": [{"context": "cla", "state": "error", "target_url": None}]}))
    assert (await s.gateway.ci(REPO, "abc")).failed == (("lint", "https://ci.example"), ("cla", ""))


# --- pull requests


def pull(**more: Any) -> dict[str, Any]:
    return {
        "number": 3,
        "node_id": "PR_1",
        "state": "open",
        "created_at": "2026-11-20T12:00:00Z",
        "html_url": "https://github.example/o/r/pull/3",
        "user": {"id": 8, "login": "tgs[bot]", "type": "Bot"},
        "head": {"ref": "tgs/5-x", "sha": "a" * 40, "repo": {"id": REPO.repo}},
        "base": {"ref": "main", "sha": "b" * 40, "repo": {"id": REPO.repo}},
        "draft": True,
        "merged": False,
        "mergeable": None,
        "mergeable_state": "unknown",
    } | more


async def test_a_pull_request_as_it_is(s: Script) -> None:
    s.on("GET /pulls/3", reply(pull(head={"ref": "x", "sha": "a" * 40, "repo": None})))
    facts = await s.gateway.pull(REPO, 3)
    assert facts is not None
    assert (facts.author, facts.head_repo_id, facts.base_repo_id) == (Person(8, "tgs[bot]", True), None, REPO.repo)
    assert await s.gateway.pull(REPO, 4) is None


async def test_a_listed_pull_request_is_merged_by_its_time(s: Script) -> None:
    listed = pull(state="closed", merged_at="2026-11-20T13:00:00Z")
    del listed["merged"]
    s.on("GET /pulls", reply([listed, pull(head={"ref": "other", "sha": "a" * 40, "repo": None})]))
    [facts] = await s.gateway.pulls_of_branch(REPO, "tgs/5-x")
    assert (facts.open, facts.merged) == (False, True)
    assert "head=o%3Atgs%2F5-x" in s.server.seen[-1].path


async def test_a_plan_without_drafts_gets_an_ordinary_pull_request(s: Script) -> None:
    def serve(seen: Seen) -> web.Response:
        if seen.body["draft"]:
            message = "Draft pull requests are not supported in this repository."
            return reply({"message": "Validation Failed", "errors": [{"message": message}]}, 422)
        return reply(pull(draft=False), 201)

    s.on("POST /pulls", serve)
    facts = await s.gateway.open_pull(REPO, head="tgs/5-x", base="main", title="t", body="b")
    assert not facts.draft


async def test_a_second_pull_request_of_a_branch_is_a_conflict(s: Script) -> None:
    errors = [{"message": "A pull request already exists for o:tgs/5-x."}]
    s.on("POST /pulls", reply({"message": "Validation Failed", "errors": errors}, 422))
    with pytest.raises(Conflict):
        await s.gateway.open_pull(REPO, head="tgs/5-x", base="main", title="t", body="b")


async def test_a_merge_names_the_head_it_was_decided_on(s: Script) -> None:
    s.on("PUT /pulls/3/merge", reply({"merged": True, "sha": "c" * 40, "message": "ok"}))
    merged = await s.gateway.merge_pull(REPO, 3, expected_head="a" * 40, method="squash", title="T")
    assert merged == "c" * 40
    assert s.server.seen[-1].body == {"sha": "a" * 40, "merge_method": "squash", "commit_title": "T"}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply({"message": "Head branch was modified."}, 409), id="the head moved"),
        pytest.param(reply({"message": "Pull Request is not mergeable"}, 405), id="GitHub refuses"),
        pytest.param(reply({"merged": False, "sha": "", "message": "no"}), id="an answer that says no"),
    ],
)
async def test_a_merge_that_did_not_happen_is_a_conflict(s: Script, answer: web.Response) -> None:
    s.on("PUT /pulls/3/merge", answer)
    with pytest.raises(Conflict):
        await s.gateway.merge_pull(REPO, 3, expected_head="a" * 40, method="squash", title="")


# --- edits


def who(id_: int | None, login: str, kind: str = "User") -> dict[str, Any]:
    return {"__typename": kind, "login": login} | ({"databaseId": id_} if id_ is not None else {})


def edited(last: int | None, editor: Any, *nodes: tuple[int, Any], before: str | None = None) -> dict[str, Any]:
    page = {"hasPreviousPage": before is not None, "startCursor": before}
    edits = {"pageInfo": page, "nodes": [{"editedAt": at(when), "editor": by} for when, by in nodes]}
    issue = {"createdAt": at(0), "editor": editor, "userContentEdits": edits}
    issue["lastEditedAt"] = at(last) if last is not None else None
    return {"data": {"repository": {"issue": issue}}}


EVE, MIA = who(5, "eve"), who(6, "mia")


@pytest.mark.parametrize(
    ("answer", "renames", "result"),
    [
        pytest.param(edited(None, None), [], [], id="never edited"),
        pytest.param(
            edited(3, EVE, (3, EVE), (0, MIA)),
            [],
            [ContentEdit(Person(5, "eve"), moment(3))],
            id="the opening is no edit",
        ),
        pytest.param(
            edited(9, MIA, (9, MIA), (3, EVE)),
            [(5, {"id": 7, "login": "wim"})],
            [
                ContentEdit(Person(5, "eve"), moment(3)),
                ContentEdit(Person(7, "wim"), moment(5)),
                ContentEdit(Person(6, "mia"), moment(9)),
            ],
            id="renames and edits in order of time",
        ),
        pytest.param(
            edited(9, EVE, (3, MIA)),
            [],
            [ContentEdit(Person(6, "mia"), moment(3)), ContentEdit(Person(5, "eve"), moment(9))],
            id="an edit the list does not have yet",
        ),
        pytest.param(
            edited(3, None, (3, None)),
            [(4, None)],
            [ContentEdit(None, moment(3)), ContentEdit(None, moment(4))],
            id="editors GitHub does not name",
        ),
        pytest.param(
            edited(3, who(None, "ghostly", "Mannequin"), (3, who(None, "ghostly", "Mannequin"))),
            [],
            [ContentEdit(None, moment(3))],
            id="an editor without an id is unknown",
        ),
        pytest.param(
            edited(3, who(9, "helper", "Bot"), (3, who(9, "helper", "Bot"))),
            [],
            [ContentEdit(Person(9, "helper", True), moment(3))],
            id="a bot",
        ),
    ],
)
async def test_who_edited_and_when(s: Script, answer: Any, renames: list[Any], result: list[ContentEdit]) -> None:
    events = [
        {"id": i, "event": "renamed", "created_at": at(when), "actor": by} for i, (when, by) in enumerate(renames)
    ]
    s.on("GET /issues/5/events", reply(events))
    s.on("POST graphql", reply(answer))
    assert await s.gateway.content_edits(ISSUE) == result


async def test_many_edits_are_read_page_by_page(s: Script) -> None:
    def serve(seen: Seen) -> web.Response:
        if seen.body["variables"]["before"] is None:
            return reply(edited(9, EVE, (9, EVE), before="cursor"))
        assert seen.body["variables"]["before"] == "cursor"
        return reply(edited(9, EVE, (3, MIA)))

    s.on("GET /issues/5/events", reply([]))
    s.on("POST graphql", serve)
    assert [edit.at for edit in await s.gateway.content_edits(ISSUE)] == [moment(3), moment(9)]


async def test_more_edits_than_we_read_end_with_an_unknown_editor(s: Script) -> None:
    s.on("GET /issues/5/events", reply([]))
    s.on("POST graphql", reply(edited(9, EVE, (9, EVE), before="always more")))
    assert ContentEdit(None, moment(9)) in await s.gateway.content_edits(ISSUE)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param({"data": {"repository": {"issue": None}}}, NotFound, id="no such issue"),
        pytest.param({"data": {"repository": None}}, NotFound, id="no such repository"),
        pytest.param(
            {"data": {"repository": {"databaseId": 666, "issue": {}}}}, NotFound, id="another repository under the name"
        ),
        pytest.param({"data": {"repository": {"issue": {"x": 1}}}}, Unavailable, id="an answer of another shape"),
        pytest.param(
            {"data": None, "errors": [{"message": "Field 'lastEditedAt' doesn't exist on type 'Issue'"}]},
            Invalid,
            id="a server that cannot say",
        ),
    ],
)
async def test_edits_that_cannot_be_read_are_an_error(s: Script, answer: Any, kind: type[Exception]) -> None:
    s.on("GET /issues/5/events", reply([]))
    s.on("POST graphql", reply(answer))
    with pytest.raises(kind):
        await s.gateway.content_edits(ISSUE)


# --- repositories and files


async def test_an_empty_repository_shows_itself(s: Script) -> None:
    s.answers[f"GET {NAME}"] = reply(VIEW | {"size": 0})
    s.on("GET /git/ref/heads/main", reply({"message": "Git Repository is empty."}, 409))
    assert (await s.gateway.repository(REPO)).empty
    s.on("GET /git/ref/heads/main", reply({"ref": "refs/heads/main", "object": {"sha": "a" * 40}}))
    assert not (await s.gateway.repository(REPO)).empty


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"type": "symlink", "target": "x"}, id="a symlink to nowhere"),
        pytest.param({"type": "submodule"}, id="a submodule"),
        pytest.param({"type": "file", "path": "elsewhere.md"}, id="a symlink shown as its target's path"),
        pytest.param({"type": "file", "sha": "0" * 40}, id="a symlink shown with its target's content"),
    ],
)
async def test_only_regular_files_are_files(s: Script, content: dict[str, Any]) -> None:
    good = {"path": "a.md", "sha": blob_sha(b"hello"), "size": 5, "encoding": "base64", "content": "aGVs\nbG8=\n"}
    s.on("GET /contents/a.md", reply(good | {"type": "file"}))
    assert await s.gateway.file(REPO, "a.md", "main") == (blob_sha(b"hello"), b"hello")
    s.on("GET /contents/a.md", reply(good | content))
    with pytest.raises(Invalid, match="not a file"):
        await s.gateway.file(REPO, "a.md", "main")


async def test_a_large_file_comes_as_a_blob(s: Script) -> None:
    large = {"type": "file", "path": "a.md", "sha": "1" * 40, "size": 2_000_000, "encoding": "none", "content": ""}
    s.on("GET /contents/a.md", reply(large))
    s.on("GET /git/blobs/" + "1" * 40, reply({"sha": "1" * 40, "content": "aGk=", "encoding": "base64", "size": 2}))
    assert await s.gateway.file(REPO, "a.md", "main") == ("1" * 40, b"hi")
    s.on("GET /git/blobs/" + "1" * 40, reply({"sha": "1" * 40, "content": "", "encoding": "base64", "size": 11 << 20}))
    with pytest.raises(Invalid, match="more than"):
        await s.gateway.file(REPO, "a.md", "main")


@pytest.mark.parametrize(
    ("permission", "role_name", "role"),
    [
        pytest.param("write", "maintain", "MAINTAIN", id="the true role counts"),
        pytest.param("write", "release-manager", "WRITE", id="a custom role has its basic permission"),
        pytest.param("read", "", "READ", id="an older server names no role"),
        pytest.param("weird", "odd", "NONE", id="unknown words are no role"),
        pytest.param("none", "none", "NONE", id="none"),
    ],
)
async def test_role_names(s: Script, permission: str, role_name: str, role: str) -> None:
    answer = {"permission": permission, "role_name": role_name, "user": {"id": 5, "login": "eve"}}
    s.on("GET /collaborators/eve/permission", reply(answer))
    assert (await s.gateway.role(REPO, Person(5, "eve"))).name == role


async def test_an_edit_that_github_dropped_is_an_error(s: Script) -> None:
    issue = {
        "number": 5,
        "node_id": "I_1",
        "title": "t",
        "state": "open",
        "created_at": at(0),
        "updated_at": at(0),
        "body": "the old body",
    }
    s.on("PATCH /issues/5", reply(issue))
    with pytest.raises(Invalid, match="did not store"):
        await s.gateway.edit_issue(ISSUE, body="the new body")


async def test_a_pull_request_is_never_an_issue(s: Script) -> None:
    issue = {
        "number": 5,
        "node_id": "PR_1",
        "title": "t",
        "state": "open",
        "created_at": at(0),
        "updated_at": at(0),
        "pull_request": {},
    }
    s.on("GET /issues/5", reply(issue))
    s.on("GET /issues", reply([issue]))
    assert (await s.gateway.issue(ISSUE))[1] is None
    assert await s.gateway.issues_with_label(REPO, "tgs:ready") == []
