"""What exactly was approved, and whether it still is what stands on the issue.

Anything that cannot be read is not an approval; it is looked at again or refused and said once. Known race: an
outsider's edit may land between the label event and our reading it. So the approval covers the text only if nobody
without the role edited it from a minute before the event on.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from bot.domain import labels
from bot.domain.draft import BOT, Draft
from bot.domain.effects import Show
from bot.domain.facts import ContentEdit, IssueFacts, LabelEvent
from bot.domain.front_matter import Source, effective_spec, from_issue
from bot.domain.lifecycle import ItemEvent, Refusal
from bot.domain.model import (
    TERMINAL_STATES,
    Asked,
    FailureReason,
    Item,
    ItemState,
    Person,
    Problem,
    Role,
    Snapshot,
    WorkSpec,
)
from bot.domain.notes import NoteCode, note
from bot.domain.permissions import Capability, Denied, decide
from bot.domain.policy_model import Policy

EDIT_BEFORE_APPROVAL = timedelta(seconds=60)
"""An edit this short before the approval may not have been on the approver's screen."""

EVENT_LAG = timedelta(seconds=5)
"""GitHub may show a label before its event; look again after this long."""

EVENT_PATIENCE = timedelta(minutes=2)
"""After this long a label without a readable event counts as unreadable and is refused."""

ROLE_RETRY = timedelta(minutes=1)
"""When a role could not be read, ask again after this long; until then nothing is approved."""


def role_name(role: Role | None) -> str | None:
    """A role as people write it; None when it could not be read."""
    return None if role is None else role.name.lower()


def approve(draft: Draft, policy: Policy, *, actor: Person, at: datetime, topic: str, cause: str) -> bool:
    """Take the snapshot of what `actor` saw and make the item ready; False when the text may not be what they saw."""
    issue = draft.facts.issue
    assert issue is not None
    if draft.facts.key.number == draft.repo.setup_issue:
        release_thoughts(draft, actor)
        return True
    if draft.facts.incident:
        return False
    if draft.facts.edits is None:
        draft.at(draft.now + EVENT_LAG)
        return False
    thought = draft.item.thought if draft.item else None
    if thought is None:
        foreign = foreign_edit(draft, policy, after=at - EDIT_BEFORE_APPROVAL)
        if foreign is not None:
            draft.say(
                topic,
                note(
                    NoteCode.APPROVAL_VOID,
                    editor=foreign.editor.login if foreign.editor else "somebody unknown",
                    at=foreign.at.isoformat(),
                    approver=actor.login,
                ),
            )
            take_label_off(draft)
            return False
    snapshot = Snapshot(
        title=issue.title,
        body=issue.body if thought is None else "",
        approved_at=at,
        approver=actor,
        plan_sha=draft.facts.plan_sha or (thought.plan_sha if thought else None),
        contains_outsider_text=thought is None and _outsider(draft, policy, issue.author),
    )
    if draft.item is None:
        draft.track(
            replace(new_item(draft, issue, policy), snapshot=snapshot, ready_since=draft.now),
            ItemEvent.APPROVED,
            actor=actor.login,
            cause=cause,
        )
    else:
        again = draft.item.state in TERMINAL_STATES
        # What was published and not merged may still be merged; what was merged is over.
        pull = None if draft.item.state is ItemState.DONE else draft.item.pull
        draft.move(
            ItemEvent.RETRY_ASKED if again else ItemEvent.APPROVED,
            actor=actor.login,
            cause=cause,
            snapshot=snapshot,
            ready_since=draft.now,
            not_before=None,
            **(_wished(draft, issue, policy) if thought is None else {}),
            **({"attempts_burnt": 0, "infra_failures": 0, "extensions": 0, "pull": pull} if again else {}),
        )
    # The person's own label is what we would have shown: it needs no second write.
    if draft.item is not None and labels.states_shown(issue.labels) == (ItemState.READY,):
        draft.change(projection=replace(draft.item.projection, state_label=labels.READY))
    return True


def release_thoughts(draft: Draft, actor: Person) -> None:
    """Approving the set-up issue means: mirror the thoughts that were there when the App was installed."""
    if not draft.repo.mirror_decided:
        draft.repo = replace(draft.repo, mirror_decided=True)
        draft.note_history("thoughts_released", actor=actor.login, cause="set-up issue approved")
        draft.wake(draft.facts.key.repo_key)
    if draft.facts.issue is not None and labels.READY in draft.facts.issue.labels:
        take_label_off(draft)


def follow_thought(draft: Draft) -> None:
    """What the default branch says about a mirrored item: gone, built already, or ready by policy."""
    item = draft.item
    if item is None or item.thought is None:
        return
    if item.implemented and draft.live is None:
        found = draft.move(ItemEvent.IMPLEMENTED, actor="push", cause=f"{item.thought.dir}/implementation.md")
        draft.free_locks = draft.free_locks or not isinstance(found, Refusal)
    elif item.thought_gone and draft.live is None:
        draft.move(ItemEvent.THOUGHT_REMOVED, actor="push", cause=f"{item.thought.dir} was removed")
    elif item.mirror_ready and item.state is ItemState.PROPOSED:
        draft.move(
            ItemEvent.APPROVED,
            actor="policy",
            cause="mirror.auto_ready",
            ready_since=draft.now,
            snapshot=Snapshot(
                title=item.title, body="", approved_at=draft.now, approver=None, plan_sha=item.thought.plan_sha
            ),
        )


