"""Rows of uploaded bundles: one for each attempt, forgotten with its end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from bot.domain.attempt import AttemptPhase
from bot.domain.model import AttemptId
from bot.protocols.worker_ledger import BundleRow
from bot.store.engine import SqlStore
from tests.store.support import START, an_attempt

FIRST = BundleRow(AttemptId("att_1"), "a" * 64, 10, START)
SECOND = BundleRow(AttemptId("att_1"), "b" * 64, 20, START + timedelta(minutes=1))
STRAY = BundleRow(AttemptId("att_gone"), "c" * 64, 30, START)


async def test_a_bundle_is_replaced_and_spent_when_its_attempt_is_over(store: SqlStore) -> None:
    await store.write(lambda tx: tx.insert_attempt(an_attempt()))
    assert await store.write(lambda tx: tx.put_bundle(FIRST)) is True
    assert await store.write(lambda tx: tx.put_bundle(SECOND)) is False
    assert await store.read(lambda tx: tx.bundle(FIRST.attempt)) == SECOND
    await store.write(lambda tx: tx.put_bundle(STRAY))
    assert await store.read(lambda tx: tx.spent_bundles()) == [STRAY.attempt]
    attempt = await store.read(lambda tx: tx.attempt(FIRST.attempt))
    assert attempt is not None
    await store.write(lambda tx: tx.save_attempt(attempt, replace(attempt, phase=AttemptPhase.ENDED, ended_at=START)))
    assert set(await store.read(lambda tx: tx.spent_bundles())) == {FIRST.attempt, STRAY.attempt}
    await store.write(lambda tx: tx.drop_bundles(tx.spent_bundles()))
    assert await store.read(lambda tx: tx.bundles()) == []
    assert await store.read(lambda tx: tx.bundle(FIRST.attempt)) is None
