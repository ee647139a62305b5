"""Comments of many issues and pull requests of many branches: as the single reads give them, in few requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from bot.errors import Unavailable
from bot.github import client, gateway_bulk
from bot.localhub.core import Fault, FaultKind, Issue
from bot.protocols.github import Remark
from tests.github.hub import World
from tests.github.support import START


def talk(w: World, number: int = 3) -> list[Issue]:
    """Issues with a comment of ours and one of somebody else each."""
    found = []
    for index in range(number):
        issue = w.open_issue(f"Issue {index}")
        w.hub.comments.create(issue, f"ours {index}", w.hub.as_app(w.installation))
        w.hub.comments.create(issue, f"/tgs stop {index}", w.hub.as_user("wim"))
        found.append(issue)
    return found


def asked(w: World) -> int:
    """Questions since the log was emptied, repeated ones too."""
    return len(w.hub.log.select(template="/graphql"))


async def single(w: World, issue: Issue) -> list[Remark]:
    comments = await w.gateway.comments(w.issue_key(issue))
    editors = await w.gateway.last_editors(w.key, [comment.node_id for comment in comments])
    return [Remark(comment, editors[comment.node_id]) for comment in comments]


async def test_conversations_are_those_of_the_single_reads(w: World) -> None:
    issues = talk(w)
    ours, theirs = issues[0].comments
    w.clock.forward(minutes=1)
    w.hub.comments.edit(ours, "not ours any more", w.hub.as_user("olive"))
    w.hub.comments.react(theirs, "eyes", w.hub.as_app(w.installation))
    w.hub.log.clear()
    found = await w.gateway.conversations(w.key, [issue.node_id for issue in issues])
    assert asked(w) == 1
    assert found == {issue.node_id: await single(w, issue) for issue in issues}
    first, second = found[issues[0].node_id]
    assert first.editor == w.person("olive")
    assert second.editor is None
    assert second.comment.reacted


async def test_a_reaction_of_somebody_else_is_no_answer_of_ours(w: World) -> None:
    [issue] = talk(w, 1)
    w.hub.comments.react(issue.comments[1], "eyes", w.hub.as_user("eve"))
    found = await w.gateway.conversations(w.key, [issue.node_id])
    assert not found[issue.node_id][1].comment.reacted


def vanish(w: World, issue: Issue) -> None:
    w.hub.issues.delete(issue, w.hub.as_user("olive"))


def move(w: World, issue: Issue) -> None:
    w.hub.issues.transfer(issue, w.hub.create_repo(w.owner, "elsewhere"), w.hub.as_user("olive"))


def swell(w: World, issue: Issue) -> None:
    for _ in range(99):
        w.hub.comments.create(issue, "And another thing.", w.hub.as_user("eve"))


@pytest.mark.parametrize("change", [vanish, move, swell])
async def test_what_is_not_there_in_one_piece_is_left_out_and_the_rest_is_read(
    w: World, change: Callable[[World, Issue], None]
) -> None:
    issues = talk(w)
    change(w, issues[1])
    w.hub.log.clear()
    found = await w.gateway.conversations(w.key, [issue.node_id for issue in issues])
    assert set(found) == {issues[0].node_id, issues[2].node_id}
    assert asked(w) <= 2


async def test_histories_are_those_of_the_single_reads(w: World) -> None:
    issues = talk(w)
    for issue, who in zip(issues, ("olive", "wim"), strict=False):
        w.hub.labels.add(issue, ["TGS:Ready", "other"], w.hub.as_user(who))
        w.hub.labels.remove(issue, "other", w.hub.as_app(w.installation))
    found = await w.gateway.histories(w.key, [issue.node_id for issue in issues])
    for issue in issues:
        single = await w.gateway.label_events(w.issue_key(issue))
        assert found[issue.node_id] == [replace(event, id=number) for number, event in enumerate(single, 1)]
    assert [event.label for event in found[issues[0].node_id]] == ["tgs:ready", "other", "other"]


async def test_a_question_that_is_too_much_is_asked_in_smaller_pieces(w: World) -> None:
    issues = talk(w, 4)
    # Each read is tried three times.
    w.hub.faults.add(Fault(FaultKind.ERROR_BEFORE, method="POST", path="/graphql", count=3, status=502))
    found = await w.gateway.conversations(w.key, [issue.node_id for issue in issues])
    assert len(found) == 4


async def test_the_longest_texts_that_people_write_are_read_in_smaller_pieces(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    issues = talk(w, 2)
    for number in range(28):
        w.hub.comments.create(issues[0], f"{number} " + "x" * 3_000, w.hub.as_user("eve"))
    monkeypatch.setattr(client, "MAX_BODY", 80_000)
    assert len(await w.gateway.comments(w.issue_key(issues[0]))) == 30
    assert len(await w.gateway.comments_in(w.key, START)) == 32
    found = await w.gateway.conversations(w.key, [issue.node_id for issue in issues])
    assert set(found) == {issues[1].node_id}, "the other one is for the single reads"


async def test_an_outage_is_not_taken_for_a_question_that_is_too_much(w: World) -> None:
    issues = talk(w, 4)
    w.hub.faults.add(Fault(FaultKind.ERROR_BEFORE, method="POST", path="/graphql", count=None, status=502))
    w.hub.log.clear()
    with pytest.raises(Unavailable):
        await w.gateway.conversations(w.key, [issue.node_id for issue in issues])
    assert asked(w) <= 9


async def test_pull_requests_of_branches_are_those_of_the_single_reads(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_bulk, "BRANCHES", 2)
    for number in range(3):
        await w.gateway.put_file_pull(w.key, f"tgs/{number}-x", {"a.txt": str(number)}, "Do", "body")
    names = [f"tgs/{number}-x" for number in range(4)]
    pull = await w.gateway.pull(w.key, (await w.gateway.pulls_of_branch(w.key, names[0]))[0].number)
    assert pull is not None
    await w.gateway.merge_pull(w.key, pull.number, expected_head=pull.head_sha, method="squash", title="T")
    w.hub.log.clear()
    found = await w.gateway.pulls_of_branches(w.key, names)
    assert asked(w) == 2
    for name in names:
        # What a trial merge of an open one would be is not asked for.
        single = [replace(x, merge_commit_sha=None) for x in await w.gateway.pulls_of_branch(w.key, name)]
        assert [replace(x, merge_commit_sha=None) for x in found[name]] == single
    assert found[names[0]][0] == (await w.gateway.pulls_of_branch(w.key, names[0]))[0]
    assert (found[names[0]][0].merged, found[names[3]]) == (True, [])


async def test_what_was_done_long_ago_is_not_listed(w: World) -> None:
    old, new, open_ = (w.open_issue(name) for name in ("old", "new", "open"))
    for issue in (old, new, open_):
        w.hub.labels.add(issue, ["tgs:done"], w.hub.as_user("olive"))
    w.hub.issues.set_state(old, "closed", w.hub.as_user("olive"))
    w.clock.forward(days=40)
    w.hub.issues.set_state(new, "closed", w.hub.as_user("olive"))
    since = w.clock.now() - timedelta(days=30)
    listed = await w.gateway.issues_with_label(w.key, "tgs:done", since)
    assert [facts.title for facts in listed] == ["open", "new"]
