"""The secrets of attempts: kept as sums, looked up, and void with the worker token that a claim was won under.

Promise: one place decides for every call whom its secret speaks for. Whether the attempt is still live is the caller's
question (`current`), for some calls are answered after its end as well.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import datetime, timedelta

from bot.domain.attempt import Attempt
from bot.domain.identity import RunSecret
from bot.domain.model import AttemptId
from bot.errors import LostClaim
from bot.protocols.ledger import Ledger

HANDOFF_LIFE = timedelta(hours=2)
"""The agent's job may wait for a runner; after this long its single-use code is void."""

INVALID = "the token is not valid for this attempt"


def holder_of(tx: Ledger, attempt_id: str, token: str, now: datetime) -> Attempt:
    """The attempt that this token was given to, with the fence it was given for. Raises LostClaim."""
    known = tx.token(sum_of(token))
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


def admit(tx: Ledger, kind: RunSecret, secret: str, attempt: Attempt, until: datetime) -> None:
    """From now until then this secret opens what its kind opens of this attempt."""
    tx.put_token(sum_of(secret), kind.name, attempt.id, attempt.fence, until)


def opens(tx: Ledger, kind: RunSecret, secret: str, attempt: Attempt, now: datetime) -> bool:
    """Whether this secret opens now what its kind opens of this attempt."""
    known = tx.token(sum_of(secret))
    return known is not None and known[:3] == (kind.name, attempt.id, attempt.fence) and now <= known[3]


def current(tx: Ledger, attempt_id: str, fence: int) -> Attempt:
    """The live attempt under this fence. Raises LostClaim."""
    attempt = tx.attempt(AttemptId(attempt_id))
    if attempt is None or not attempt.live or attempt.fence != fence:
        raise LostClaim("the attempt is not current any more; stop, change nothing, and ask for the next item")
    return attempt


def sum_of(secret: str) -> str:
    """How a secret is kept: its SHA-256."""
    return hashlib.sha256(secret.encode()).hexdigest()
