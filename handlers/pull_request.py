"""`pull_request`: look at the pull request's item again, by its number and by its branch.

Never dropped as our own: a merge that the bot asked for must be seen like anybody's. A head in another repository
names no branch of ours, so it touches by number only. Opening and draft changes touch nothing: an item's pull request
is opened by the bot itself, and whether it is a draft decides nothing.
"""

from __future__ import annotations

from bot.domain.intake import Intake, TouchKind
from bot.payloads import PullRequestPayload
from handlers.reading import NOTHING, scope_of

LOOKED_AT = frozenset({"closed", "reopened", "synchronize", "edited", "dequeued", "locked", "unlocked"})
"""Actions after which something may be different for the item."""


def handle(payload: PullRequestPayload, self_id: int | None) -> Intake:
    scope = scope_of(payload)
    if scope is None or payload.action not in LOOKED_AT:
        return NOTHING
    pull = payload.pull_request
    touches = [scope.touch(TouchKind.PULL, pull.number)]
    if pull.head.repo is not None and pull.head.repo.id == scope.key.repo:
        touches.append(scope.touch(TouchKind.BRANCH, pull.head.ref))
    return scope.intake(*touches)
