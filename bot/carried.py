"""Keeps what one attempt leaves for the next: the agent's conversation, and the work so far.

Promises: byte for byte what was sent, with its SHA-256, in the ledger's own database, so that every replica and every
backup has it; forgotten after 30 days. Only the live attempt writes its own, and only the attempt that goes on with it
reads it. Races: two uploads of one attempt end with the bytes of one of them; what was uploaded stays when the report
about it is lost, and is of no use to anybody then.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

from bot.domain.attempt import Attempt
from bot.domain.carried import KEEP_CARRIED, Carried, cap_of
from bot.errors import LostClaim, UserError
from bot.protocols.clock import Clock
from bot.protocols.ledger import Audit, CarriedRow, Ledger, Store

UPLOAD_SECONDS = 300.0
"""The largest conversation over a slow line takes a minute or two; a stalled upload must not hold memory for ever."""

AT_ONCE = 4
"""Uploads that are taken at the same time: each is held in memory, and the next one can wait."""


class CarriedService:
    """What attempts leave, of one process."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def keep(
        self, attempt: Attempt, kind: Carried, chunks: AsyncIterator[bytes], announced: int | None
    ) -> CarriedRow:
        """Store what the attempt's worker sends. `announced` is how many bytes it said it would send.

        Raises UserError for too many bytes or none, LostClaim when the attempt ended meanwhile.
        """
        cap = cap_of(kind)
        if announced is not None and announced > cap:
            raise _too_large(cap)
        async with self._turns:
            try:
                async with asyncio.timeout(UPLOAD_SECONDS):
                    data = await _read(chunks, cap)
            except TimeoutError:
                raise UserError(f"The upload took longer than {UPLOAD_SECONDS:.0f} seconds.", "Try again.") from None
            digest = await asyncio.to_thread(lambda: hashlib.sha256(data).hexdigest())
            row = CarriedRow(attempt.id, kind, digest, len(data), self._clock.now())

            def put(tx: Ledger) -> None:
                fresh = tx.attempt(attempt.id)
                if fresh is None or not fresh.live or fresh.fence != attempt.fence or fresh.report is not None:
                    raise LostClaim("the attempt is not current any more; stop and change nothing")
                known = tx.carried(attempt.id, kind)
                tx.put_carried(row, data)
                if known is None or known.sha256 != digest:
                    tx.audit(_line(attempt, row))

            await self._store.write(put)
        return row

    async def give(self, attempt: Attempt, kind: Carried) -> tuple[CarriedRow, bytes] | None:
        """What the attempt that this one goes on with has left; None when there is nothing (any more)."""
        asker = attempt.resumes
        if asker is None:
            return None

        def read(tx: Ledger) -> tuple[CarriedRow, bytes] | None:
            row, data = tx.carried(asker, kind), tx.carried_bytes(asker, kind)
            return None if row is None or data is None else (row, data)

        return await self._store.read(read)


def _line(attempt: Attempt, row: CarriedRow) -> Audit:
    """The history keeps what was left, after the bytes themselves are gone."""
    return Audit(
        at=row.at,
        key=attempt.key,
        kind=f"{row.kind.value}.kept",
        actor=attempt.worker.name,
        cause=f"sha256 {row.sha256}",
        attempt=attempt.id,
        fence=attempt.fence,
        policy_hash=attempt.policy_hash,
        detail={"sha256": row.sha256, "bytes": str(row.size), "until": (row.at + KEEP_CARRIED).isoformat()},
    )


async def _read(chunks: AsyncIterator[bytes], cap: int) -> bytes:
    found = bytearray()
    async for chunk in chunks:
        found += chunk
        if len(found) > cap:
            raise _too_large(cap)
    if not found:
        raise UserError("There is nothing in it.", "Send the file as the body of the request.")
    return bytes(found)


def _too_large(cap: int) -> UserError:
    return UserError(f"It is larger than the limit of {cap} bytes.", "Go on without it.")
