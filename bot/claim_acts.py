"""The acts of an attempt's claim ref: make it, take it away.

Promise: both may be repeated. What is made carries the attempt's id and is the same each time; what is taken away is
only what carries that id. Race: the attempt may end while its ref is being made; it then stays marked as wanted, and
the release finds the ref by its id.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

from bot.domain.attempt import Attempt, ClaimMark, WorkerKind
from bot.domain.claim_record import MAX_LOCKS, ClaimRecord
from bot.domain.claiming import in_the_way
from bot.domain.effects import PublishClaim, ReleaseClaim
from bot.domain.locks import READ_PREFIX, LockMode
from bot.domain.model import AttemptId
from bot.protocols.github import GitHub
from bot.protocols.ledger import Ledger, Store


def current_attempt(tx: Ledger, attempt: AttemptId, fence: int) -> Attempt | None:
    """The attempt if it is live under this fence: everybody else's writes are refused."""
    found = tx.attempt(attempt)
    if found is None or not found.live or found.fence != fence:
        return None
    item = tx.item(found.key)
    return found if item is not None and item.fence == fence else None


class ClaimActs:
    """Carries out what was decided about claim refs."""

    def __init__(self, github: GitHub, store: Store) -> None:
        self._github = github
        self._store = store

    async def publish(self, act: PublishClaim) -> bool:
        """Make the attempt's claim ref.

        False: it is not ours, a path of it is claimed elsewhere, or the attempt is over; look before going on.
        """
        repo_key = act.key.repo_key
        attempt, repo, locks = await self._store.read(
            lambda tx: (current_attempt(tx, act.attempt, act.fence), tx.repo(repo_key), tx.locks(repo_key))
        )
        if attempt is None or repo is None:
            return False
        record = ClaimRecord(
            issue=act.key.number,
            claim_id=attempt.id,
            owner=repo.bot.login if repo.bot is not None else "bot",
            name=attempt.worker.name if attempt.worker.kind is not WorkerKind.ACTIONS else "",
            fence=attempt.fence,
            # Fixed by the attempt, so that a repetition publishes the same claim, and different for any other attempt.
            nonce=hashlib.sha256(f"{attempt.id}/{attempt.fence}".encode()).hexdigest(),
            made_at=attempt.claimed_at,
            branch=attempt.branch,
            base_sha=attempt.base_sha,
            locks=tuple(
                row.path if row.mode == LockMode.WRITE else f"{READ_PREFIX}{row.path}"
                for row in locks
                if row.issue == act.key.number
            )[:MAX_LOCKS],
        )
        if act.known is not None:
            there = await self._github.take_over_claim(act.key, record, act.known)
        else:
            there = await self._github.publish_claim(act.key, record)
        if there is None or there.record is None or there.record.claim_id != attempt.id:
            return False
        ref, oid = there.ref, there.oid
        # Only now can nobody claim a path unseen: whoever comes later finds our claim in turn.
        contested = bool(record.locks) and bool(in_the_way(record, await self._github.claim_refs(repo_key)))
        mark = ClaimMark.CONTESTED if contested else ClaimMark.HELD

        def note_it(tx: Ledger) -> bool:
            live = current_attempt(tx, act.attempt, act.fence)
            if live is None:
                return False
            return tx.save_attempt(live, replace(live, claim_mark=mark, claim_ref=ref, claim_oid=oid)) and not contested

        return await self._store.write(note_it)

    async def release(self, act: ReleaseClaim) -> None:
        """Delete the claim ref of an ended attempt wherever it is; what is not that attempt's stays."""
        for ref in await self._github.claim_ref(act.key):
            if ref.record is not None and ref.record.claim_id == act.attempt:
                await self._github.release_claim(act.key.repo_key, ref)

        def note_it(tx: Ledger) -> None:
            attempt = tx.attempt(act.attempt)
            if attempt is not None and not attempt.live:
                tx.save_attempt(attempt, replace(attempt, claim_mark=ClaimMark.RELEASED))

        await self._store.write(note_it)
