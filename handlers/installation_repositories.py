"""`installation_repositories`: repositories were given to or taken from an installation."""

from __future__ import annotations

from bot.domain.intake import Intake
from bot.payloads import InstallationRepositoriesPayload
from handlers.reading import installation_change


def handle(payload: InstallationRepositoriesPayload, self_id: int | None) -> Intake:
    return installation_change(
        payload.installation, added=payload.repositories_added, taken=payload.repositories_removed
    )
