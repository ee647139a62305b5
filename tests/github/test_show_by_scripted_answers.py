"""What `show` makes of answers that a local GitHub does not give: older servers, failed parts, hiccups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from bot.errors import Forbidden, Suspended, Unavailable
from bot.protocols.github import Visible, VisibleOutcome
from tests.github.script import Script, at
from tests.github.support import REPO, Seen, reply

FOUND = {"data": {"repository": {"id": "R_1", "l0": {"id": "L_b"}, "l1": {"id": "L_a"}}}}
WANTED = Visible("I_1", 5, add_labels=("a",), remove_labels=("b",), comment_node="C_1", comment_body="text")


def graphql(show: Any) -> Callable[[Seen], web.Response]:
    """Answers look-ups of node ids and comments, and the mutation with `show`."""

    def serve(seen: Seen) -> web.Response:
        query = seen.body["query"]
        if query.startswith("mutation"):
            return reply(show)
        return reply({"data": {"node": {"databaseId": 77}}} if "IssueComment" in query else FOUND)

    return serve


async def test_a_server_without_one_of_the_mutations_gets_rest_calls(s: Script) -> None:
    message = "Field 'updateIssueComment' doesn't exist on type 'Mutation'"
    s.on("POST graphql", graphql({"data": None, "errors": [{"message": message}]}))
    s.on("POST /issues/5/labels", reply([{"name": "a", "node_id": "L_a"}]))
    s.on("DELETE /issues/5/labels/b", reply({"message": "Label does not exist"}, 404))
    comment = {"id": 77, "node_id": "C_1", "created_at": at(0), "updated_at": at(1), "html_url": "u", "body": "text"}
    s.on("PATCH /issues/comments/77", reply(comment))
    assert await s.gateway.show(REPO, WANTED) == VisibleOutcome(None, "text", ())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({"remove_labels": {}, "add_labels": {}, "comment_body": None}, id="with the other answers"),
        pytest.param(None, id="with nothing else"),
    ],
)
async def test_a_part_that_failed_is_named_with_githubs_message(s: Script, data: Any) -> None:
    error = {"type": "FORBIDDEN", "path": ["comment_body"], "message": "Resource not accessible by integration"}
    s.on("POST graphql", graphql({"data": data, "errors": [error]}))
    outcome = await s.gateway.show(REPO, WANTED)
    assert outcome.failed == (("comment_body", "Resource not accessible by integration"),)
    assert outcome.comment_body is None


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param({"type": "FORBIDDEN", "message": "no"}, Forbidden, id="an error that names no part"),
        pytest.param(
            {"message": "Something went wrong", "path": ["comment_body"]}, Unavailable, id="a hiccup in a part"
        ),
        pytest.param(
            {"type": "FORBIDDEN", "message": "This installation has been suspended", "path": ["add_labels"]},
            Suspended,
            id="a suspension",
        ),
    ],
)
async def test_trouble_that_says_nothing_about_a_part_is_raised(s: Script, error: Any, kind: type[Exception]) -> None:
    data = {"remove_labels": {}, "add_labels": {}, "comment_body": None}
    s.on("POST graphql", graphql({"data": data, "errors": [error]}))
    with pytest.raises(kind):
        await s.gateway.show(REPO, WANTED)


async def test_a_batch_whose_answer_was_lost_is_uncertain_and_not_repeated(s: Script) -> None:
    def serve(seen: Seen) -> web.Response:
        return reply(None, 502) if seen.body["query"].startswith("mutation") else reply(FOUND)

    s.on("POST graphql", serve)
    with pytest.raises(Unavailable) as caught:
        await s.gateway.show(REPO, WANTED)
    assert caught.value.uncertain
    assert sum(seen.body["query"].startswith("mutation") for seen in s.server.seen if seen.body) == 1


async def test_another_repository_under_the_name_is_left_alone(s: Script) -> None:
    found = {"data": {"repository": {"id": "R_666", "databaseId": 666, "l0": {"id": "L_x"}}}}
    s.on("POST graphql", reply(found))
    outcome = await s.gateway.show(REPO, Visible("I_1", 5, delete_branch=("tgs/5-x", "1" * 40)))
    assert all("mutation" not in seen.body["query"] for seen in s.server.seen if seen.path == "/graphql")
    assert outcome.failed == ()


# --- without GraphQL


async def test_every_part_that_rest_knows_is_done_by_rest(s: Script) -> None:
    s.on("POST /issues/5/labels", reply([{"name": "a", "node_id": "L_a"}]))
    s.on("DELETE /issues/5/labels/b", reply([]))
    s.on("POST /issues/5/assignees", reply({"assignees": [{"login": "mia"}]}, 201))
    s.on("DELETE /issues/5/assignees", reply({"assignees": []}))
    s.on("GET /git/ref/heads/tgs/5-x", reply({"ref": "refs/heads/tgs/5-x", "object": {"sha": "1" * 40}}))
    s.on("DELETE /git/refs/heads/tgs/5-x", reply(None, 204))
    wanted = Visible(
        "I_1",
        5,
        add_labels=("a",),
        remove_labels=("b",),
        assign="mia",
        unassign="wim",
        ready_pull_node="P_1",
        delete_branch=("tgs/5-x", "1" * 40),
    )
    outcome = await s.gateway.show(REPO, wanted)
    assert outcome.assignees == ("mia",)
    assert [field for field, _ in outcome.failed] == ["ready_pull_node"]
    writes = [
        f"{seen.method} {seen.path}" for seen in s.server.seen if seen.method != "GET" and "graphql" not in seen.path
    ]
    assert writes == [
        "DELETE /repos/o/r/issues/5/labels/b",
        "POST /repos/o/r/issues/5/labels",
        "DELETE /repos/o/r/issues/5/assignees",
        "POST /repos/o/r/issues/5/assignees",
        "DELETE /repos/o/r/git/refs/heads/tgs/5-x",
    ]


@pytest.mark.parametrize(
    ("there", "failed"),
    [
        pytest.param("2" * 40, ["delete_branch"], id="a branch that moved stays"),
        pytest.param(None, [], id="a branch that is gone needs nothing"),
    ],
)
async def test_a_branch_is_deleted_by_rest_only_where_it_was_expected(
    s: Script, there: str | None, failed: list[str]
) -> None:
    if there is not None:
        s.on("GET /git/ref/heads/tgs/5-x", reply({"ref": "refs/heads/tgs/5-x", "object": {"sha": there}}))
    outcome = await s.gateway.show(REPO, Visible("I_1", 5, delete_branch=("tgs/5-x", "1" * 40)))
    assert [field for field, _ in outcome.failed] == failed
    assert all(seen.method != "DELETE" for seen in s.server.seen)


async def test_a_refused_part_does_not_stop_the_others(s: Script) -> None:
    s.on("POST /issues/5/labels", reply({"message": "Resource not accessible by integration"}, 403))
    s.on("POST /issues/5/assignees", reply({"assignees": [{"login": "mia"}]}, 201))
    outcome = await s.gateway.show(REPO, Visible("I_1", 5, add_labels=("a",), assign="mia"))
    assert outcome.failed == (("add_labels", "Resource not accessible by integration"),)
    assert outcome.assignees == ("mia",)


async def test_a_comment_that_nobody_finds_fails_by_name(s: Script) -> None:
    def serve(seen: Seen) -> web.Response:
        if seen.body["query"].startswith("mutation"):
            return reply({"data": None, "errors": [{"message": "Cannot query field 'updateIssueComment'"}]})
        return reply({"data": {"node": None}})

    s.on("POST graphql", serve)
    outcome = await s.gateway.show(REPO, Visible("I_1", 5, comment_node="C_1", comment_body="text"))
    assert outcome.failed == (("comment_body", "there is no such comment"),)