def recheck_snapshot(draft: Draft, policy: Policy) -> None:
    """The approved text must still be the issue's text while nothing runs on it."""
    item, issue = draft.item, draft.facts.issue
    if item is None or issue is None or draft.live is not None:
        return
    if item.state not in {ItemState.READY, ItemState.IN_PROGRESS}:
        return
    if item.snapshot is None:
        # Found after a lost database beside a run that has ended since.
        draft.move(ItemEvent.APPROVAL_VOID, actor=BOT, cause="who approved it is not known")
        return
    if item.thought is not None:
        plan = draft.facts.plan_sha
        if plan is not None and item.snapshot.plan_sha is not None and plan != item.snapshot.plan_sha:
            draft.say(f"plan:{plan}", note(NoteCode.PLAN_CHANGED, plan=plan[:12], dir=item.thought.dir))
            draft.move(ItemEvent.APPROVAL_VOID, actor="push", cause="the plan changed after approval")
        return
    if (item.snapshot.title, item.snapshot.body) == (issue.title, issue.body):
        return
    if draft.facts.edits is None:
        draft.at(draft.now + EVENT_LAG)
        return
    foreign = foreign_edit(draft, policy, after=item.snapshot.approved_at - EDIT_BEFORE_APPROVAL)
    if foreign is None:
        draft.change(
            snapshot=replace(item.snapshot, title=issue.title, body=issue.body),
            title=issue.title,
            **_wished(draft, issue, policy),
        )
        draft.wake(draft.facts.key.repo_key)
        draft.note_history("snapshot_renewed", actor="editor with the role", cause="edited after approval")
        return
    editor = foreign.editor.login if foreign.editor else "somebody unknown"
    draft.say(
        f"edit:{foreign.at.isoformat()}",
        note(
            NoteCode.APPROVAL_VOID,
            editor=editor,
            at=foreign.at.isoformat(),
            approver=item.snapshot.approver.login if item.snapshot.approver else "policy",
            old_title=item.snapshot.title,
            new_title=issue.title,
            old_body=item.snapshot.body,
            new_body=issue.body,
        ),
    )
    draft.move(ItemEvent.APPROVAL_VOID, actor=editor, cause="edited after approval by somebody without the role")


def foreign_edit(draft: Draft, policy: Policy, *, after: datetime) -> ContentEdit | None:
    """The newest edit since `after` by somebody who may not start work (or whose role is unknown)."""
    for edit in reversed(draft.facts.edits or ()):
        if edit.at < after:
            break
        if edit.editor is not None and by_us(draft, edit.editor):
            continue
        role = edit.role if edit.role is not None else draft.facts.role_of(edit.editor)
        if role is None or isinstance(decide(Capability.START, role, policy.roles), Denied):
            return edit
    return None


def new_item(draft: Draft, issue: IssueFacts, policy: Policy) -> Item:
    """An item for an issue of a person; only `type`, `locks` and `depends_on` of its body are honoured."""
    spec, findings = _wishes(draft, issue, policy)
    return Item(
        key=issue.key,
        node_id=issue.node_id,
        title=issue.title,
        state=ItemState.PROPOSED,
        since=draft.now,
        spec=spec,
        findings=findings,
        priority=0,
    )


def _wished(draft: Draft, issue: IssueFacts, policy: Policy) -> dict[str, Any]:
    """The item's fields that follow from the text of its issue."""
    spec, findings = _wishes(draft, issue, policy)
    asked = draft.item.asked if draft.item is not None else Asked()
    return {"spec": asked.over(spec), "findings": findings}


def _wishes(draft: Draft, issue: IssueFacts, policy: Policy) -> tuple[WorkSpec, tuple[Problem, ...]]:
    """What the text of an issue may ask for, within policy, and what of it is not honoured."""
    return effective_spec(policy, from_issue(issue.body), Source.ISSUE, draft.repo.full_name)


def request_cancel(draft: Draft, reason: FailureReason, *, by: str, force: bool = False) -> None:
    """Ask the live attempt to end; `attempting.py` carries it out and waits for the proof."""
    attempt = draft.live
    if attempt is None or attempt.cancel_requested_at is not None:
        return
    draft.step(
        cancel_requested_at=draft.now,
        cancel_reason=reason,
        cancel_by=by,
        forced_at=draft.now if force else None,
    )


def newest(events: tuple[LabelEvent, ...] | None, label: str, *, added: bool) -> LabelEvent | None:
    """The newest event that added (or removed) the label; events are oldest first."""
    for event in reversed(events or ()):
        if event.label == label and event.added is added:
            return event
    return None


def by_us(draft: Draft, actor: Person | None) -> bool:
    """Whether this is our own account."""
    bot = draft.facts.repo.bot
    return actor is not None and bot is not None and actor.id == bot.id


def _outsider(draft: Draft, policy: Policy, person: Person) -> bool:
    if by_us(draft, person):
        return False
    role = draft.facts.role_of(person)
    return role is None or isinstance(decide(Capability.START, role, policy.roles), Denied)


def take_label_off(draft: Draft) -> None:
    """`tgs:ready` does not count; nobody shall think that it does."""
    draft.visible.append(Show(draft.facts.key, remove_labels=(labels.READY,)))
