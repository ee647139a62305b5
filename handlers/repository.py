"""`repository`: renamed, transferred, archived, made private or public, deleted; remember what it is now.

A deletion is told as a repository taken from the installation, because nothing can be read from it any more.
"""

from __future__ import annotations

from bot.domain.intake import InstallationChange, Intake, TouchKind
from bot.payloads import Payload
from handlers.reading import NOTHING, scope_of


def handle(payload: Payload, self_id: int | None) -> Intake:
    scope = scope_of(payload)
    if scope is None or payload.repository is None:
        return NOTHING
    gone = None
    if payload.action == "deleted":
        owner = payload.repository.owner
        gone = InstallationChange(
            installation=scope.key.installation,
            account_id=owner.id,
            account_login=owner.name,
            active=True,
            repos_removed=(scope.key.repo,),
        )
    return scope.intake(scope.touch(TouchKind.REPO), installation=gone)
