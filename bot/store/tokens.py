"""Tokens of workers and ids of OIDC tokens: only SHA-256 sums are kept, and each single use is won by one caller."""

from __future__ import annotations

import re
from datetime import datetime

from sqlalchemy import bindparam, delete, select, update

from bot.domain.model import AttemptId
from bot.store.dialect import insert_new
from bot.store.tables import jtis, tokens
from bot.store.verbs import Verbs

SHA256 = re.compile(r"[0-9a-f]{64}")

_UNUSED = select(tokens).where(tokens.c.sha256 == bindparam("of"), tokens.c.used_at.is_(None))


class TokenVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about tokens."""

    def put_token(self, sha256: str, purpose: str, attempt: AttemptId, fence: int, expires_at: datetime) -> None:
        """Raises ValueError, without showing the text, when it is no SHA-256 sum in lower-case hexadecimal."""
        if not SHA256.fullmatch(sha256):
            raise ValueError("only the SHA-256 sum of a token may be stored (64 lower-case hexadecimal digits)")
        insert_new(
            self.connection,
            tokens,
            {"sha256": sha256, "purpose": purpose, "attempt": attempt, "fence": fence, "expires_at": expires_at},
        )

    def token(self, sha256: str) -> tuple[str, AttemptId, int, datetime] | None:
        """(purpose, attempt, fence, end of life) of a token that was not consumed. The caller checks the time."""
        row = self.connection.execute(_UNUSED, {"of": sha256}).one_or_none()
        return None if row is None else (row.purpose, AttemptId(row.attempt), row.fence, row.expires_at)

    def use_token(self, sha256: str) -> bool:
        statement = (
            update(tokens).where(tokens.c.sha256 == sha256, tokens.c.used_at.is_(None)).values(used_at=self.clock.now())
        )
        return self.connection.execute(statement).rowcount == 1

    def drop_tokens(self, attempt: AttemptId) -> None:
        self.connection.execute(delete(tokens).where(tokens.c.attempt == attempt))

    def use_jti(self, jti: str, expires_at: datetime) -> bool:
        return insert_new(self.connection, jtis, {"jti": jti, "expires_at": expires_at})
