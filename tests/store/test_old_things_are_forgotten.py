"""Pruning, and that no usable secret ever reaches the disk."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from bot.domain.carried import Carried
from bot.domain.intake import InstallationChange, Intake, Touch, TouchKind
from bot.domain.model import AttemptId, IssueKey, Person
from bot.domain.sessions import SessionRecord
from bot.domain.workers import WorkerRecord, WorkerToken
from bot.protocols.ledger import Audit, CarriedRow, LockRow, OutboxRow
from bot.protocols.worker_ledger import BundleRow
from bot.store.backup import backup
from bot.store.engine import SqlStore
from bot.store.inbox import SqlInbox
from bot.store.ledger import SqlLedger
from bot.store.prune import CHUNK, prune
from bot.store.router import Router
from tests.store.support import (
    ISSUE,
    OTHER_TENANT,
    REPO,
    START,
    StillClock,
    a_repo,
    an_attempt,
    an_intent,
    an_item,
    ask,
    fail,
    fresh_store,
    url_of,
)

TOUCHING = Intake(touches=(Touch(TouchKind.REPO, REPO.installation, REPO.repo),))
DAY = timedelta(days=1)
OLGA = Person(1, "olga")


def a_session(id_: str, key: IssueKey) -> SessionRecord:
    return SessionRecord(id_, f"agent-{id_}", key.installation, key.repo, "person:1/olga", START, START)


async def test_routed_deliveries_go_after_a_week_with_their_words(store: SqlStore, path: Path) -> None:
    await SqlInbox(store).accept("guid", "issues", "opened", TOUCHING, b"somebody's words")
    await Router(store, fail).route_all()

    assert not await prune(store, START + 7 * DAY)
    assert (await prune(store, START + 8 * DAY)).rows == {"deliveries": 1}
    assert ask(path, "SELECT count(*) FROM deliveries") == [(0,)]


async def test_a_delivery_that_was_never_routed_is_kept_however_old_without_its_words(
    store: SqlStore, path: Path
) -> None:
    await SqlInbox(store).accept("guid", "issues", "opened", TOUCHING, b"somebody's words")

    pruned = await prune(store, START + 1_000 * DAY)
    assert (pruned.rows, pruned.bodies) == ({}, 1)
    assert ask(path, "SELECT guid, body, touches IS NULL FROM deliveries") == [("guid", None, 0)]


async def test_more_than_one_chunk_is_forgotten(store: SqlStore, path: Path) -> None:
    def many(tx: SqlLedger) -> None:
        for number in range(CHUNK + 3):
            tx.use_jti(f"jti-{number}", START)

    await store.write(many)

    assert (await prune(store, START + 2 * DAY)).rows == {"jtis": CHUNK + 3}
    assert ask(path, "SELECT count(*) FROM jtis") == [(0,)]


async def test_what_a_removed_installation_left_goes_after_a_month_and_nothing_of_others(
    store: SqlStore, path: Path, clock: StillClock
) -> None:
    other_issue = IssueKey(OTHER_TENANT.installation, OTHER_TENANT.repo, 7)

    def fill(tx: SqlLedger) -> None:
        tx.put_repo(a_repo(OTHER_TENANT))
        tx.insert_item(an_item(other_issue))
        for number, key in enumerate((ISSUE, other_issue)):
            id_ = AttemptId(f"att_{number}")
            tx.insert_attempt(replace(an_attempt(id_, key)))
            tx.put_token(hashlib.sha256(id_.encode()).hexdigest(), "heartbeat", id_, 1, START + 365 * DAY)
            tx.put_bundle(BundleRow(id_, "c" * 64, 10, START))
            tx.take_locks([LockRow(key.repo_key, "src/**", key.number, id_, START)])
            tx.put_intent(an_intent(f"comment:{number}:0", key))
            tx.plan(OutboxRow(f"act-{number}", "comment", key, key.repo_key, 1, START, None, None, 0))
            tx.audit(Audit(at=START, key=key, kind="claimed", actor="bot", cause="label"))
            tx.note_reply(key, 1, START + 30 * DAY)
            tx.put_thought_blob(key.repo_key, "b" * 40, "text")
            tx.mark(key)
            token = WorkerToken(f"wt{number}", "box", key.installation, (key.repo,), OLGA, START, START + DAY)
            tx.put_worker_token(token, hashlib.sha256(token.id.encode()).hexdigest())
            tx.put_worker(WorkerRecord(f"w{number}", key.installation, token.id, "box", START, START + 30 * DAY))
            tx.put_session(a_session(f"s{number}", key))
            tx.put_log(id_, "it crashed", START + 30 * DAY)

    await store.write(fill)
    removal = InstallationChange(REPO.installation, 5, "octo", active=False, removed=True)
    await SqlInbox(store).accept("guid", "installation", "deleted", Intake(installation=removal), None)
    await Router(store, fail).route_all()
    owners = ["items", "attempts", "locks", "intents", "outbox", "events", "replies", "thought_blobs", "repos"]
    owners += ["worker_tokens", "workers", "sessions"]

    assert (await prune(store, START + 30 * DAY)).installations == 0
    assert (await prune(store, START + 30 * DAY + timedelta(minutes=1))).installations == 1
    for table in owners:
        assert ask(path, f"SELECT DISTINCT installation FROM {table}") == [(2,)], table  # noqa: S608 - own words
    assert ask(path, "SELECT key FROM keys") == [(str(other_issue),)]
    assert ask(path, "SELECT attempt FROM tokens") == [("att_1",)]
    assert ask(path, "SELECT attempt FROM bundles") == [("att_1",)]
    assert ask(path, "SELECT attempt FROM logs") == [("att_1",)]


async def test_ended_sessions_go_after_a_week_and_logs_after_a_month(store: SqlStore) -> None:
    def fill(tx: SqlLedger) -> None:
        tx.put_session(a_session("s1", ISSUE))
        tx.put_session(replace(a_session("s2", ISSUE), terminated_at=START, why="no sign of life"))
        tx.put_log(AttemptId("att_1"), "it crashed", START)

    await store.write(fill)
    await prune(store, START + 8 * DAY)
    assert [one.id for one in await store.read(lambda tx: tx.sessions(REPO))] == ["s1"]
    assert await store.read(lambda tx: tx.log(AttemptId("att_1"))) == ("it crashed", START)
    await prune(store, START + 31 * DAY)
    assert await store.read(lambda tx: tx.log(AttemptId("att_1"))) is None


def everything_beside(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def remember(text: str, tx: SqlLedger) -> None:
    tx.put_token(text, "activate", AttemptId("att_1"), 1, START)


async def test_no_secret_reaches_database_log_or_backup(path: Path, clock: StillClock) -> None:
    secrets = [f"tgs_secret_{number}_0123456789abcdef" for number in range(20)]
    digests = [hashlib.sha256(secret.encode()).hexdigest() for secret in secrets]
    async with fresh_store(path, clock) as store:
        for secret, digest in zip(secrets, digests, strict=True):
            with pytest.raises(ValueError, match="SHA-256") as refused:
                await store.write(partial(remember, secret))
            assert secret not in str(refused.value)
            await store.write(partial(remember, digest))
        assert await store.write(lambda tx: tx.use_token(digests[0]))
        await store.write(lambda tx: tx.drop_tokens(AttemptId("att_2")))
        copy = backup(url_of(path), clock)
        contents = everything_beside(path)

    assert {path.name, f"{path.name}-wal", copy.name} <= set(contents)
    assert any(digests[0].encode() in raw for raw in contents.values()), "the search would find what is there"
    found = [(name, secret) for name, raw in contents.items() for secret in secrets if secret.encode() in raw]
    assert found == []


async def test_what_an_attempt_left_for_the_next_goes_after_thirty_days(store: SqlStore) -> None:
    attempt = AttemptId("att_1")

    def fill(tx: SqlLedger) -> None:
        for kind in Carried:
            tx.put_carried(CarriedRow(attempt, kind, "ab" * 32, 5, START), b"words")

    await store.write(fill)
    await prune(store, START + 30 * DAY)
    assert await store.read(lambda tx: tx.carried_bytes(attempt, Carried.TRANSCRIPT)) == b"words"
    await prune(store, START + 30 * DAY + timedelta(minutes=1))
    left = await store.read(
        lambda tx: [(tx.carried(attempt, kind), tx.carried_bytes(attempt, kind)) for kind in Carried]
    )
    assert left == [(None, None), (None, None)]


async def test_a_forgotten_body_is_gone_from_the_file_and_not_only_from_the_table(
    path: Path, clock: StillClock
) -> None:
    words = b"words that somebody wants back " * 300
    async with fresh_store(path, clock) as store:
        await SqlInbox(store).accept("guid", "issues", "opened", Intake(), words)
        await prune(store, START + 8 * DAY)

    assert words[:31] not in everything_beside(path)[path.name]
