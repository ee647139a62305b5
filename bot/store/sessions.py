"""Sessions of people and pull workers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, bindparam, select, update

from bot.domain.model import AttemptId, InstallationId, RepoId, RepoKey
from bot.domain.sessions import SessionRecord
from bot.store.dialect import insert_new
from bot.store.tables import sessions
from bot.store.verbs import Verbs, given, in_given_repo

_ALL = select(sessions).where(in_given_repo(sessions)).order_by(sessions.c.created_at, sessions.c.id)
_OPEN = _ALL.where(sessions.c.terminated_at.is_(None))
_OF_ATTEMPT = select(sessions).where(sessions.c.attempt == bindparam("of")).limit(1)


class SessionVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about sessions."""

    def put_session(self, session: SessionRecord) -> bool:
        """False when the agent's id is known already in this installation."""
        return insert_new(self.connection, sessions, {"id": session.id, **_values(session)})

    def save_session(self, session: SessionRecord) -> None:
        """A session that has ended stays as it is."""
        self.connection.execute(
            update(sessions)
            .where(
                sessions.c.installation == session.installation,
                sessions.c.id == session.id,
                sessions.c.terminated_at.is_(None),
            )
            .values(**_values(session))
        )

    def sessions(self, repo: RepoKey, *, open_only: bool = False) -> list[SessionRecord]:
        """Those of the repository, oldest first."""
        rows = self.connection.execute(_OPEN if open_only else _ALL, given(repo))
        return [_session_of(row) for row in rows]

    def session_named(self, installation: InstallationId, session_id: str) -> SessionRecord | None:
        """By the agent's own id."""
        query = select(sessions).where(sessions.c.installation == installation, sessions.c.session_id == session_id)
        row = self.connection.execute(query).one_or_none()
        return None if row is None else _session_of(row)

    def session_of(self, attempt: AttemptId) -> SessionRecord | None:
        """The session whose claim this attempt is."""
        row = self.connection.execute(_OF_ATTEMPT, {"of": attempt}).one_or_none()
        return None if row is None else _session_of(row)


def _session_of(row: Row[Any]) -> SessionRecord:
    return SessionRecord(
        id=row.id,
        session_id=row.session_id,
        installation=InstallationId(row.installation),
        repo=RepoId(row.repo),
        owner=row.owner,
        created_at=row.created_at,
        last_activity_at=row.last_activity_at,
        number=row.number,
        attempt=None if row.attempt is None else AttemptId(row.attempt),
        worker=row.worker,
        terminated_at=row.terminated_at,
        why=row.why,
    )


def _values(session: SessionRecord) -> dict[str, Any]:
    return {
        "session_id": session.session_id,
        "installation": session.installation,
        "repo": session.repo,
        "number": session.number,
        "attempt": session.attempt,
        "worker": session.worker,
        "owner": session.owner,
        "created_at": session.created_at,
        "last_activity_at": session.last_activity_at,
        "terminated_at": session.terminated_at,
        "why": session.why,
    }
