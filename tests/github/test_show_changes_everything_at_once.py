"""All visible changes of an item: one request in the ordinary case, exact about what failed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.domain.labels import appearance
from bot.domain.model import IssueKey
from bot.errors import Invalid, RateLimited
from bot.github.batch import Nodes, Part, compile_batch, parts_of
from bot.localhub.core import Fault, FaultKind, Issue
from bot.protocols.github import Visible, VisibleOutcome
from tests.github.hub import World

SHOW = "POST /graphql"


async def ready_issue(w: World) -> tuple[Issue, Visible]:
    """An issue whose labels are known, with a status comment."""
    issue = w.open_issue()
    w.hub.labels.add(issue, ["tgs:ready"], w.hub.as_user("wim"))
    comment = await w.gateway.create_comment(w.issue_key(issue), "queued")
    return issue, Visible(
        issue_node=issue.node_id,
        number=issue.number,
        add_labels=("tgs:in-progress",),
        remove_labels=("tgs:ready",),
        assign="wim",
        comment_node=comment.node_id,
        comment_body="working on it",
    )


def labels(issue: Issue) -> set[str]:
    return {label.name for label in issue.labels}


async def test_one_write_changes_everything_once_the_labels_are_known(w: World) -> None:
    first, visible = await ready_issue(w)
    await w.gateway.show(w.key, visible)
    issue, visible = await ready_issue(w)
    w.hub.log.clear()
    outcome = await w.gateway.show(w.key, visible)
    assert outcome == VisibleOutcome(("wim",), "working on it", ())
    assert labels(issue) == {"tgs:in-progress"}
    assert labels(first) == {"tgs:in-progress"}
    assert [entry.template for entry in w.hub.log.entries] == ["/graphql"]
    [entry] = w.hub.log.writes()
    assert entry.operations == [
        "removeLabelsFromLabelable",
        "addLabelsToLabelable",
        "addAssigneesToAssignable",
        "updateIssueComment",
    ]


async def test_a_label_that_does_not_exist_yet_is_made_on_first_use(w: World) -> None:
    issue, visible = await ready_issue(w)
    outcome = await w.gateway.show(w.key, visible)
    assert outcome.failed == ()
    assert labels(issue) == {"tgs:in-progress"}
    assert w.sent().count("POST /repos/{owner}/{repo}/labels") == 1
    made = w.repo.labels["tgs:in-progress"]
    assert (made.color, made.description) == appearance("tgs:in-progress")


async def test_nothing_to_show_sends_nothing(w: World) -> None:
    issue = w.open_issue()
    assert await w.gateway.show(w.key, Visible(issue.node_id, issue.number)) == VisibleOutcome(None, None)
    assert w.hub.log.entries == []


async def test_removing_a_label_the_repository_never_had_sends_no_write(w: World) -> None:
    issue = w.open_issue()
    outcome = await w.gateway.show(w.key, Visible(issue.node_id, issue.number, remove_labels=("tgs:hold",)))
    assert outcome == VisibleOutcome(None, None)
    assert w.hub.log.writes() == []


async def test_people_who_cannot_be_assigned_are_missing_in_the_answer(w: World) -> None:
    issue = w.open_issue()
    outcome = await w.gateway.show(w.key, Visible(issue.node_id, issue.number, assign="eve"))
    assert outcome.assignees == ()


async def test_an_unknown_login_is_no_reason_to_stop(w: World) -> None:
    issue, visible = await ready_issue(w)
    outcome = await w.gateway.show(w.key, replace(visible, assign="nobody-at-all"))
    assert "wim" not in (outcome.assignees or ())
    assert labels(issue) == {"tgs:in-progress"}
    assert outcome.comment_body == "working on it"


async def test_unassigning_tells_who_is_left(w: World) -> None:
    issue = w.open_issue()
    w.hub.issues.assign(issue, ["wim", "mia"], w.hub.as_user("olive"))
    outcome = await w.gateway.show(w.key, Visible(issue.node_id, issue.number, unassign="wim"))
    assert outcome.assignees == ("mia",)


async def test_a_deleted_comment_fails_by_name_and_the_rest_is_done(w: World) -> None:
    issue, visible = await ready_issue(w)
    w.hub.comments.delete(issue.comments[0], w.hub.as_user("olive"))
    outcome = await w.gateway.show(w.key, visible)
    assert [name for name, _ in outcome.failed] == ["comment_body"]
    assert labels(issue) == {"tgs:in-progress"}
    assert outcome.assignees == ("wim",)


async def test_a_label_deleted_and_made_anew_is_found_again(w: World) -> None:
    _, visible = await ready_issue(w)
    await w.gateway.show(w.key, visible)
    label = next(label for label in w.repo.labels.values() if label.name == "tgs:in-progress")
    w.hub.labels.delete(w.repo, label, w.hub.as_user("olive"))
    issue, visible = await ready_issue(w)
    outcome = await w.gateway.show(w.key, visible)
    assert outcome.failed == ()
    assert labels(issue) == {"tgs:in-progress"}


async def test_a_branch_is_deleted_only_where_it_was_expected(w: World) -> None:
    issue = w.open_issue()
    head = await w.gateway.head(w.key, "main")
    assert head is not None
    await w.gateway.put_file_pull(w.key, "tgs/setup", {"a.txt": "a"}, "Set up", "body")
    there = await w.gateway.head(w.key, "tgs/setup")
    assert there is not None
    visible = Visible(issue.node_id, issue.number, delete_branch=("tgs/setup", head))
    outcome = await w.gateway.show(w.key, visible)
    assert [name for name, _ in outcome.failed] == ["delete_branch"]
    assert await w.gateway.head(w.key, "tgs/setup") == there
    outcome = await w.gateway.show(w.key, replace(visible, delete_branch=("tgs/setup", there)))
    assert outcome.failed == ()
    assert await w.gateway.head(w.key, "tgs/setup") is None


async def test_a_draft_becomes_ready(w: World) -> None:
    issue = w.open_issue()
    number = await w.gateway.put_file_pull(w.key, "work", {"a.txt": "a"}, "Work", "body")
    await w.gateway.edit_issue(IssueKey(w.key.installation, w.key.repo, number), open_=False)
    draft = await w.gateway.open_pull(w.key, head="work", base="main", title="Draft", body="body")
    assert draft.draft
    outcome = await w.gateway.show(w.key, Visible(issue.node_id, issue.number, ready_pull_node=draft.node_id))
    assert outcome.failed == ()
    ready = await w.gateway.pull(w.key, draft.number)
    assert ready is not None
    assert not ready.draft


async def test_without_graphql_the_same_is_done_by_rest(w: World) -> None:
    issue, visible = await ready_issue(w)
    w.hub.faults.add(Fault(FaultKind.ERROR_BEFORE, path="graphql", status=404, message="Not Found", count=None))
    outcome = await w.gateway.show(w.key, visible)
    assert outcome == VisibleOutcome(("wim",), "working on it", ())
    assert labels(issue) == {"tgs:in-progress"}


async def test_a_limit_stops_everything_at_once(w: World) -> None:
    _, visible = await ready_issue(w)
    w.hub.faults.rate_limited(path="graphql", retry_after=30)
    with pytest.raises(RateLimited):
        await w.gateway.show(w.key, visible)


async def test_an_overlong_text_is_refused_before_anything_changes(w: World) -> None:
    issue, visible = await ready_issue(w)
    with pytest.raises(Invalid):
        await w.gateway.show(w.key, replace(visible, comment_body="x" * 60_001))
    assert labels(issue) == {"tgs:ready"}


def test_the_batch_names_each_part_after_its_field() -> None:
    visible = Visible(
        "I_1",
        5,
        add_labels=("A",),
        remove_labels=("b", "gone"),
        assign="Wim",
        unassign="mia",
        comment_node="C_1",
        comment_body="",
        ready_pull_node="P_1",
        delete_branch=("tgs/5-x", "1" * 40),
    )
    assert parts_of(visible) == tuple(Part)
    nodes = Nodes("R_1", {"a": "L_a", "b": "L_b"}, {"wim": "U_w", "mia": "U_m"})
    batch, missing = compile_batch(visible, nodes)
    assert missing == ()
    assert batch is not None
    assert batch.variables == {
        "remove_labels": {"labelableId": "I_1", "labelIds": ["L_b"]},
        "add_labels": {"labelableId": "I_1", "labelIds": ["L_a"]},
        "unassign": {"assignableId": "I_1", "assigneeIds": ["U_m"]},
        "assign": {"assignableId": "I_1", "assigneeIds": ["U_w"]},
        "comment_body": {"id": "C_1", "body": ""},
        "ready_pull_node": {"pullRequestId": "P_1"},
        "delete_branch": {
            "repositoryId": "R_1",
            "refUpdates": [{"name": "refs/heads/tgs/5-x", "beforeOid": "1" * 40, "afterOid": "0" * 40}],
        },
    }
    assert {str(field) for field in Part} <= set(Visible.__slots__)


def test_parts_without_node_ids_are_left_over() -> None:
    visible = Visible("I_1", 5, add_labels=("a",), assign="wim", delete_branch=("b", "1" * 40))
    batch, missing = compile_batch(visible, Nodes(None, {}, {}))
    assert batch is None
    assert missing == (Part.ADD_LABELS, Part.ASSIGN, Part.DELETE_BRANCH)
