"""`label`: a label of the repository was created, renamed or deleted; it may be one of ours, so look at the repository.

Renaming or deleting a label sends no event for the issues that carried it. Dropped when we caused it.
"""

from __future__ import annotations

from bot.domain.intake import Intake, TouchKind
from bot.payloads import Payload
from handlers.reading import NOTHING, own, scope_of


def handle(payload: Payload, self_id: int | None) -> Intake:
    scope = scope_of(payload)
    if scope is None or own(payload, self_id):
        return NOTHING
    return scope.intake(scope.touch(TouchKind.REPO))
