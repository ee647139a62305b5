"""Registered pull workers: they say what they can do, give signs of life, and are told what to do with what they have.

Promises: a worker is known under the token it registered with, and to nobody else's; what it is doing is derived from
facts each time. A worker that drains gets nothing new and is forgotten once its last attempt has ended. Race: an
attempt may end while its worker speaks of it; the answer then says that it is lost, and the worker stops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bot.domain.attempt import Attempt
from bot.domain.attempting import HEARTBEAT, LEASE
from bot.domain.model import InstallationId, ItemState
from bot.domain.repository import RepoRecord
from bot.domain.workers import WorkerRecord, WorkerStatus, WorkerToken, status_of
from bot.errors import LostClaim
from bot.protocols.clock import Clock, Ids
from bot.protocols.ledger import Ledger, Store
from bot.run_service import RunService


@dataclass(frozen=True, slots=True)
class Seen:
    """A worker as it is now, with its live attempts."""

    worker: WorkerRecord
    status: WorkerStatus
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Word:
    """What a worker is told about one of its attempts. `lost`: it is not the worker's any more."""

    attempt: str
    fence: int
    lost: bool = False
    lease_until: datetime | None = None
    cancel: bool = False
    steer: tuple[str, ...] = ()
    drain: bool = False


_Wanted = Callable[[Ledger, WorkerRecord], bool]
"""A condition on workers, inside a transaction."""


class WorkerService:
    """Registration and signs of life."""

    heartbeat = HEARTBEAT
    lease = LEASE

    def __init__(self, store: Store, clock: Clock, ids: Ids, runs: RunService) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._runs = runs

    async def register(
        self, token: WorkerToken, name: str, capabilities: tuple[str, ...], slots: int, local_path: str | None
    ) -> Seen:
        """Make a worker known under this token."""
        now = self._clock.now()
        worker = WorkerRecord(
            id=self._ids.new("w")[:33],
            installation=token.installation,
            token_id=token.id,
            name=name,
            created_at=now,
            last_heartbeat_at=now,
            capabilities=capabilities,
            slots=slots,
            local_path=local_path,
        )
        await self._store.write(lambda tx: tx.put_worker(worker))
        return Seen(worker, WorkerStatus.IDLE, ())

    async def worker(self, token: WorkerToken, id_: str) -> WorkerRecord:
        """The worker of this id. Raises LostClaim when it is not registered under this token any more."""
        return await self._store.read(lambda tx: _own(tx, token, id_))

    async def of_token(self, token: WorkerToken) -> list[Seen]:
        """The workers registered under this token, oldest first."""
        return await self._seen(token.installation, lambda _, worker: worker.token_id == token.id)

    async def of_repo(self, repo: RepoRecord) -> list[Seen]:
        """The workers whose token opens this repository, oldest first."""

        def serves(tx: Ledger, worker: WorkerRecord) -> bool:
            token = tx.worker_token_by_id(worker.installation, worker.token_id)
            return token is not None and token.opens(repo.key)

        return await self._seen(repo.key.installation, serves)

    async def _seen(self, installation: InstallationId, mine: _Wanted) -> list[Seen]:
        now = self._clock.now()
        return await self._store.read(
            lambda tx: [
                _look(tx, worker, now)
                for worker in tx.workers(installation)
                if worker.removed_at is None and mine(tx, worker)
            ]
        )

    async def hear(
        self, token: WorkerToken, id_: str, working_on: Sequence[tuple[str, int]], error: str | None = None
    ) -> tuple[Seen, list[Word]]:
        """A worker's sign of life, with attempts and their fences, whose leases it extends.

        Raises LostClaim when it is not registered under this token any more.
        """
        now = self._clock.now()

        def write(tx: Ledger) -> Seen:
            known = _own(tx, token, id_)
            after = replace(known, last_heartbeat_at=now, last_error=error)
            if known.draining_since is not None and not _live_of(tx, known):
                after = replace(after, removed_at=now)
            tx.save_worker(after)
            return _look(tx, after, now)

        seen = await self._store.write(write)
        mine = {str(attempt.id) for attempt in seen.attempts}
        words = []
        for attempt_id, fence in working_on:
            words.append(await self._word(attempt_id, fence, known=attempt_id in mine))
        return seen, words

    async def _word(self, attempt_id: str, fence: int, *, known: bool) -> Word:
        if not known:
            return Word(attempt_id, fence, lost=True)
        try:
            beat = await self._runs.heartbeat(attempt_id, fence, None, speaks=False)
        except LostClaim:
            return Word(attempt_id, fence, lost=True)
        return Word(attempt_id, fence, False, beat.lease_until, beat.cancel, beat.steer, beat.drain)

    async def drain(self, installation: InstallationId, id_: str) -> Seen | None:
        """Give it nothing new; it is forgotten when its last attempt has ended. None: there is no such worker."""
        now = self._clock.now()

        def write(tx: Ledger) -> Seen | None:
            known = tx.worker(installation, id_)
            if known is None or known.removed_at is not None:
                return None
            busy = bool(_live_of(tx, known))
            after = replace(known, draining_since=known.draining_since or now, removed_at=None if busy else now)
            tx.save_worker(after)
            return _look(tx, after, now)

        return await self._store.write(write)


def _look(tx: Ledger, worker: WorkerRecord, now: datetime) -> Seen:
    attempts = _live_of(tx, worker)
    states: list[tuple[Attempt, ItemState]] = []
    for attempt in attempts:
        item = tx.item(attempt.key)
        states.append((attempt, item.state if item is not None else ItemState.CANCELLED))
    return Seen(worker, status_of(worker, states, now), tuple(attempts))


def _live_of(tx: Ledger, worker: WorkerRecord) -> list[Attempt]:
    return [attempt for attempt in tx.live_attempts_of(worker.token_id) if attempt.worker.id == worker.id]


def _own(tx: Ledger, token: WorkerToken, id_: str) -> WorkerRecord:
    known = tx.worker(token.installation, id_)
    if known is None or known.token_id != token.id or known.removed_at is not None:
        raise LostClaim("this worker is not registered any more; register it again")
    return known
