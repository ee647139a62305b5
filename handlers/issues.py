"""`issues`: look at the issue again; look at the repository's queue too when what may start can have changed.

The issue is offered for tracking when it carries one of our labels, or just gained or lost one. Our own events
are dropped: we know what we did. Races: events arrive unordered, so nothing here says what the issue is now.
"""

from __future__ import annotations

from bot.domain import labels
from bot.domain.intake import Intake, TouchKind
from bot.domain.model import ItemState
from bot.payloads import Issue, IssuesPayload, Label
from handlers.reading import NOTHING, TRACK, own, scope_of

LOOKED_AT = frozenset(
    {
        "opened",
        "edited",
        "labeled",
        "unlabeled",
        "assigned",
        "unassigned",
        "closed",
        "reopened",
        "deleted",
        "transferred",
    }
)
"""Actions that can change what should be true of an item."""

FREES_OTHERS = frozenset({"closed", "reopened", "deleted", "transferred"})
"""Actions that can end or begin another item's waiting for this issue, so the queue is looked at again."""


def _is_ready(label: Label) -> bool:
    return labels.parse_state(label.name) is ItemState.READY


def hint(issue: Issue, changed: Label | None = None) -> str:
    """`track` when the issue may be an item by its labels."""
    names = [label.name for label in issue.labels]
    if changed is not None:
        names.append(changed.name)
    return TRACK if any(labels.is_ours(name) for name in names) else ""


def handle(payload: IssuesPayload, self_id: int | None) -> Intake:
    scope = scope_of(payload)
    if scope is None or own(payload, self_id) or payload.action not in LOOKED_AT:
        return NOTHING
    issue = payload.issue
    if issue.pull_request is not None:
        return scope.intake(scope.touch(TouchKind.PULL, issue.number))
    touches = [scope.touch(TouchKind.ISSUE, issue.number, hint(issue, payload.label))]
    if payload.label is not None:
        queue = _is_ready(payload.label)
    else:
        queue = payload.action in FREES_OTHERS or (payload.action == "opened" and any(map(_is_ready, issue.labels)))
    if queue:
        touches.append(scope.touch(TouchKind.REPO))
    return scope.intake(*touches)
