"""`installation_target`: the account was renamed, so all its repositories have new names; look at them again.

The payload does not say whether the installation is suspended, so no state of the installation is derived from it.
"""

from __future__ import annotations

from bot.domain.intake import Intake, Touch, TouchKind
from bot.domain.model import InstallationId
from bot.payloads import InstallationTargetPayload


def handle(payload: InstallationTargetPayload, self_id: int | None) -> Intake:
    return Intake(touches=(Touch(TouchKind.INSTALLATION, InstallationId(payload.installation.id), None),))
