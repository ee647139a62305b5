"""`meta`: the hook was deleted at GitHub; there is nothing to look at, the delivery itself is the log line."""

from __future__ import annotations

from bot.domain.intake import Intake
from bot.payloads import Payload
from handlers.reading import NOTHING


def handle(payload: Payload, self_id: int | None) -> Intake:
    return NOTHING
