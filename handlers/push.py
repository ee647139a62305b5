"""`push`: the default branch may bring thoughts or policy; another branch may belong to an attempt.

On the default branch never dropped as our own: a merge by the bot moves it, and thoughts can arrive with it. What the
bot itself does to a branch of an attempt is reported by the run that did it. The payload's list of commits is not
read, it is cut for large pushes.
"""

from __future__ import annotations

from bot.domain.intake import Intake, TouchKind
from bot.payloads import PushPayload
from handlers.reading import NOTHING, own, scope_of

BRANCHES = "refs/heads/"


def handle(payload: PushPayload, self_id: int | None) -> Intake:
    scope = scope_of(payload)
    if scope is None or not payload.ref.startswith(BRANCHES):
        return NOTHING
    branch = payload.ref.removeprefix(BRANCHES)
    if branch == scope.repo.default_branch:
        return scope.intake(scope.touch(TouchKind.REPO))
    if own(payload, self_id):
        return NOTHING
    return scope.intake(scope.touch(TouchKind.BRANCH, branch))
