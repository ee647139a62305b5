"""`push`: the default branch may bring thoughts or policy; another branch may belong to an attempt.

Never dropped as our own: a merge by the bot moves the default branch, and thoughts can arrive with it. The
payload's list of commits is not read, it is cut for large pushes.
"""

from __future__ import annotations

from bot.domain.intake import Intake, TouchKind
from bot.payloads import PushPayload
from handlers.reading import NOTHING, scope_of

BRANCHES = "refs/heads/"


def handle(payload: PushPayload, self_id: int | None) -> Intake:
    scope = scope_of(payload)
    if scope is None or not payload.ref.startswith(BRANCHES):
        return NOTHING
    branch = payload.ref.removeprefix(BRANCHES)
    if branch == scope.repo.default_branch:
        return scope.intake(scope.touch(TouchKind.REPO))
    return scope.intake(scope.touch(TouchKind.BRANCH, branch))
