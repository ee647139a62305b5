"""`pull_request_review`: a review was submitted, edited or dismissed; look at the pull request's item again."""

from __future__ import annotations

from bot.domain.intake import Intake, TouchKind
from bot.payloads import PullRequestPayload
from handlers.reading import NOTHING, scope_of


def handle(payload: PullRequestPayload, self_id: int | None) -> Intake:
    scope = scope_of(payload)
    if scope is None:
        return NOTHING
    return scope.intake(scope.touch(TouchKind.PULL, payload.pull_request.number))
