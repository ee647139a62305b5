"""Of items that ended long ago their details go, on both databases; whatever could still matter stays."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import SQLAlchemyError

from bot.domain.attempt import AttemptPhase
from bot.domain.model import AttemptId, IssueKey, ItemState, Person, Snapshot
from bot.domain.talk import Message, MessageType, SenderType
from bot.domain.workers import WorkerRecord, WorkerToken
from bot.protocols.ledger import Audit, OutboxRow
from bot.store.chain import verify_at
from bot.store.engine import SqlStore, open_store
from bot.store.ledger import SqlLedger
from bot.store.migrate import prepare
from bot.store.prune import AS_USUAL, prune
from bot.store.replayed import unexplained_at
from bot.store.tables import METADATA
from tests.store.support import (
    ALICE,
    ISSUE,
    REPO,
    START,
    CountedIds,
    StillClock,
    a_repo,
    an_attempt,
    an_intent,
    an_item,
    url_of,
)

DAY = timedelta(days=1)
LIVING = IssueKey(REPO.installation, REPO.repo, 8)
ENDED_AT = START + DAY
PULL = IssueKey(REPO.installation, REPO.repo, 70)


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlStore]:
    """Holds an item that is done after three attempts and one that waits, each with all that belongs to an item."""
    async with open_store(url, StillClock(), CountedIds()) as opened:
        await opened.write(lambda tx: tx.put_repo(a_repo()))
        await opened.write(_done_and_waiting)
        yield opened


def _done_and_waiting(tx: SqlLedger) -> None:
    snapshot = Snapshot("A title", "Many words.", START, ALICE)
    done = replace(an_item(), state=ItemState.DONE, since=ENDED_AT, fence=3, snapshot=snapshot)
    assert tx.insert_item(done)
    assert tx.insert_item(replace(an_item(LIVING), state=ItemState.READY, fence=3, snapshot=snapshot))
    for key in (ISSUE, LIVING):
        _says(tx, key, "approved", None, "ready")
        for fence in (1, 2, 3):
            id_ = AttemptId(f"a{key.number}-{fence}")
            over = replace(an_attempt(id_, key), number=fence, fence=fence, phase=AttemptPhase.ENDED, ended_at=START)
            tx.insert_attempt(over)
            tx.reserve(id_, key, START, 1_000)
            tx.settle(id_, 100 * fence)
            _says(tx, key, "claimed", "in-progress" if fence > 1 else "ready", "in-progress", id_, fence)
            _says(tx, key, "attempt.ended", None, None, id_, fence)
        came = [("published", "in-progress", "in-review"), ("merged", "in-review", "done")]
        for kind, *moved in came if key == ISSUE else [("given_back", "in-progress", "ready")]:
            _says(tx, key, kind, *moved)
        said = Message(key, SenderType.HUMAN, "alice", MessageType.REQUEST, "Hello", START, comment_id=key.number)
        tx.put_message(said)
        tx.plan(OutboxRow(f"said {key.number}", "comment", key, REPO, None, START, START, "5", 0))
        tx.put_intent(an_intent(f"comment:{key.number}:0", key))
        tx.settle_intent(f"comment:{key.number}:0", "done", START)
    tx.put_intent(an_intent("comment:9:0", LIVING))
    tx.plan(OutboxRow("on a pull request", "comment", PULL, REPO, None, START, START, "6", 0))
    tx.plan(OutboxRow("for a plan", "issue", None, REPO, None, START, START, "7", 0))
    tx.audit(Audit(START, REPO, "paused", "alice", "/tgs pause"))
    # What is newest of all stays, so that its number does not come again.
    tx.audit(Audit(START + 401 * DAY, REPO, "paused", "alice", "/tgs pause"))
    news = Message(LIVING, SenderType.HUMAN, "alice", MessageType.REQUEST, "News", START, comment_id=99)
    tx.put_message(news)
    token = WorkerToken("wt", "box", REPO.installation, (REPO.repo,), Person(1, "olga"), START, START + DAY)
    tx.put_worker_token(token, "0" * 64)
    tx.put_worker(WorkerRecord("w", REPO.installation, "wt", "box", START, START))


def _says(tx: SqlLedger, key: IssueKey, kind: str, *what: str | int | None) -> None:
    """`what`: the states before and after, and the attempt with its fence."""
    tx.audit(Audit(START, key, kind, "bot", "x", *what))  # type: ignore[arg-type]


async def rows(store: SqlStore, *names: str) -> dict[str, int]:
    def count(tx: SqlLedger) -> dict[str, int]:
        tables = {name: METADATA.tables[name] for name in names}
        return {
            name: tx.connection.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in tables.items()
        }

    return await store.read(count)


def fits(url: str) -> bool:
    """Whether `tgs db verify` would be content."""
    return not verify_at(url).broken and not unexplained_at(url)


async def test_details_of_what_ended_go_when_they_are_old_and_nothing_of_what_lives(store: SqlStore, url: str) -> None:
    whole = verify_at(url)
    assert fits(url)
    acts = await prune(store, START + 32 * DAY)
    # The open command stays, and so does the act of the item that lives.
    assert acts.rows == {"intents": 2, "outbox": 2, "workers": 1}
    assert not await prune(store, ENDED_AT + 400 * DAY, replace(AS_USUAL, history=None)), "0 days: for ever"
    assert not await prune(store, START + 400 * DAY), "a day too early"

    pruned = await prune(store, ENDED_AT + 401 * DAY)
    assert pruned.rows == {
        "worker_tokens": 1, "events": 10, "spending": 2, "attempts": 2, "messages": 1,
    }  # fmt: skip
    assert await rows(store, "items", "attempts", "messages", "outbox", "intents") == {
        "items": 2, "attempts": 4, "messages": 2, "outbox": 2, "intents": 1,
    }  # fmt: skip
    assert fits(url)
    after = verify_at(url)
    assert (after.lines, after.removed) == (whole.lines - 10, 10)
    item, last, spent = await store.read(lambda tx: (tx.item(ISSUE), tx.last_attempt(ISSUE), tx.spent_on(ISSUE)))
    assert item is not None
    assert (item.state, item.fence, item.revision) == (ItemState.DONE, 3, an_item().revision + 1)
    assert item.snapshot is not None
    assert (item.snapshot.approver, item.snapshot.body) == (ALICE, "")
    assert last is not None
    assert (last.number, spent) == (3, 600)
    assert not await prune(store, ENDED_AT + 402 * DAY), "once is enough"


async def test_an_item_that_is_taken_up_again_has_one_history(store: SqlStore, url: str) -> None:
    await prune(store, ENDED_AT + 401 * DAY)
    later = ENDED_AT + 402 * DAY

    def again(tx: SqlLedger) -> None:
        item = tx.item(ISSUE)
        assert item is not None
        assert tx.save_item(item, replace(item, state=ItemState.READY, since=later))
        tx.audit(Audit(later, ISSUE, "approved", "alice", "label", "done", "ready"))

    await store.write(again)
    assert verify_at(url).broken == ()
    # The table does not allow the move; the replay says so, because it knows the state from before.
    assert unexplained_at(url) == ("octo/widgets#7: line 1 (approved): does not lead from done to ready",)


TAMPERING = {
    "a line was changed": "UPDATE events SET actor = 'somebody' WHERE kind = 'merged'",
    "a line was taken out": "DELETE FROM events WHERE number = 7 AND kind = 'published'",
    "the state was written over": "UPDATE items SET state = 'failed' WHERE number = 7",
}


@pytest.mark.parametrize("statement", TAMPERING.values(), ids=TAMPERING.keys())
async def test_a_history_that_does_not_fit_is_kept_as_evidence(tmp_path: Path, statement: str) -> None:
    url = url_of(tmp_path / "tgs.db")
    prepare(url, StillClock())
    async with open_store(url, StillClock(), CountedIds()) as store:
        await store.write(lambda tx: tx.put_repo(a_repo()))
        await store.write(_done_and_waiting)

        def past_the_bot(tx: SqlLedger) -> None:
            tx.connection.execute(text("DROP TRIGGER events_no_update"))
            tx.connection.execute(text("DROP TRIGGER events_no_delete"))
            tx.connection.execute(text(statement))

        await store.write(past_the_bot)
        pruned = await prune(store, ENDED_AT + 401 * DAY)
        assert (pruned.rows["events"], "attempts" in pruned.rows) == (1, False), "that of the repository alone"
        assert not fits(url)


async def test_history_cannot_be_deleted_before_it_is_written_down_what_it_came_to(store: SqlStore) -> None:
    for table in ("number = 7", "number IS NULL"):
        with pytest.raises(SQLAlchemyError, match="append-only"):
            await store.write(lambda tx, where=table: tx.connection.execute(text(f"DELETE FROM events WHERE {where}")))  # type: ignore[misc] # noqa: S608 - own words


async def test_what_is_under_way_is_left_alone_however_long_ago_its_item_ended(store: SqlStore) -> None:
    await store.write(lambda tx: tx.put_intent(an_intent("comment:10:0", ISSUE)))
    pruned = await prune(store, ENDED_AT + 401 * DAY)
    assert (pruned.rows["events"], "attempts" in pruned.rows) == (1, False), "that of the repository alone"


async def test_the_newest_line_and_message_stay_so_that_no_number_comes_twice(store: SqlStore, url: str) -> None:
    """And a repository's own history goes line by line."""
    assert (await prune(store, START + 2_000 * DAY)).rows["events"] == 9 + 1
    assert await store.read(lambda tx: [(line.at - START).days for line in tx.history(REPO)]) == [401]
    newest, message = await store.read(lambda tx: (tx.last_event(), tx.last_message()))
    await store.write(lambda tx: tx.audit(Audit(START + 2_001 * DAY, REPO, "resumed", "alice", "/tgs resume")))
    assert await store.read(lambda tx: tx.last_event()) > newest
    assert (await prune(store, START + 2_002 * DAY)).rows == {"events": 1}
    assert await store.read(lambda tx: tx.last_message()) == message
    assert fits(url)
