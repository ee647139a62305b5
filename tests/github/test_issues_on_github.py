"""Issues, labels, events, edits and comments through the gateway."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bot.domain.facts import Presence
from bot.domain.model import IssueKey
from bot.errors import Forbidden, Invalid, NotFound, Unavailable
from bot.github.gateway_issues import same_text
from bot.localhub.core import Fault, FaultKind
from tests.github.hub import World
from tests.github.support import START


async def test_an_issue_as_it_is(w: World) -> None:
    issue = w.open_issue("Title", "Body", by="eve")
    w.hub.labels.add(issue, ["tgs:ready"], w.hub.as_user("wim"))
    w.hub.issues.assign(issue, ["wim"], w.hub.as_user("olive"))
    presence, facts = await w.gateway.issue(w.issue_key(issue))
    assert presence is Presence.HERE
    assert facts is not None
    assert (facts.key, facts.title, facts.body, facts.open) == (w.issue_key(issue), "Title", "Body", True)
    assert facts.labels == {"tgs:ready"}
    assert facts.author == w.person("eve")
    assert facts.assignees == (w.person("wim"),)
    assert facts.created_at == START


async def test_a_deleted_issue(w: World) -> None:
    issue = w.open_issue()
    w.hub.issues.delete(issue, w.hub.as_user("olive"))
    assert await w.gateway.issue(w.issue_key(issue)) == (Presence.DELETED, None)


async def test_a_transferred_issue(w: World) -> None:
    issue = w.open_issue()
    key = w.issue_key(issue)
    w.hub.issues.transfer(issue, w.hub.create_repo(w.owner, "elsewhere"), w.hub.as_user("olive"))
    assert await w.gateway.issue(key) == (Presence.TRANSFERRED, None)


async def test_an_issue_that_never_was(w: World) -> None:
    key = IssueKey(w.key.installation, w.key.repo, 99)
    assert await w.gateway.issue(key) == (Presence.UNREADABLE, None)


async def test_a_renamed_repository_is_followed_by_reads_and_writes(w: World) -> None:
    issue = w.open_issue()
    key = w.issue_key(issue)
    await w.gateway.issue(key)
    w.hub.rename_repo(w.repo, "renamed")
    presence, facts = await w.gateway.issue(key)
    assert presence is Presence.HERE
    assert facts is not None
    await w.gateway.create_comment(key, "still here")
    w.hub.rename_repo(w.repo, "again")
    await w.gateway.create_comment(key, "and here")
    assert [comment.body for comment in await w.gateway.comments(key)] == ["still here", "and here"]


async def test_an_old_name_that_another_repository_took_is_not_ours(w: World) -> None:
    issue = w.open_issue("Ours")
    w.hub.rename_repo(w.repo, "renamed")
    thief = w.hub.create_repo(w.owner, "demo")
    w.hub.change_repositories(w.installation, add=[thief])
    w.hub.issues.open(thief, "Theirs", actor=w.hub.as_user("olive"))
    _, facts = await w.gateway.issue(w.issue_key(issue))
    assert facts is not None
    assert facts.title == "Ours"


async def test_issues_with_a_label_open_and_closed_without_others(w: World) -> None:
    wanted, other, closed = w.open_issue("wanted"), w.open_issue("other"), w.open_issue("closed")
    for issue in (wanted, closed):
        w.hub.labels.add(issue, ["tgs:ready"], w.hub.as_user("wim"))
    w.hub.labels.add(other, ["bug"], w.hub.as_user("wim"))
    w.hub.issues.set_state(closed, "closed", w.hub.as_user("wim"))
    found = await w.gateway.issues_with_label(w.key, "tgs:ready")
    assert [(facts.title, facts.open) for facts in found] == [("wanted", True), ("closed", False)]


async def test_long_lists_are_read_to_their_end(w: World) -> None:
    for number in range(203):
        issue = w.open_issue(f"issue {number}")
        w.hub.labels.add(issue, ["tgs:ready"], w.hub.as_user("wim"))
    assert len(await w.gateway.issues_with_label(w.key, "tgs:ready")) == 203


async def test_issues_of_our_bot_only(w: World) -> None:
    w.open_issue("by a person")
    made = await w.gateway.create_issue(w.key, "ours", "body", ["tgs:proposed"])
    assert made.author == w.person("tgs[bot]")
    assert made.labels == {"tgs:proposed"}
    w.clock.forward(minutes=10)
    await w.gateway.create_issue(w.key, "later", "body", [])
    assert [facts.title for facts in await w.gateway.issues_by_bot(w.key)] == ["ours", "later"]
    late = await w.gateway.issues_by_bot(w.key, START + timedelta(minutes=5))
    assert [facts.title for facts in late] == ["later"]


async def test_who_labelled_and_when(w: World) -> None:
    issue = w.open_issue()
    w.hub.labels.add(issue, ["tgs:ready"], w.hub.as_user("tess"))
    w.clock.forward(minutes=1)
    w.hub.labels.remove(issue, "tgs:ready", w.hub.as_user("wim"))
    w.hub.issues.set_state(issue, "closed", w.hub.as_user("wim"))
    events = await w.gateway.label_events(w.issue_key(issue))
    assert [(event.label, event.added, event.actor, event.at) for event in events] == [
        ("tgs:ready", True, w.person("tess"), START),
        ("tgs:ready", False, w.person("wim"), START + timedelta(minutes=1)),
    ]


async def test_who_edited_title_and_body_and_when(w: World) -> None:
    issue = w.open_issue("Title", "Body", by="eve")
    assert await w.gateway.content_edits(w.issue_key(issue)) == []
    for minute, (login, change) in enumerate(
        [("eve", {"body": "More"}), ("wim", {"title": "Better"}), ("mia", {"body": "Most"})], start=1
    ):
        w.clock.time = START + timedelta(minutes=minute)
        w.hub.issues.edit(issue, w.hub.as_user(login), **change)
    edits = await w.gateway.content_edits(w.issue_key(issue))
    assert [(edit.editor, edit.at) for edit in edits] == [
        (w.person("eve"), START + timedelta(minutes=1)),
        (w.person("wim"), START + timedelta(minutes=2)),
        (w.person("mia"), START + timedelta(minutes=3)),
    ]


async def test_removing_a_label_tells_whether_this_call_removed_it(w: World) -> None:
    issue = w.open_issue()
    w.hub.labels.add(issue, ["tgs:ready", "other"], w.hub.as_user("wim"))
    assert await w.gateway.remove_label(w.issue_key(issue), "tgs:ready") is True
    assert await w.gateway.remove_label(w.issue_key(issue), "tgs:ready") is False
    _, facts = await w.gateway.issue(w.issue_key(issue))
    assert facts is not None
    assert facts.labels == {"other"}


async def test_removing_a_label_of_an_issue_that_is_not_there_is_an_error(w: World) -> None:
    with pytest.raises(NotFound):
        await w.gateway.remove_label(IssueKey(w.key.installation, w.key.repo, 99), "tgs:ready")


@pytest.mark.parametrize("label", ["..", "."])
async def test_a_label_named_like_a_parent_folder_removes_nothing_else(w: World, label: str) -> None:
    issue = w.open_issue()
    w.hub.labels.add(issue, ["keep"], w.hub.as_user("wim"))
    with pytest.raises(Invalid):
        await w.gateway.remove_label(w.issue_key(issue), label)
    _, facts = await w.gateway.issue(w.issue_key(issue))
    assert facts is not None
    assert facts.labels == {"keep"}


async def test_labels_are_added_and_made_when_new(w: World) -> None:
    issue = w.open_issue()
    await w.gateway.add_labels(w.issue_key(issue), ["tgs:in-progress"])
    await w.gateway.add_labels(w.issue_key(issue), [])
    await w.gateway.add_labels(w.issue_key(issue), ["tgs:hold"])
    _, facts = await w.gateway.issue(w.issue_key(issue))
    assert facts is not None
    assert facts.labels == {"tgs:in-progress", "tgs:hold"}


async def test_comments_are_made_read_and_found_by_time(w: World) -> None:
    key = w.issue_key(w.open_issue())
    first = await w.gateway.create_comment(key, "first")
    w.clock.forward(minutes=10)
    second = await w.gateway.create_comment(key, "second")
    assert first.author == w.person("tgs[bot]")
    assert await w.gateway.comments(key) == [first, second]
    assert await w.gateway.comments(key, START + timedelta(minutes=5)) == [second]
    assert await w.gateway.comment(w.key, first.id) == first
    await w.gateway.react(w.key, first.id, "eyes")
    await w.gateway.react(w.key, first.id, "eyes")
    assert len(w.hub.log.select(method="POST", where=lambda entry: "reactions" in entry.template)) == 2


async def test_an_absent_comment_is_none_after_a_few_looks(w: World) -> None:
    assert await w.gateway.comment(w.key, 999_999) is None
    assert w.clock.slept == [1.0, 1.0]


async def test_editing_an_issue_changes_only_what_was_said(w: World) -> None:
    issue = w.open_issue("Title", "Body")
    key = w.issue_key(issue)
    facts = await w.gateway.edit_issue(key, title="New")
    assert (facts.title, facts.body, facts.open) == ("New", "Body", True)
    facts = await w.gateway.edit_issue(key, body="Other", open_=False, reason="not_planned")
    assert (facts.title, facts.body, facts.open, facts.state_reason) == ("New", "Other", False, "not_planned")
    assert (await w.gateway.edit_issue(key, open_=True)).open


async def test_texts_that_github_may_cut_are_refused(w: World) -> None:
    key = w.issue_key(w.open_issue())
    long = "x" * 60_001
    for act in (
        w.gateway.create_comment(key, long),
        w.gateway.edit_issue(key, body=long),
        w.gateway.create_issue(w.key, "t", long, []),
    ):
        with pytest.raises(Invalid, match="60001 characters"):
            await act
    assert w.hub.log.writes() == []


@pytest.mark.parametrize(
    ("stored", "sent", "same"),
    [
        pytest.param("a\r\nb", "a\nb", True, id="line ends"),
        pytest.param("a", " a\n", True, id="outer white space"),
        pytest.param("old", "new", False, id="another text"),
    ],
)
def test_the_same_text(stored: str, sent: str, same: bool) -> None:
    assert same_text(stored, sent) is same


async def test_a_lost_answer_of_a_comment_is_uncertain(w: World) -> None:
    key = w.issue_key(w.open_issue())
    await w.gateway.repository(w.key)
    w.hub.faults.add(Fault(FaultKind.DISCONNECT_AFTER, method="POST", path="comments"))
    with pytest.raises(Unavailable) as caught:
        await w.gateway.create_comment(key, "once")
    assert caught.value.uncertain
    assert [comment.body for comment in await w.gateway.comments(key)] == ["once"]


async def test_a_missing_permission_is_named(w: World) -> None:
    key = w.issue_key(w.open_issue())
    w.installation.permissions["issues"] = "read"
    with pytest.raises(Forbidden) as caught:
        await w.gateway.create_comment(key, "hello")
    assert "issues=write" in caught.value.needs
