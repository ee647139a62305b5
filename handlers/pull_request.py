"""`pull_request`: look at the pull request's item again, by its number and by its branch.

Never dropped as our own: the bot opens the pull requests that matter most. A head in another repository names no
branch of ours, so it touches by number only.
"""

from __future__ import annotations

from bot.domain.intake import Intake, TouchKind
from bot.payloads import PullRequestPayload
from handlers.reading import NOTHING, scope_of


def handle(payload: PullRequestPayload, self_id: int | None) -> Intake:
    scope = scope_of(payload)
    if scope is None:
        return NOTHING
    pull = payload.pull_request
    touches = [scope.touch(TouchKind.PULL, pull.number)]
    if pull.head.repo is not None and pull.head.repo.id == scope.key.repo:
        touches.append(scope.touch(TouchKind.BRANCH, pull.head.ref))
    return scope.intake(*touches)
