"""Pull workers and their tokens: only SHA-256 sums of tokens are kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, select, update

from bot.domain.model import InstallationId
from bot.domain.workers import WorkerRecord, WorkerToken
from bot.store.dialect import insert_new
from bot.store.tables import worker_tokens, workers
from bot.store.tokens import SHA256
from bot.store.verbs import Verbs

_TOKEN = select(worker_tokens).where(worker_tokens.c.sha256 == bindparam("of"))
_TOKEN_USED = update(worker_tokens).where(worker_tokens.c.id == bindparam("of")).values(last_used_at=bindparam("at"))
_WORKERS = (
    select(workers)
    .where(workers.c.installation == bindparam("installation"))
    .order_by(workers.c.created_at, workers.c.id)
)
_WORKERS_HEARD = _WORKERS.where(workers.c.last_heartbeat_at >= bindparam("since"), workers.c.removed_at.is_(None))


def _token_of(row: Row[Any]) -> WorkerToken:
    return WorkerToken(
        id=row.id,
        name=row.name,
        installation=InstallationId(row.installation),
        repos=row.repos,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        max_claims=row.max_claims,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )


def _worker_of(row: Row[Any]) -> WorkerRecord:
    return WorkerRecord(
        id=row.id,
        installation=InstallationId(row.installation),
        token_id=row.token_id,
        name=row.name,
        created_at=row.created_at,
        last_heartbeat_at=row.last_heartbeat_at,
        kind=row.kind,
        capabilities=row.capabilities,
        slots=row.slots,
        local_path=row.local_path,
        last_error=row.last_error,
        draining_since=row.draining_since,
        removed_at=row.removed_at,
    )


class WorkerVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about pull workers."""

    def put_worker_token(self, token: WorkerToken, sha256: str) -> None:
        """Raises ValueError, without showing the text, when it is no SHA-256 sum in lower-case hexadecimal."""
        if not SHA256.fullmatch(sha256):
            raise ValueError("only the SHA-256 sum of a token may be stored (64 lower-case hexadecimal digits)")
        insert_new(
            self.connection,
            worker_tokens,
            {
                "id": token.id,
                "sha256": sha256,
                "name": token.name,
                "installation": token.installation,
                "repos": token.repos,
                "created_by": token.created_by,
                "created_at": token.created_at,
                "expires_at": token.expires_at,
                "max_claims": token.max_claims,
            },
        )

    def worker_token(self, sha256: str) -> WorkerToken | None:
        """The token of this sum, whether good or not. The caller checks."""
        row = self.connection.execute(_TOKEN, {"of": sha256}).one_or_none()
        return None if row is None else _token_of(row)

    def worker_token_by_id(self, installation: InstallationId, id_: str) -> WorkerToken | None:
        """The token with this id, whether good or not."""
        query = select(worker_tokens).where(worker_tokens.c.installation == installation, worker_tokens.c.id == id_)
        row = self.connection.execute(query).one_or_none()
        return None if row is None else _token_of(row)

    def worker_tokens(self, installation: InstallationId) -> list[WorkerToken]:
        """All tokens of the installation, oldest first."""
        query = (
            select(worker_tokens)
            .where(worker_tokens.c.installation == installation)
            .order_by(worker_tokens.c.created_at, worker_tokens.c.id)
        )
        return [_token_of(row) for row in self.connection.execute(query)]

    def revoke_worker_token(self, installation: InstallationId, id_: str, at: datetime) -> bool:
        """True for the call that revoked it."""
        statement = (
            update(worker_tokens)
            .where(
                worker_tokens.c.installation == installation,
                worker_tokens.c.id == id_,
                worker_tokens.c.revoked_at.is_(None),
            )
            .values(revoked_at=at)
        )
        return self.connection.execute(statement).rowcount == 1

    def note_token_used(self, id_: str, at: datetime) -> None:
        self.connection.execute(_TOKEN_USED, {"of": id_, "at": at})

    def put_worker(self, worker: WorkerRecord) -> bool:
        """False when the id is known already."""
        return insert_new(self.connection, workers, {"id": worker.id, **_values(worker)})

    def worker(self, installation: InstallationId, id_: str) -> WorkerRecord | None:
        query = select(workers).where(workers.c.installation == installation, workers.c.id == id_)
        row = self.connection.execute(query).one_or_none()
        return None if row is None else _worker_of(row)

    def workers(self, installation: InstallationId, *, since: datetime | None = None) -> list[WorkerRecord]:
        """Registered workers, oldest first; with `since` those that were heard since then and are still registered."""
        query = _WORKERS if since is None else _WORKERS_HEARD
        given = {"installation": installation, "since": since}
        return [_worker_of(row) for row in self.connection.execute(query, given)]

    def save_worker(self, worker: WorkerRecord) -> None:
        """The newest word about a worker is the true one: only the worker itself and its drain write here."""
        self.connection.execute(
            update(workers)
            .where(workers.c.installation == worker.installation, workers.c.id == worker.id)
            .values(**_values(worker))
        )


def _values(worker: WorkerRecord) -> dict[str, Any]:
    return {
        "installation": worker.installation,
        "token_id": worker.token_id,
        "name": worker.name,
        "kind": worker.kind,
        "capabilities": worker.capabilities,
        "slots": worker.slots,
        "local_path": worker.local_path,
        "last_error": worker.last_error,
        "created_at": worker.created_at,
        "last_heartbeat_at": worker.last_heartbeat_at,
        "draining_since": worker.draining_since,
        "removed_at": worker.removed_at,
    }
