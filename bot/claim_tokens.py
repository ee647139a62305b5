"""Whom an attempt's token speaks for: looked up by its sum, and void with the worker token that it was won under.

Promise: one place decides it for every call that carries such a token. Whether the attempt is still live is the
caller's question, for some calls are answered after its end as well.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime

from bot.domain.attempt import Attempt
from bot.domain.identity import RunSecret
from bot.domain.model import AttemptId
from bot.errors import LostClaim
from bot.protocols.ledger import Ledger

INVALID = "the token is not valid for this attempt"


def holder_of(tx: Ledger, attempt_id: str, token: str, now: datetime) -> Attempt:
    """The attempt that this token was given to, with the fence it was given for. Raises LostClaim."""
    known = tx.token(hashlib.sha256(token.encode()).hexdigest())
    if (
        known is None
        or known[0] != RunSecret.ATTEMPT.name
        or not hmac.compare_digest(known[1].encode(), attempt_id.encode())
        or known[3] < now
    ):
        raise LostClaim(INVALID)
    attempt = tx.attempt(AttemptId(attempt_id))
    if attempt is None or attempt.fence != known[2]:
        raise LostClaim(INVALID)
    session = tx.session_of(attempt.id)
    if session is not None and session.terminated_at is not None:
        raise LostClaim(f"the session of this claim has ended ({session.why})")
    under = attempt.worker.token_id
    if under is not None:
        worker_token = tx.worker_token_by_id(attempt.key.installation, under)
        if worker_token is None or not worker_token.good(now):
            raise LostClaim("the worker token of this claim was revoked or has expired; stop and change nothing")
    return attempt
