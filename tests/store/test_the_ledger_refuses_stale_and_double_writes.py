"""Revisions, fences and unique indexes: what the database itself refuses, whoever asks."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from bot.domain.attempt import Attempt, AttemptPhase, WorkerReport
from bot.domain.model import AttemptId, FailureReason, IssueKey, ItemState
from bot.domain.repository import Pause
from bot.protocols.ledger import Audit, DuplicateLiveAttempt, LockRow, OutboxRow
from bot.store.engine import SqlStore
from bot.store.ledger import SqlLedger
from bot.store.migrate import prepare
from bot.store.sqlite import connect
from tests.effort import by_effort, more
from tests.store.support import (
    ISSUE,
    OTHER_TENANT,
    REPO,
    START,
    StillClock,
    a_pull,
    a_repo,
    an_attempt,
    an_intent,
    an_item,
    ask,
    tell,
    url_of,
)

ROUNDS = by_effort(150, 1_000, 1_000)
CLAIMERS = 50


async def test_a_save_on_a_stale_revision_changes_nothing(store: SqlStore) -> None:
    before = an_item()
    first = await store.write(lambda tx: tx.save_item(before, replace(before, title="first")))
    second = await store.write(lambda tx: tx.save_item(before, replace(before, title="second")))
    stored = await store.read(lambda tx: tx.item(ISSUE))

    assert (first, second) == (True, False)
    assert stored == replace(before, title="first", revision=1)


async def test_a_save_writes_only_what_changed_so_that_a_note_beside_it_stays(store: SqlStore) -> None:
    before = an_item()
    waiting = (("slots", (("running", "1"),)),)

    assert await store.write(lambda tx: tx.set_waiting(ISSUE, waiting, 3))
    assert await store.write(lambda tx: tx.save_item(before, replace(before, title="new")))

    stored = await store.read(lambda tx: tx.item(ISSUE))
    assert stored is not None
    assert (stored.title, stored.position, stored.waiting[0].code) == ("new", 3, "slots")


async def test_the_same_waiting_reasons_are_no_change(store: SqlStore) -> None:
    waiting = (("locked", (("path", "src/**"),)),)

    assert await store.write(lambda tx: tx.set_waiting(ISSUE, waiting, 1))
    assert not await store.write(lambda tx: tx.set_waiting(ISSUE, waiting, 1))
    assert await store.write(lambda tx: tx.set_waiting(ISSUE, (), None))
    assert not await store.write(lambda tx: tx.set_waiting(replace(ISSUE, number=99), waiting, 1))


async def test_a_repository_is_put_once_and_saved_by_revision(store: SqlStore) -> None:
    repo = a_repo()
    paused = replace(repo, pause=Pause("alice", "freeze", START))
    await store.write(lambda tx: tx.put_repo(replace(repo, full_name="somebody/else")))

    assert await store.read(lambda tx: tx.repo(REPO)) == repo
    assert await store.write(lambda tx: tx.save_repo(repo, paused))
    assert not await store.write(lambda tx: tx.save_repo(repo, paused))
    assert await store.read(lambda tx: tx.repo_by_name("Octo/Widgets")) == replace(paused, revision=1)


async def test_a_name_that_moved_to_another_installation_finds_the_active_one(store: SqlStore) -> None:
    await store.write(lambda tx: tx.put_repo(replace(a_repo(OTHER_TENANT), active=False)))
    found = await store.read(lambda tx: tx.repo_by_name("octo/widgets"))

    assert found is not None
    assert found.key == REPO


@pytest.mark.parametrize(
    ("fence", "phase"),
    [
        pytest.param(2, AttemptPhase.CLAIMED, id="a second live attempt"),
        pytest.param(1, AttemptPhase.ENDED, id="an ended attempt with a used fence"),
    ],
)
async def test_an_attempt_is_refused(store: SqlStore, fence: int, phase: AttemptPhase) -> None:
    await store.write(lambda tx: tx.insert_attempt(an_attempt()))

    with pytest.raises(DuplicateLiveAttempt):
        await store.write(lambda tx: tx.insert_attempt(replace(an_attempt("att_2", fence=fence), phase=phase)))
    assert await store.read(lambda tx: len(tx.attempts(ISSUE))) == 1


async def test_after_the_end_of_one_attempt_the_next_can_begin(store: SqlStore) -> None:
    first = an_attempt()
    await store.write(lambda tx: tx.insert_attempt(first))
    await store.write(lambda tx: tx.save_attempt(first, replace(first, phase=AttemptPhase.ENDED, ended_at=START)))
    await store.write(lambda tx: tx.insert_attempt(an_attempt("att_2", fence=2)))

    live = await store.read(lambda tx: tx.live_attempt(ISSUE))
    last = await store.read(lambda tx: tx.last_attempt(ISSUE))
    assert live is not None
    assert live.id == "att_2"
    assert last == live


async def test_an_attempt_is_saved_only_under_its_own_fence(store: SqlStore) -> None:
    attempt = an_attempt()
    await store.write(lambda tx: tx.insert_attempt(attempt))
    paused_replica = replace(attempt, fence=9)

    assert not await store.write(
        lambda tx: tx.save_attempt(paused_replica, replace(paused_replica, phase=AttemptPhase.RUNNING))
    )
    with pytest.raises(ValueError, match="fence"):
        await store.write(lambda tx: tx.save_attempt(attempt, replace(attempt, fence=2)))
    assert await store.read(lambda tx: tx.attempt(attempt.id)) == attempt


async def test_an_attempt_is_found_by_run_branch_and_repository(store: SqlStore) -> None:
    attempt = replace(an_attempt(run_id=55), dispatched_at=START)
    await store.write(lambda tx: tx.insert_attempt(attempt))

    def look(tx: SqlLedger) -> tuple[object, ...]:
        return (
            tx.attempt_of_run(REPO, 55),
            tx.attempt_of_branch(REPO, attempt.branch),
            tx.live_attempts(REPO),
            tx.count_dispatches(REPO, START),
            tx.attempt_of_run(OTHER_TENANT, 55),
            tx.live_attempts(OTHER_TENANT),
            tx.count_dispatches(REPO, START + timedelta(seconds=1)),
        )

    assert await store.read(look) == (attempt, attempt, [attempt], 1, None, [], 0)


async def test_an_item_exists_once_per_issue_and_once_per_thought(store: SqlStore) -> None:
    mirrored = an_item(IssueKey(REPO.installation, REPO.repo, 8), thought="tgs/thoughts/abc-door")
    again = an_item(IssueKey(REPO.installation, REPO.repo, 9), thought="tgs/thoughts/abc-door")

    assert await store.write(lambda tx: tx.insert_item(mirrored))
    assert not await store.write(lambda tx: tx.insert_item(again))
    assert not await store.write(lambda tx: tx.insert_item(an_item()))
    assert await store.read(lambda tx: tx.item_of_thought(REPO, "tgs/thoughts/abc-door")) == mirrored
    assert await store.read(lambda tx: tx.count_mirrored(REPO, START)) == 1
    assert await store.read(lambda tx: tx.count_mirrored(REPO, START + timedelta(seconds=1))) == 0


async def test_items_are_listed_by_state_and_found_by_pull(store: SqlStore) -> None:
    before = an_item()
    after = replace(before, state=ItemState.IN_REVIEW, pull=a_pull(70))
    await store.write(lambda tx: tx.save_item(before, after))

    assert await store.read(lambda tx: [item.key for item in tx.items(REPO, states=["in-review"])]) == [ISSUE]
    assert await store.read(lambda tx: tx.items(REPO, states=["ready"])) == []
    assert await store.read(lambda tx: tx.item_of_pull(REPO, 70)) == ISSUE
    assert await store.read(lambda tx: tx.item_of_pull(OTHER_TENANT, 70)) is None
    with pytest.raises(ValueError, match="nonsense"):
        await store.read(lambda tx: tx.items(REPO, states=["nonsense"]))


async def test_an_intent_is_stored_and_settled_once_and_read_in_the_order_of_the_people(store: SqlStore) -> None:
    late = an_intent("comment:9:0", at=START + timedelta(minutes=1))
    second_line, first_line = an_intent("comment:5:1"), an_intent("comment:5:0")

    for intent in (late, first_line, second_line):
        assert await store.write(partial(SqlLedger.put_intent, intent=intent))
    assert not await store.write(lambda tx: tx.put_intent(replace(late, verb="stop")))
    assert await store.read(lambda tx: tx.open_intents(ISSUE)) == [first_line, second_line, late]
    await store.write(lambda tx: tx.retry_intent(late.id))
    assert await store.write(lambda tx: tx.settle_intent(first_line.id, "done", START))
    assert not await store.write(lambda tx: tx.settle_intent(first_line.id, "refused", START))
    assert await store.read(lambda tx: tx.open_intents(ISSUE)) == [second_line, replace(late, attempts=1)]


async def test_a_planned_act_is_planned_once_and_never_forgotten_once_done(store: SqlStore) -> None:
    row = OutboxRow("comment/7/1", "comment", ISSUE, REPO, 1, START, None, None, 0)

    assert await store.write(lambda tx: tx.plan(row))
    assert not await store.write(lambda tx: tx.plan(row))
    await store.write(lambda tx: tx.outbox_retry(row.key))
    await store.write(lambda tx: tx.outbox_done(row.key, "123", START))
    await store.write(lambda tx: tx.outbox_done(row.key, "456", START))
    await store.write(lambda tx: tx.outbox_drop(row.key))

    assert await store.read(lambda tx: tx.outbox(row.key)) == replace(row, tries=1, done_at=START, result="123")


async def test_a_second_try_waits_anew_for_its_trace(store: SqlStore, clock: StillClock) -> None:
    row = OutboxRow("comment/7/1", "comment", ISSUE, REPO, 1, START, None, None, 0)
    await store.write(lambda tx: tx.plan(row))
    clock.advance(timedelta(minutes=3))
    await store.write(lambda tx: tx.outbox_retry(row.key))

    assert await store.read(lambda tx: tx.outbox(row.key)) == replace(row, tries=1, planned_at=clock.now())


async def test_a_planned_act_that_did_not_happen_can_be_planned_again(store: SqlStore) -> None:
    row = OutboxRow("dispatch/1", "dispatch", None, REPO, None, START, None, None, 0)
    await store.write(lambda tx: tx.plan(row))
    await store.write(lambda tx: tx.outbox_drop(row.key))

    assert await store.write(lambda tx: tx.plan(row))


async def test_locks_move_to_the_next_attempt_and_keep_their_age(store: SqlStore) -> None:
    def lock(attempt: str, hours: int) -> LockRow:
        return LockRow(REPO, "src/**", ISSUE.number, AttemptId(attempt), START + timedelta(hours=hours))

    await store.write(lambda tx: tx.take_locks([lock("att_1", 0)]))
    await store.write(lambda tx: tx.take_locks([lock("att_2", 5)]))

    assert await store.read(lambda tx: tx.locks(REPO)) == [lock("att_2", 0)]
    assert await store.read(lambda tx: tx.locks(OTHER_TENANT)) == []
    assert await store.write(lambda tx: tx.free_locks(ISSUE)) == 1
    assert await store.write(lambda tx: tx.free_locks(ISSUE)) == 0


async def test_history_is_read_per_key_and_its_newest_lines_come_last(store: SqlStore) -> None:
    def line(kind: str) -> Audit:
        return Audit(at=START, key=ISSUE, kind=kind, actor="alice", cause="label")

    for kind in ("one", "two", "three"):
        await store.write(partial(SqlLedger.audit, line=line(kind)))
    await store.write(lambda tx: tx.audit(replace(line("of the repository"), key=REPO)))

    assert await store.read(lambda tx: [found.kind for found in tx.history(ISSUE, 2)]) == ["two", "three"]
    assert await store.read(lambda tx: [found.kind for found in tx.history(REPO)]) == ["of the repository"]


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("UPDATE events SET actor = 'mallory'", id="a change"),
        pytest.param("DELETE FROM events", id="a removal"),
    ],
)
async def test_history_refuses(store: SqlStore, path: Path, statement: str) -> None:
    await store.write(lambda tx: tx.audit(Audit(at=START, key=ISSUE, kind="k", actor="alice", cause="label")))

    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        tell(path, statement)
    assert ask(path, "SELECT actor FROM events") == [("alice",)]


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("UPDATE items SET state = 'queued'", id="a state"),
        pytest.param("UPDATE attempts SET phase = 'zombie'", id="a phase"),
    ],
)
async def test_a_word_outside_the_closed_set_is_refused(store: SqlStore, path: Path, statement: str) -> None:
    await store.write(lambda tx: tx.insert_attempt(an_attempt()))

    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        tell(path, statement)


async def test_replies_are_remembered_per_person_and_item(store: SqlStore) -> None:
    await store.write(lambda tx: tx.note_reply(ISSUE, 100, START))
    await store.write(lambda tx: tx.note_reply(ISSUE, 100, START - timedelta(hours=2)))

    assert await store.read(lambda tx: tx.has_replied(ISSUE, 100, START))
    assert not await store.read(lambda tx: tx.has_replied(ISSUE, 100, START + timedelta(seconds=1)))
    assert not await store.read(lambda tx: tx.has_replied(ISSUE, 101, START))


async def test_a_single_use_token_is_won_by_one_of_many(store: SqlStore) -> None:
    digest = "ab" * 32
    await store.write(lambda tx: tx.put_token(digest, "activate", AttemptId("att_1"), 1, START))

    assert await store.read(lambda tx: tx.token(digest)) == ("activate", "att_1", 1, START)
    wins = await asyncio.gather(*(store.write(lambda tx: tx.use_token(digest)) for _ in range(20)))
    assert sum(wins) == 1
    assert await store.read(lambda tx: tx.token(digest)) is None


async def test_an_oidc_token_id_counts_once(store: SqlStore) -> None:
    wins = await asyncio.gather(*(store.write(lambda tx: tx.use_jti("jti-1", START)) for _ in range(20)))

    assert sum(wins) == 1


async def test_dropping_an_attempts_tokens_leaves_others(store: SqlStore) -> None:
    await store.write(lambda tx: tx.put_token("aa" * 32, "heartbeat", AttemptId("att_1"), 1, START))
    await store.write(lambda tx: tx.put_token("bb" * 32, "heartbeat", AttemptId("att_2"), 1, START))
    await store.write(lambda tx: tx.drop_tokens(AttemptId("att_1")))

    assert await store.read(lambda tx: tx.token("aa" * 32)) is None
    assert await store.read(lambda tx: tx.token("bb" * 32)) is not None


async def test_a_report_with_a_head_is_searchable_by_it(store: SqlStore, path: Path) -> None:
    attempt = an_attempt()
    report = WorkerReport(succeeded=False, at=START, reason=FailureReason.AGENT_CRASH, head_sha="d" * 40)
    await store.write(lambda tx: tx.insert_attempt(attempt))
    await store.write(lambda tx: tx.save_attempt(attempt, replace(attempt, report=report)))

    assert ask(path, "SELECT head_sha FROM attempts") == [("d" * 40,)]


# --- the claim race


def claim(tx: SqlLedger, attempt: Attempt) -> bool:
    """The least a claim does: it does not look first, so the index alone decides."""
    try:
        tx.insert_attempt(attempt)
    except DuplicateLiveAttempt:
        return False
    return True


@more
async def test_of_fifty_claimers_exactly_one_wins_in_each_of_a_thousand_rounds(store: SqlStore) -> None:
    numbers = range(1_000, 1_000 + ROUNDS)
    await asyncio.gather(
        *(store.write(partial(SqlLedger.insert_item, item=an_item(replace(ISSUE, number=n)))) for n in numbers)
    )
    winners = []
    for number in numbers:
        attempt = an_attempt(key=replace(ISSUE, number=number))
        # Each claimer has the next fence in mind, so that only the index on live attempts stands between them.
        claims = (replace(attempt, id=AttemptId(f"{number}-{n}"), fence=n + 1) for n in range(CLAIMERS))
        won = await asyncio.gather(*(store.write(partial(claim, attempt=one)) for one in claims))
        winners.append(sum(won))

    assert winners == [1] * ROUNDS
    assert await store.read(lambda tx: len(tx.live_attempts(REPO))) == ROUNDS


def winners_of_two_that_both_saw_a_free_item(path: Path, *, with_index: bool) -> int:
    """Two claimers on their own connections: both look, then both insert. The writer thread would hide the race."""
    clock = StillClock()
    prepare(url_of(path), clock)
    if not with_index:
        tell(path, "DROP INDEX uq_attempts_live")
    with connect(path) as setup:
        tx = SqlLedger(setup, clock)
        tx.put_repo(a_repo())
        tx.insert_item(an_item())
    both_looked = threading.Barrier(2, timeout=10)
    wins: list[str] = []

    def claimer(fence: int) -> None:
        with connect(path) as connection:
            tx = SqlLedger(connection, clock)
            assert tx.live_attempt(ISSUE) is None
            both_looked.wait()
            try:
                tx.insert_attempt(an_attempt(f"att_{fence}", fence=fence))
            except DuplicateLiveAttempt:
                return
            wins.append(f"att_{fence}")

    threads = [threading.Thread(target=claimer, args=(fence,)) for fence in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    with closing(sqlite3.connect(path)) as driver:
        assert driver.execute("SELECT count(*) FROM attempts").fetchone() == (len(wins),)
    return len(wins)


def test_two_claimers_that_both_saw_a_free_item_cannot_both_win(path: Path) -> None:
    assert winners_of_two_that_both_saw_a_free_item(path, with_index=True) == 1


def test_without_the_unique_index_both_would_win(path: Path) -> None:
    assert winners_of_two_that_both_saw_a_free_item(path, with_index=False) == 2
