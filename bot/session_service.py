"""Keeps sessions: opened by a claim or by hand, kept alive by signs of life, ended by the rule or by their owner.

Promises: the end is a decision that every look repeats, so a process that was down misses none; with its end whatever
the session's claim still wants is refused, and only therefore is the item given to somebody else. Races: a sign of life
and the end may meet; the one that is committed first counts, and the other is told.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from bot.domain.model import RepoKey
from bot.domain.repository import RepoRecord
from bot.domain.sessions import Fate, SessionRecord, SessionStatus, fate, limits_of, look_at, reason, status_of
from bot.errors import LostClaim, Refused
from bot.policies import policy_of
from bot.protocols.clock import Clock, Ids
from bot.protocols.ledger import Audit, Ledger, Store

ENDED = "this session has ended; open a fresh one"


@dataclass(frozen=True, slots=True)
class SessionNow:
    """A session as it is now."""

    session: SessionRecord
    status: SessionStatus
    draining: bool


class SessionService:
    """The life of sessions."""

    def __init__(self, store: Store, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids

    async def create(self, repo: RepoRecord, owner: str, session_id: str, worker: str | None = None) -> SessionNow:
        """Open a session; the same id of the same owner is the same session. Raises Refused for one that is taken."""
        now = self._clock.now()
        fresh = SessionRecord(
            self._ids.new("s")[:33], session_id, repo.key.installation, repo.key.repo, owner, now, now, worker=worker
        )

        def write(tx: Ledger) -> SessionNow:
            session = join(tx, fresh, now)
            return look(tx, session, now)

        return await self._store.write(write)

    async def list(self, repo: RepoRecord) -> list[SessionNow]:
        """The sessions of the repository, oldest first."""
        now = self._clock.now()
        return await self._store.read(lambda tx: [look(tx, session, now) for session in tx.sessions(repo.key)])

    async def get_session_mapping(self, repo: RepoRecord) -> dict[str, int]:
        """Which item each open session works on: the agent's id of the session → the issue's number."""
        found = await self._store.read(lambda tx: tx.sessions(repo.key, open_only=True))
        return {session.session_id: session.number for session in found if session.number is not None}

    async def update_activity(self, repo: RepoRecord, owner: str, id_: str) -> SessionNow:
        """A sign of life. Raises LostClaim when the session is over or somebody else's."""
        now = self._clock.now()

        limits = limits_of(policy_of(repo))

        def write(tx: Ledger) -> SessionNow | None:
            session = _own(tx, repo.key, owner, id_)
            if fate(session, limits, now, working=working(tx, session)) is Fate.TERMINATE:
                end(tx, session, now, reason(session, limits, now))
                return None
            return look(tx, touch(tx, session, now), now)

        found = await self._store.write(write)
        if found is None:
            raise LostClaim(ENDED)
        return found

    async def should_terminate(self, repo: RepoRecord, id_: str) -> bool:
        """Whether the rule ends it now."""
        now = self._clock.now()
        found = next((one for one in await self.list(repo) if one.session.id == id_), None)
        if found is None:
            return False
        return await self._store.read(
            lambda tx: (
                fate(found.session, limits_of(policy_of(repo)), now, working=working(tx, found.session))
                is Fate.TERMINATE
            )
        )

    async def terminate(self, repo: RepoRecord, id_: str, why: str) -> SessionNow | None:
        """End it now; what its claim still wants is refused from here on. None: there is no such session."""
        now = self._clock.now()

        def write(tx: Ledger) -> SessionNow | None:
            session = next((one for one in tx.sessions(repo.key) if one.id == id_), None)
            return None if session is None else look(tx, end(tx, session, now, why), now)

        return await self._store.write(write)

    async def keep(self, repo: RepoRecord) -> datetime | None:
        """End the sessions of the repository whose time is over; when to look again."""
        now, limits = self._clock.now(), limits_of(policy_of(repo))

        def write(tx: Ledger) -> datetime | None:
            times: list[datetime] = []
            for session in tx.sessions(repo.key, open_only=True):
                busy = working(tx, session)
                if fate(session, limits, now, working=busy) is Fate.TERMINATE:
                    end(tx, session, now, reason(session, limits, now))
                else:
                    times.append(look_at(session, limits, now, working=busy))
            return min(times, default=None)

        if not await self._store.read(lambda tx: tx.sessions(repo.key, open_only=True)):
            return None
        return await self._store.write(write)


# --- inside a transaction ----------------------------------------------------------------------------


def working(tx: Ledger, session: SessionRecord) -> bool:
    """Whether the session's claim is live."""
    attempt = None if session.attempt is None else tx.attempt(session.attempt)
    return attempt is not None and attempt.live


def look(tx: Ledger, session: SessionRecord, now: datetime) -> SessionNow:
    """The session as it is now."""
    repo = tx.repo(session.repo_key)
    assert repo is not None
    limits, busy = limits_of(policy_of(repo)), working(tx, session)
    draining = fate(session, limits, now, working=busy) is not Fate.KEEP
    return SessionNow(session, status_of(session, limits, now, working=busy), draining)


def join(tx: Ledger, fresh: SessionRecord, now: datetime) -> SessionRecord:
    """The session of this id, opened now when there is none. Raises Refused when it cannot take anything new."""
    repo = tx.repo(fresh.repo_key)
    assert repo is not None
    limits = limits_of(policy_of(repo))
    if tx.put_session(fresh):
        tx.mark(repo.key, at=look_at(fresh, limits, now, working=True))
        return fresh
    known = tx.session_named(fresh.installation, fresh.session_id)
    if known is None or known.repo != fresh.repo or not known.owned_by(fresh.owner):
        raise Refused("This session id belongs to somebody else.", "Use another one.")
    if fate(known, limits, now, working=True) is not Fate.KEEP:
        raise Refused("This session has ended or is too old for anything new.", "Open a fresh one.")
    return touch(tx, known, now)


def touch(tx: Ledger, session: SessionRecord, now: datetime) -> SessionRecord:
    """A sign of life."""
    after = replace(session, last_activity_at=now)
    tx.save_session(after)
    return after


def end(tx: Ledger, session: SessionRecord, now: datetime, why: str) -> SessionRecord:
    """The end, in the item's history; the item is looked at, for its claim is over too."""
    if session.terminated_at is not None:
        return session
    after = replace(session, terminated_at=now, why=why)
    tx.save_session(after)
    key = session.issue_key
    if key is not None and working(tx, session):
        tx.audit(Audit(now, key, "session.terminated", session.owner.split("/", 1)[-1], why, attempt=session.attempt))
        tx.mark(key, priority=1)
    return after


def _own(tx: Ledger, repo: RepoKey, owner: str, id_: str) -> SessionRecord:
    found = next((one for one in tx.sessions(repo) if one.id == id_ and one.owned_by(owner)), None)
    if found is None:
        raise LostClaim("there is no such session of yours")
    if found.terminated_at is not None:
        raise LostClaim(ENDED)
    return found
