"""What the ledger promises holds on PostgreSQL as on SQLite; what differs is how the database is reached and lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from bot.domain.attempt import AttemptPhase
from bot.domain.intents import Intent, IntentSource
from bot.domain.model import IssueKey, ItemState, RepoId, RepoKey
from bot.errors import SettingsError
from bot.protocols.ledger import Audit, DuplicateLiveAttempt, LockRow, OutboxRow
from bot.store.chain import Verified, verify_at
from bot.store.engine import SqlStore, open_store
from bot.store.errors import StoreUnavailable
from bot.store.ledger import SqlLedger
from bot.store.migrate import current, downgrade, head, prepare
from tests.databases import PostgresqlServer
from tests.store.support import (
    ALICE,
    ISSUE,
    OTHER_TENANT,
    REPO,
    START,
    CountedIds,
    StillClock,
    a_repo,
    an_attempt,
    an_item,
)


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    """Holds one repository with one item."""
    async with open_store(url, StillClock(), CountedIds()) as opened:
        await opened.write(lambda tx: tx.put_repo(a_repo()))
        assert await opened.write(lambda tx: tx.insert_item(an_item()))
        yield opened


async def test_an_error_of_the_database_does_not_show_what_was_to_be_written(store: SqlStore) -> None:
    def write(tx: SqlLedger) -> None:
        tx.connection.execute(text("INSERT INTO nowhere VALUES (:words)"), {"words": "somebody's words"})

    with pytest.raises(SQLAlchemyError) as error:
        await store.write(write)
    assert "somebody's words" not in str(error.value)


async def test_what_rests_is_due_only_when_something_points_at_it(store: SqlStore) -> None:
    other = replace(ISSUE, number=ISSUE.number + 1)

    def rest(tx: SqlLedger) -> frozenset[IssueKey]:
        tx.mark(other)
        for key in (ISSUE, other):
            tx.rest(key, START - timedelta(hours=1))
        return tx.at_rest_since([ISSUE, other], START)

    assert await store.write(rest) == {ISSUE}
    row = await store.read(lambda tx: tx.key_row(str(ISSUE)))
    assert row is not None
    assert not row.due(START + timedelta(days=1))

    def touch(tx: SqlLedger) -> frozenset[IssueKey]:
        tx.touch(ISSUE)
        return tx.at_rest_since([ISSUE, other], START)

    assert await store.write(touch) == frozenset()


async def test_records_come_back_equal(store: SqlStore) -> None:
    item = replace(an_item(), revision=1, title="Tür \U0001f6aa", priority=100, not_before=START + timedelta(hours=1))
    attempt = replace(an_attempt(), cancel_requested_at=START)
    intent = Intent("comment:1:0", ISSUE, IntentSource.COMMENT, "stop", ("now",), ALICE, START, comment_id=1)
    act = OutboxRow("once", "comment", ISSUE, REPO, 1, START, None, "words", -1)
    line = Audit(START, ISSUE, "claimed", "alice", "label", detail={"why": "because"})

    def write(tx: SqlLedger) -> None:
        assert tx.save_item(an_item(), item)
        tx.insert_attempt(attempt)
        tx.take_locks([LockRow(REPO, "src/", ISSUE.number, attempt.id, START)])
        assert tx.put_intent(intent)
        assert tx.plan(act)
        tx.audit(line)
        tx.put_token("0" * 64, "ATTEMPT", attempt.id, 1, START)

    await store.write(write)

    def read(tx: SqlLedger) -> list[object]:
        return [
            tx.repo(REPO), tx.item(ISSUE), tx.live_attempt(ISSUE), tx.open_intents(ISSUE), tx.outbox("once"),
            tx.history(ISSUE), tx.locks(REPO)[0].path, tx.token("0" * 64),
        ]  # fmt: skip

    assert await store.read(read) == [
        a_repo(), item, attempt, [intent], act, [line], "src/", ("ATTEMPT", attempt.id, 1, START)
    ]  # fmt: skip


async def test_what_is_there_is_not_written_twice(store: SqlStore) -> None:
    intent = Intent("comment:1:0", ISSUE, IntentSource.COMMENT, "stop", (), ALICE, START)
    act = OutboxRow("once", "comment", ISSUE, REPO, 1, START, None, None, 0)
    told = [
        await store.write(
            lambda tx: (tx.put_intent(intent), tx.plan(act), tx.use_jti("j", START), tx.insert_item(an_item()))
        )
        for _ in range(2)
    ]
    assert told == [(True, True, True, False), (False, False, False, False)]


async def test_commands_that_were_heeded_are_found_by_when_they_were_written(store: SqlStore) -> None:
    minute = timedelta(minutes=1)
    outcomes = {0: "done", 1: "done", 2: "denied", 3: "already_so", 4: None}

    def write(tx: SqlLedger) -> None:
        for number, outcome in outcomes.items():
            id_ = f"comment:{number}:0"
            tx.put_intent(Intent(id_, ISSUE, IntentSource.COMMENT, "stop", (), ALICE, START + number * minute))
            if outcome is not None:
                tx.settle_intent(id_, outcome, START)

    await store.write(write)
    found = await store.read(lambda tx: tx.heeded_intents(ISSUE, START + minute, {"done", "already_so"}))
    assert sorted(intent.id for intent in found) == ["comment:1:0", "comment:3:0"]


async def test_a_second_live_attempt_is_refused_and_the_unit_may_go_on(store: SqlStore) -> None:
    await store.write(lambda tx: tx.insert_attempt(an_attempt()))

    def second(tx: SqlLedger) -> AttemptPhase | None:
        with pytest.raises(DuplicateLiveAttempt):
            tx.insert_attempt(replace(an_attempt(), id="other", fence=2))  # type: ignore[arg-type]
        live = tx.live_attempt(ISSUE)
        return live.phase if live is not None else None

    assert await store.write(second) is AttemptPhase.CLAIMED


def always() -> bool:
    return True


async def test_a_single_statement_is_committed_by_itself_or_with_what_waits(store: SqlStore) -> None:
    other, third = a_repo(OTHER_TENANT), a_repo(RepoKey(REPO.installation, RepoId(30)), "octo/gadgets")
    before = store.commits
    await store.put(lambda tx: tx.put_repo(other), always)
    assert store.commits == before + 1
    assert await store.read(lambda tx: tx.repo(OTHER_TENANT)) == other

    begun, waiting = threading.Event(), threading.Event()
    held = asyncio.create_task(store.write(lambda _: begun.set() or waiting.wait(10)))
    await asyncio.to_thread(begun.wait, 10)
    both = asyncio.gather(store.put(lambda tx: tx.put_repo(third), always), store.write(lambda tx: tx.mark(REPO)))
    await asyncio.sleep(0)
    waiting.set()
    await asyncio.gather(held, both)
    assert store.commits == before + 3
    assert await store.read(lambda tx: tx.repo(third.key)) == third


async def test_a_single_statement_that_is_refused_fails_alone(store: SqlStore) -> None:
    nameless = text("INSERT INTO repos (installation, repo) VALUES (1, 99)")
    with pytest.raises(IntegrityError):
        await store.put(lambda tx: tx.connection.execute(nameless), always)
    with pytest.raises(LookupError):
        await store.put(lambda _: {}["nothing"], always)

    await store.put(lambda tx: tx.put_repo(a_repo(OTHER_TENANT)), always)
    assert await store.read(lambda tx: tx.repo(OTHER_TENANT)) == a_repo(OTHER_TENANT)


async def test_a_stale_save_changes_nothing_and_a_failed_unit_leaves_its_neighbours_alone(store: SqlStore) -> None:
    assert not await store.write(lambda tx: tx.save_item(replace(an_item(), revision=7), replace(an_item(), title="x")))

    def broken(tx: SqlLedger) -> None:
        tx.mark(REPO)
        raise RuntimeError("no")

    marked: list[str] = []
    store.on_marked(lambda key, *_, **__: marked.append(key))
    done = await asyncio.gather(
        store.write(broken), store.write(lambda tx: tx.mark(ISSUE)), store.write(broken), return_exceptions=True
    )
    assert [type(found) for found in done] == [RuntimeError, type(None), RuntimeError]
    assert marked == [str(ISSUE)]
    found = await store.read(lambda tx: tx.item(ISSUE))
    assert found is not None
    assert (found.title, found.state) == (an_item().title, ItemState.READY)


async def test_a_read_cannot_write(store: SqlStore) -> None:
    with pytest.raises(Exception, match=r"(?i)read.?only"):
        await store.read(lambda tx: tx.mark(IssueKey(ISSUE.installation, ISSUE.repo, 99)))
    await store.write(lambda tx: tx.mark(ISSUE))


async def test_history_cannot_be_changed(store: SqlStore) -> None:
    await store.write(lambda tx: tx.audit(Audit(START, ISSUE, "claimed", "alice", "label")))
    for statement in ("UPDATE events SET actor = 'mallory'", "DELETE FROM events"):
        with pytest.raises(Exception, match="append-only"):
            await store.write(lambda tx, s=statement: tx.connection.exec_driver_sql(s))
    assert len(await store.read(lambda tx: tx.history(ISSUE))) == 1


async def test_history_fits_together(url: str, store: SqlStore) -> None:
    for detail in (None, {"b": "ü", "a": "1"}):
        await store.write(lambda tx, d=detail: tx.audit(Audit(START, ISSUE, "claimed", "alice", "label", detail=d)))  # type: ignore[misc]
    assert verify_at(url) == Verified(2, 0, ())


async def test_a_second_process_is_told_who_has_it(url: str, store: SqlStore) -> None:
    with pytest.raises(SettingsError, match="in use by another process"):
        open_store(url, StillClock(), CountedIds())


def test_the_schema_goes_up_and_down(postgresql: PostgresqlServer) -> None:
    url = postgresql.fresh(migrated=False)
    assert current(url) is None
    assert prepare(url, StillClock()).after == head()
    assert prepare(url, StillClock()).changed is False
    assert downgrade(url, "base", StillClock()).after is None
    assert prepare(url, StillClock()).after == head()


async def test_a_restart_of_the_server_costs_a_failed_call_and_nothing_else(postgresql: PostgresqlServer) -> None:
    url = postgresql.fresh()
    async with open_store(url, StillClock(), CountedIds()) as store:
        await store.write(lambda tx: tx.put_repo(a_repo()))
        postgresql.end_connections(url)
        results = await asyncio.gather(
            *(store.write(lambda tx: tx.mark(REPO)) for _ in range(3)), return_exceptions=True
        )
        assert all(isinstance(found, StoreUnavailable | type(None)) for found in results)
        await store.write(lambda tx: tx.mark(REPO))
        reads = await asyncio.gather(*(store.read(lambda tx: tx.repo(REPO)) for _ in range(4)), return_exceptions=True)
        assert {type(found) for found in reads} <= {StoreUnavailable, type(a_repo())}
        assert await store.read(lambda tx: tx.repo(REPO)) == a_repo()


async def test_two_writers_who_looked_at_the_same_rows_do_not_both_win(postgresql: PostgresqlServer) -> None:
    """Both see no lock on the path and take it; one of them runs again and sees the other's."""
    import psycopg

    url = postgresql.fresh()
    async with open_store(url, StillClock(), CountedIds()) as store:
        await store.write(lambda tx: tx.put_repo(a_repo()))
        await store.write(lambda tx: tx.insert_item(an_item()))
        looks = 0

        def take(tx: SqlLedger) -> int:
            nonlocal looks
            looks += 1
            before = len(tx.locks(REPO))
            if looks == 1:
                with psycopg.connect(url) as rival:
                    rival.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
                    assert rival.execute("SELECT count(*) FROM locks").fetchone() == (0,)
                    rival.execute(
                        "INSERT INTO locks VALUES (%s, %s, 'src/', %s, 'rival', 0, 'write')",
                        (REPO.installation, REPO.repo, ISSUE.number),
                    )
            if before == 0:
                tx.take_locks([LockRow(REPO, "src/auth/", ISSUE.number, an_attempt().id, START)])
            return before

        assert await store.write(take) == 1
        assert looks == 2
        assert [row.path for row in await store.read(lambda tx: tx.locks(REPO))] == ["src/"]


WRONG = {
    "a server that does not answer": ("postgresql://u:hunter2@127.0.0.1:1/db", "cannot be reached"),
    "an address that is none": ("postgresql://u:hunter2@host:port/db", "cannot be read"),
    "another kind of database": ("mysql://u:hunter2@host/db", "not supported"),
}


@pytest.mark.parametrize(("address", "says"), WRONG.values(), ids=WRONG)
def test_a_wrong_address_is_said_without_the_password(address: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        open_store(address, StillClock(), CountedIds())
    assert "hunter2" not in str(caught.value)
