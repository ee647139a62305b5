"""`ping`: GitHub tests the address after a hook was made; the answer is all it wants."""

from __future__ import annotations

from bot.domain.intake import Intake
from bot.payloads import Payload
from handlers.reading import NOTHING


def handle(payload: Payload, self_id: int | None) -> Intake:
    return NOTHING
