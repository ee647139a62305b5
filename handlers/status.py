"""`status`: a commit status was set; look at the commit's item again."""

from __future__ import annotations

from bot.domain.intake import Intake
from bot.payloads import StatusPayload
from handlers.reading import head_touch


def handle(payload: StatusPayload, self_id: int | None) -> Intake:
    return head_touch(payload, payload.sha)
