"""`installation`: the App was installed, removed, suspended, resumed, or its new permissions were accepted."""

from __future__ import annotations

from bot.domain.intake import Intake
from bot.payloads import InstallationPayload
from handlers.reading import installation_change


def handle(payload: InstallationPayload, self_id: int | None) -> Intake:
    repositories = payload.repositories or ()
    match payload.action:
        case "deleted":
            return installation_change(payload.installation, removed=True, active=False, taken=repositories)
        case "suspend":
            return installation_change(payload.installation, active=False)
        case "unsuspend":
            return installation_change(payload.installation, active=True, added=repositories)
        case _:
            return installation_change(payload.installation, added=repositories)
