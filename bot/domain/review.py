"""After the publication: the pull request, its checks, and the end of the item.

Whether an item is done is read from GitHub (the pull request is merged), never from the agent's word. A pull request
belongs to an item only if our bot, or the owner of a claim ref, opened it and its head lies in the repository itself.
Fix rounds, an independent review and automatic merging will be further rules here.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from bot.domain.approval import request_cancel
from bot.domain.draft import Draft
from bot.domain.effects import CloseIssue, MergePull, React, Show
from bot.domain.facts import Ci, PullFacts
from bot.domain.intents import Intent
from bot.domain.lifecycle import ItemEvent
from bot.domain.model import FailureReason, ItemState
from bot.domain.notes import NoteCode, note
from bot.domain.policy_model import Policy

NO_CHECKS_AFTER = timedelta(minutes=10)
"""If no check has appeared on the pull request by then, the repository has none and the draft is made ready."""

FIRST_LOOK = timedelta(seconds=5)
"""How soon after the publication to look at the checks although nothing was heard: quick checks are over by then."""

CLOSE_PATIENCE = timedelta(seconds=30)
"""GitHub closes the issue shortly after the merge by itself; the bot closes it only when that did not happen."""

MERGEABLE_LOOK = timedelta(seconds=1)
"""GitHub computes whether a pull request can be merged in the background; ask again after this long."""

CI_LOOK = timedelta(minutes=2)
"""How often unfinished checks are looked at when no webhook tells of them."""


def belongs(draft: Draft, pull: PullFacts) -> bool:
    """Whether this pull request is the item's: opened by our bot (or by whoever had the item by a claim ref), from a
    branch of the repository itself."""
    bot = draft.facts.repo.bot
    item = draft.item
    return (
        bot is not None
        and item is not None
        and item.pull is not None
        and pull.author.id == (item.pull.author or bot.id)
        and pull.head_repo_id == pull.base_repo_id
        and pull.head_ref == item.pull.branch
    )


def follow_pull(draft: Draft, policy: Policy) -> None:
    """Merged, closed or still open: what the pull request says about the item."""
    item, pull = draft.item, draft.facts.pull
    if item is None or item.pull is None or pull is None or not belongs(draft, pull):
        return
    if pull.merged:
        if item.state is not ItemState.DONE:
            merger = pull.merged_by.login if pull.merged_by else "somebody"
            verified = pull.head_sha == item.pull.head_sha
            draft.move(
                ItemEvent.MERGED,
                actor=merger,
                cause=f"pull request #{pull.number} merged" + ("" if verified else ", with commits of a person"),
            )
            # Whoever works on it anew is told to stop, and keeps its paths until it has.
            request_cancel(draft, FailureReason.CANCELLED_CLOSED, by=merger)
            draft.free_locks = draft.live is None
        return
    if item.state is not ItemState.IN_REVIEW:
        return
    if not pull.open:
        draft.move(ItemEvent.PULL_CLOSED, actor="a person", cause=f"pull request #{pull.number} closed unmerged")
        draft.say(f"pull-closed:{pull.number}", note(NoteCode.PULL_CLOSED, pull=pull.number))
        draft.free_locks = True
        return
    _follow_checks(draft, pull)


def _follow_checks(draft: Draft, pull: PullFacts) -> None:
    item, ci = draft.item, draft.facts.ci
    assert item is not None
    assert item.pull is not None
    state = ci.state if ci is not None else Ci.NONE
    no_checks_at = item.pull.opened_at + NO_CHECKS_AFTER
    if state is Ci.FAILED and ci is not None:
        names = ", ".join(name for name, _ in ci.failed[:5])
        draft.say(
            f"ci:{ci.sha}",
            note(
                NoteCode.CI_FAILED,
                pull=pull.number,
                sha=ci.sha[:12],
                checks=names,
                approver=item.approver.login if item.approver else None,
            ),
        )
        draft.note_history_once("ci_failed", cause=ci.sha)
    elif state is Ci.PENDING:
        draft.at(draft.now + CI_LOOK)
    elif state is Ci.NONE and draft.now < no_checks_at:
        draft.at(no_checks_at)
    elif pull.draft:
        draft.visible.append(Show(draft.facts.key, ready_pull_node=pull.node_id))
        draft.say(
            f"review:{pull.number}",
            note(
                NoteCode.REVIEW_WANTED,
                pull=pull.number,
                checks="passed" if state is Ci.PASSED else "none",
                approver=item.approver.login if item.approver else None,
            ),
        )


def merge(draft: Draft, policy: Policy, intent: Intent) -> str | None:
    """Carry out `/tgs merge`: None when the merge is under way or must be looked at again, else why it is refused.

    The caller has checked the person's role. GitHub's rules stay in force: the merge names the head that was judged.
    """
    item, pull, ci = draft.item, draft.facts.pull, draft.facts.ci
    if item is None or item.pull is None:
        return "no_pull"
    if item.state is ItemState.DONE:
        return "already_merged"
    if pull is None:
        draft.at(draft.now + MERGEABLE_LOOK)
        return None
    if not belongs(draft, pull) or item.state is not ItemState.IN_REVIEW or not pull.open:
        return "no_pull"
    if draft.repo.pause is not None and draft.repo.pause.active(draft.now):
        return "paused"
    if item.held_by is not None:
        return "held"
    if ci is None or ci.state is Ci.PENDING:
        return "ci_pending"
    if ci.state is Ci.FAILED:
        return "ci_failed"
    if ci.state is Ci.NONE and draft.now < item.pull.opened_at + NO_CHECKS_AFTER:
        return "ci_pending"
    if pull.mergeable is False:
        return "conflict"
    if pull.mergeable is None and intent.attempts < 5:
        if intent.attempts == 0 and intent.comment_id is not None:
            draft.do(React(intent.key, intent.comment_id, "eyes"))
        draft.retry_intents.append(intent.id)
        draft.at(draft.now + MERGEABLE_LOOK)
        return None
    if pull.draft:
        draft.do(Show(draft.facts.key, ready_pull_node=pull.node_id))
    if intent.comment_id is not None:
        draft.do(React(intent.key, intent.comment_id, "eyes"))
    draft.do(
        MergePull(draft.facts.key, pull.number, pull.head_sha, policy.merge.method.value, intent.id, intent.comment_id)
    )
    return None


def finish(draft: Draft) -> None:
    """What remains when an item is done: its issue closed, its branch deleted (only at the SHA that was merged).

    An issue that was closed once and is open again was reopened by a person; that is not undone.
    """
    item, issue, pull = draft.item, draft.facts.issue, draft.facts.pull
    if item is None or item.state is not ItemState.DONE or issue is None:
        return
    closed = ("issue_closed", item.since.isoformat())
    if not issue.open and item.noted != ":".join(closed):
        draft.note_history_once(closed[0], cause=closed[1])
        item = draft.item
        assert item is not None
    elif issue.open and item.noted != ":".join(closed):
        if draft.now - item.since >= CLOSE_PATIENCE:
            draft.do(CloseIssue(draft.facts.key, "completed"))
        else:
            draft.at(item.since + CLOSE_PATIENCE)
    if item.pull is not None and not item.branch_deleted and pull is not None and pull.merged:
        # Noted as deleted only when it was tried: a process that ends before that leaves it to the next look.
        draft.visible.append(Show(draft.facts.key, delete_branch=(item.pull.branch, pull.head_sha)))


def link_head(draft: Draft) -> None:
    """A person pushed to the branch: remember the head, so that checks are read for what is really there."""
    item, pull = draft.item, draft.facts.pull
    if item is None or item.pull is None or pull is None or not belongs(draft, pull) or pull.merged:
        return
    if pull.head_sha != item.pull.head_sha and item.state is ItemState.IN_REVIEW:
        draft.change(pull=replace(item.pull, head_sha=pull.head_sha))
        draft.note_history("pushed_by_person", actor="a person", cause=pull.head_sha)
