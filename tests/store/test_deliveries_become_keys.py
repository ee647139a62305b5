"""Intake and routing: each delivery and command counts once, touches find the items they belong to."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.domain.attempt import AttemptPhase, WorkerReport
from bot.domain.intake import Intake, SeenRepo, Touch, TouchKind
from bot.domain.model import Key, RepoId, RepoKey
from bot.store import arrivals, keyrows, seen
from bot.store import router as routing
from bot.store.dialect import _Quick
from bot.store.engine import SqlStore
from bot.store.errors import StoreClosed, StoreUnavailable
from bot.store.inbox import SqlInbox
from bot.store.ledger import SqlLedger
from bot.store.router import Router
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
    fail,
    fresh_store,
)

HEAD = "d" * 40
SEEN = SeenRepo(REPO, "octo/widgets", 5, private=False, default_branch="main")
NEW_REPO = RepoKey(REPO.installation, RepoId(20))


def touch(kind: TouchKind, value: str = "", hint: str = "", repo: RepoKey = REPO) -> Touch:
    return Touch(kind, repo.installation, repo.repo, value, hint)


async def keys_for(inbox: SqlInbox, router: Router, *touches: Touch) -> list[Key]:
    assert await inbox.accept("guid-keys", "event", None, Intake(touches=touches), None)
    return await router.route()


@pytest.fixture
async def working(store: SqlStore) -> SqlStore:
    """The item has a live attempt on run 55 with a reported head, and a pull request."""

    def set_up(tx: SqlLedger) -> None:
        attempt = an_attempt(run_id=55)
        report = WorkerReport(succeeded=True, at=START, head_sha=HEAD)
        tx.insert_attempt(attempt)
        tx.save_attempt(attempt, replace(attempt, phase=AttemptPhase.RUNNING, report=report))
        tx.save_item(an_item(), replace(an_item(), pull=a_pull(70, sha="a" * 40, branch="tgs/7-pull")))

    await store.write(set_up)
    return store


@pytest.mark.parametrize(
    ("touched", "expected"),
    [
        pytest.param(touch(TouchKind.ISSUE, "7"), [ISSUE], id="an issue that is an item"),
        pytest.param(touch(TouchKind.ISSUE, "8"), [], id="an issue that is no item"),
        pytest.param(
            touch(TouchKind.ISSUE, "8", "track"), [replace(ISSUE, number=8)], id="an issue that may become an item"
        ),
        pytest.param(touch(TouchKind.ISSUE, "seven", "track"), [], id="an issue without a number"),
        pytest.param(touch(TouchKind.ISSUE, "9" * 30, "track"), [], id="a number beyond all issues"),
        pytest.param(touch(TouchKind.RUN, "55"), [ISSUE], id="the run of an attempt"),
        pytest.param(touch(TouchKind.RUN, "56", "completed"), [], id="somebody else's run"),
        pytest.param(touch(TouchKind.HEAD, HEAD), [ISSUE], id="the head that a live attempt reported"),
        pytest.param(touch(TouchKind.HEAD, "a" * 40), [ISSUE], id="the head of an item's pull request"),
        pytest.param(touch(TouchKind.HEAD, "e" * 40), [], id="an unknown head"),
        pytest.param(touch(TouchKind.PULL, "70"), [ISSUE], id="an item's pull request"),
        pytest.param(touch(TouchKind.PULL, "7"), [], id="a pull request with the number of an issue"),
        pytest.param(touch(TouchKind.BRANCH, "tgs/7-add-a-door"), [ISSUE], id="the branch of an attempt"),
        pytest.param(touch(TouchKind.BRANCH, "tgs/7-pull"), [ISSUE], id="the branch of a pull request"),
        pytest.param(touch(TouchKind.BRANCH, "main"), [], id="somebody's branch"),
        pytest.param(touch(TouchKind.REPO), [REPO], id="the repository"),
        pytest.param(touch(TouchKind.REPO, repo=NEW_REPO), [], id="an unknown repository"),
        pytest.param(Touch(TouchKind.INSTALLATION, REPO.installation, None), [REPO], id="the installation"),
        pytest.param(touch(TouchKind.ISSUE, "7", repo=OTHER_TENANT), [], id="the same issue of another tenant"),
        pytest.param(touch(TouchKind.RUN, "55", repo=OTHER_TENANT), [], id="the same run of another tenant"),
    ],
)
async def test_a_touch_finds(working: SqlStore, touched: Touch, expected: list[Key]) -> None:
    assert await keys_for(SqlInbox(working), Router(working, fail), touched) == expected
    rows = await working.read(lambda tx: tx.key_rows(None))
    assert [(row.key, row.wanted, row.seen) for row in rows] == [(str(key), 1, 0) for key in expected]


async def test_touches_of_one_item_make_one_key(working: SqlStore) -> None:
    touches = (touch(TouchKind.RUN, "55"), touch(TouchKind.PULL, "70"), touch(TouchKind.ISSUE, "7", "track"))

    assert await keys_for(SqlInbox(working), Router(working, fail), *touches) == [ISSUE]


async def test_the_end_of_a_run_leaves_its_word_on_the_live_attempt(working: SqlStore) -> None:
    before = await working.read(lambda tx: tx.live_attempt(ISSUE))
    await keys_for(SqlInbox(working), Router(working, fail), touch(TouchKind.RUN, "55", "completed"))
    after = await working.read(lambda tx: tx.live_attempt(ISSUE))

    assert before is not None
    assert after == replace(before, run_hint="completed", revision=before.revision + 1)


async def test_a_run_that_ended_before_its_id_was_stored_leaves_its_word_all_the_same(
    store: SqlStore, inbox: SqlInbox, router: Router
) -> None:
    attempt = an_attempt()
    await store.write(lambda tx: tx.insert_attempt(attempt))

    assert await keys_for(inbox, router, touch(TouchKind.RUN, "55", "completed")) == []
    await store.write(lambda tx: tx.save_attempt(attempt, replace(attempt, run_id=55)))
    stored = await store.read(lambda tx: tx.attempt(attempt.id))
    assert stored is not None
    assert stored.run_hint == "completed"


async def test_a_repeated_delivery_has_no_effect(store: SqlStore, inbox: SqlInbox, path: Path) -> None:
    intake = Intake(touches=(touch(TouchKind.ISSUE, "7"),), intents=(an_intent(),), repos=(SEEN,))
    other = Intake(touches=(touch(TouchKind.REPO),), intents=(an_intent("comment:2:0"),))

    assert await inbox.accept("guid", "issue_comment", "created", intake, b"{}")
    assert not await inbox.accept("guid", "issue_comment", "created", other, b"{}")
    assert ask(path, "SELECT json_array_length(touches) FROM deliveries") == [(1,)]
    assert await store.read(lambda tx: [intent.id for intent in tx.open_intents(ISSUE)]) == ["comment:1:0"]


async def test_a_command_that_comes_again_under_another_delivery_runs_once(store: SqlStore, inbox: SqlInbox) -> None:
    await inbox.accept("guid-1", "issue_comment", "created", Intake(intents=(an_intent(),)), None)
    await store.write(lambda tx: tx.settle_intent("comment:1:0", "done", START))

    assert await inbox.accept("guid-2", "issue_comment", "created", Intake(intents=(an_intent(),)), None)
    assert await store.read(lambda tx: tx.open_intents(ISSUE)) == []


async def test_a_command_on_an_issue_that_is_no_item_is_looked_at(inbox: SqlInbox, router: Router) -> None:
    elsewhere = replace(ISSUE, number=99)
    await inbox.accept("guid", "issue_comment", "created", Intake(intents=(an_intent(key=elsewhere),)), None)

    assert await router.route() == [elsewhere]


async def test_a_delivery_that_asks_for_nothing_is_stored_and_not_routed(
    inbox: SqlInbox, router: Router, path: Path
) -> None:
    assert await inbox.accept("guid", "star", "created", Intake(), None)

    assert await router.route() == []
    assert ask(path, "SELECT guid, event, action, body, routed_at IS NOT NULL FROM deliveries") == [
        ("guid", "star", "created", None, 1)
    ]


async def test_all_of_a_delivery_is_stored_or_nothing(path: Path, clock: StillClock) -> None:
    async with fresh_store(path, clock) as store:
        broken = replace(an_intent(), created_at=START.replace(tzinfo=None))
        with pytest.raises(Exception, match="without a zone"):
            await SqlInbox(store).accept(
                "guid", "issue_comment", "created", Intake(touches=(touch(TouchKind.REPO),), intents=(broken,)), None
            )

    assert ask(path, "SELECT count(*) FROM deliveries") == [(0,)]


async def test_a_closed_store_accepts_nothing(path: Path, clock: StillClock) -> None:
    store = fresh_store(path, clock)
    await store.close()

    with pytest.raises(StoreClosed):
        await SqlInbox(store).accept("guid", "push", None, Intake(), None)


async def test_the_router_is_nudged_after_the_commit_and_only_for_news(store: SqlStore, path: Path) -> None:
    nudges: list[int] = []
    inbox = SqlInbox(store, lambda: nudges.append(ask(path, "SELECT count(*) FROM deliveries")[0][0]), few=0)

    await inbox.accept("one", "push", None, Intake(touches=(touch(TouchKind.REPO),)), None)
    await inbox.accept("one", "push", None, Intake(touches=(touch(TouchKind.REPO),)), None)
    await inbox.accept("two", "star", None, Intake(), None)

    assert nudges == [1]


async def test_of_few_deliveries_the_keys_are_marked_in_the_commit_that_is_answered(
    path: Path, clock: StillClock
) -> None:
    marked: list[str] = []
    async with fresh_store(path, clock) as store:
        await store.write(lambda tx: tx.put_repo(a_repo()))
        store.on_marked(lambda key, *_, **__: marked.append(key))
        before = store.commits
        inbox = SqlInbox(store, lambda: pytest.fail("nothing is left to route"))

        await inbox.accept("guid", "push", None, Intake(touches=(touch(TouchKind.REPO),)), None)

        assert store.commits == before + 1
        assert marked == [str(REPO)]
        assert await Router(store, fail).route_all() == []


async def test_a_commit_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging:
        async def write(self, unit: object) -> Any:
            raise AssertionError("intake belongs to no run")

        async def put(self, unit: object, single: object) -> Any:
            await asyncio.Event().wait()

    monkeypatch.setattr("bot.store.inbox.STORE_SECONDS", 0.01)
    inbox = SqlInbox(Hanging())

    told = await asyncio.gather(
        *(inbox.accept(guid, "push", None, Intake(), None) for guid in ("one", "two")), return_exceptions=True
    )

    assert [type(error) for error in told] == [StoreUnavailable, StoreUnavailable]


async def test_what_cannot_be_routed_is_stored_all_the_same(
    store: SqlStore, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise LookupError("a touch that nobody understands")

    monkeypatch.setattr("bot.store.inbox.mark_pointed", broken)
    nudged: list[bool] = []

    await SqlInbox(store, lambda: nudged.append(True)).accept(
        "guid", "push", None, Intake(touches=(touch(TouchKind.REPO),)), None
    )

    assert ask(path, "SELECT guid, routed_at FROM deliveries") == [("guid", None)]
    assert nudged == [True]


async def test_what_was_committed_before_a_crash_is_routed_after_it(path: Path, clock: StillClock) -> None:
    async with fresh_store(path, clock) as store:
        await store.write(lambda tx: tx.put_repo(a_repo()))
        await SqlInbox(store).accept("guid", "push", None, Intake(touches=(touch(TouchKind.REPO),)), None)

    async with fresh_store(path, clock) as store:
        assert await Router(store, fail).route_all() == [REPO]
        assert await Router(store, fail).route_all() == []


async def test_a_running_router_survives_an_error_and_routes_what_is_left(path: Path, clock: StillClock) -> None:
    errors: list[BaseException] = []
    routed = asyncio.Event()
    trouble = [OSError("the disk is away")]

    def disk() -> None:
        if armed and trouble:
            raise trouble.pop()

    async def no_wait(_: float) -> None:
        await asyncio.sleep(0)

    armed: list[bool] = []
    async with fresh_store(path, clock, before_commit=disk) as store:
        await store.write(lambda tx: tx.put_repo(a_repo()))
        router = Router(store, errors.append, sleep=no_wait)
        store.on_marked(lambda *_, **__: routed.set())
        inbox = SqlInbox(store, router.nudge, few=0)
        await inbox.accept("g", "push", None, Intake(touches=(touch(TouchKind.REPO),)), None)
        armed.append(True)
        task = asyncio.create_task(router.run())
        await asyncio.wait_for(routed.wait(), 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert "the disk is away" in str(errors[0])
    assert ask(path, "SELECT key FROM keys") == [(str(REPO),)]


@pytest.mark.parametrize("part", [arrivals._arrivals, routing._statements, seen._statements, keyrows._statements])
def test_what_is_said_for_each_delivery_reads_no_table_as_a_whole(
    store: SqlStore, path: Path, part: Callable[[str], Any]
) -> None:
    fits = re.compile(r"SCAN (given|pointed|waiting|deliveries USING INDEX ix_deliveries_unrouted)|(?!SCAN ).*")
    with contextlib.closing(sqlite3.connect(path)) as driver:
        statements = [one for one in vars(part("sqlite")).values() if isinstance(one, _Quick)]
        assert statements
        for statement in statements:
            asked = driver.execute(f"EXPLAIN QUERY PLAN {statement._sql}", [None] * len(statement._names))
            plan = [line for *_, line in asked]

            assert all(fits.match(line) for line in plan), plan
