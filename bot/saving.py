"""A decision's records, written in one transaction: all of them, or none when anything changed meanwhile.

Promises: a decision that was made on older records changes nothing; what it wants said is planned with it, so that a
crash right after the commit loses no promised word; the invariants of the key are checked before the commit.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from bot.domain.attempt import Attempt
from bot.domain.budget import settled
from bot.domain.effects import (
    Save,
)
from bot.domain.model import IssueKey, Key
from bot.domain.notes import to_json
from bot.invariants import check
from bot.protocols.ledger import Audit, DuplicateLiveAttempt, Ledger, LockRow, OutboxRow

LATE_WORDS = timedelta(minutes=1)
"""By then words are said unless something went wrong; sooner would look twice for nothing."""


class StaleDecision(Exception):
    """The ledger changed since the decision was made; nothing of it was written."""


def _settle(tx: Ledger, before: Attempt, after: Attempt) -> None:
    """What an attempt that ends has cost takes the place of its reservation."""
    if before.live and not after.live:
        cost = tx.cost(after.id)
        if cost is not None:
            tx.settle(after.id, settled(after, cost.reserved))


def write_save(tx: Ledger, key: Key, save: Save, now: datetime) -> None:
    """The whole save or nothing. Raises StaleDecision, which rolls the transaction back."""
    if save.item_before != save.item_after and save.item_after is not None:
        if save.item_before is None:
            fresh = tx.insert_item(save.item_after)
        else:
            fresh = tx.save_item(save.item_before, save.item_after)
        if not fresh:
            raise StaleDecision(str(key))
    if save.attempt_before != save.attempt_after:
        assert save.attempt_before is not None
        assert save.attempt_after is not None
        if not tx.save_attempt(save.attempt_before, save.attempt_after):
            raise StaleDecision(str(key))
        _settle(tx, save.attempt_before, save.attempt_after)
    if save.opened is not None:
        opened = save.opened
        try:
            tx.insert_attempt(opened)
        except DuplicateLiveAttempt:
            raise StaleDecision(str(key)) from None
        tx.take_locks(
            [
                LockRow(opened.key.repo_key, lock.path, opened.key.number, opened.id, now, mode=lock.mode.value)
                for lock in save.take_locks
            ]
        )
    for before, question in save.questions:
        saved = tx.insert_question(question) if before is None else tx.save_question(before, question)
        if not saved:
            raise StaleDecision(str(key))
    for steer in save.steers:
        tx.put_steer(steer)
    for told in save.told_steers:
        tx.tell_steer(told)
    if save.repo_before != save.repo_after:
        assert save.repo_before is not None
        assert save.repo_after is not None
        if not tx.save_repo(save.repo_before, save.repo_after):
            raise StaleDecision(str(key))
    policy_hash = save.repo_after.policy_hash if save.repo_after is not None else ""
    for line in save.history:
        tx.audit(
            Audit(
                at=now,
                key=key,
                kind=line.kind,
                actor=line.actor,
                cause=line.cause,
                from_state=line.from_state.value if line.from_state else None,
                to_state=line.to_state.value if line.to_state else None,
                attempt=line.attempt,
                fence=line.fence,
                policy_hash=policy_hash,
            )
        )
    for intent_id, outcome, answer in save.settled:
        tx.settle_intent(intent_id, outcome, now, None if answer is None else to_json(answer))
    for intent_id in save.retried:
        tx.retry_intent(intent_id)
    if isinstance(key, IssueKey):
        for person in save.replied:
            tx.note_reply(key, person, now)
        if save.free_locks:
            tx.free_locks(key)
        check(tx, key, save)
    for seen in save.sighted:
        assert isinstance(key, IssueKey)
        tx.sight(key.repo_key, seen, now)
    for other in save.wake:
        tx.mark(other)
    for said in save.words:
        # Planned with the decision: what was promised is said even when this process ends before it could be.
        tx.plan(OutboxRow(said.once, "comment", said.key, said.key.repo_key, None, now, None, to_json(said.note), -1))
        if said.key != key:
            # This key may never be looked at again on behalf of that one; a look there says what is still unsaid.
            tx.mark(said.key, at=now + LATE_WORDS)
