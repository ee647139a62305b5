"""`check_suite`: the checks of a commit changed; look at the commit's item again.

Dropped when we caused it: creating our own check run makes GitHub send this event, and answering it would
create the next one.
"""

from __future__ import annotations

from bot.domain.intake import Intake
from bot.payloads import CheckSuitePayload
from handlers.reading import NOTHING, head_touch, own


def handle(payload: CheckSuitePayload, self_id: int | None) -> Intake:
    return NOTHING if own(payload, self_id) else head_touch(payload, payload.check_suite.head_sha)
