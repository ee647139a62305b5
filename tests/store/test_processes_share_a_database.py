"""Two stores on one PostgreSQL database, as two processes have them: who may write, what each hears of the other."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from bot.bundles import Bundles
from bot.domain.attempt import AttemptPhase, Worker, WorkerKind
from bot.domain.model import AttemptId
from bot.errors import SettingsError, Superseded
from bot.protocols.ledger import Audit
from bot.store.engine import SqlStore, open_store
from bot.store.fencing import SharedKeyRows, still_ours
from bot.store.files import PIECE, StoreFiles
from bot.store.ledger import SqlLedger
from bot.store.news import News, Wire
from bot.store.postgresql import PostgresqlDatabase
from bot.web.dist import Dist
from bot.web.wheel import Wheel
from tests.databases import PostgresqlServer
from tests.store.support import (
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

MINUTE = timedelta(minutes=1)


@dataclass
class Two:
    """Two processes."""

    url: str
    clock: StillClock
    one: SqlStore
    other: SqlStore
    heard: asyncio.Queue[News] = field(default_factory=asyncio.Queue)


@pytest.fixture
async def two(postgresql: PostgresqlServer) -> AsyncIterator[Two]:
    url, clock = postgresql.fresh(), StillClock()
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(open_store(url, clock, CountedIds(), shared=True)) for _ in range(2)]
        yield Two(url, clock, *stores)


def a_line(who: str) -> Audit:
    return Audit(START, ISSUE, "said", who, "test")


async def test_nobody_gets_a_shared_database_for_itself(two: Two) -> None:
    with pytest.raises(SettingsError, match=r"in use by another process.*TGS_QUEUE=procrastinate"):
        open_store(two.url, two.clock, CountedIds())


async def test_a_follower_that_remembers_the_last_id_misses_nothing_of_two_writers(two: Two) -> None:
    lines = 60
    seen: list[int] = []

    async def write(store: SqlStore, who: str) -> None:
        await asyncio.gather(*(store.write(lambda tx: tx.audit(a_line(who))) for _ in range(lines)))

    async def follow() -> None:
        while len(seen) < 2 * lines:
            after = seen[-1] if seen else 0
            found = await two.one.read(lambda tx, after=after: tx.events_after([REPO], after, 100))
            seen.extend(line.id for line in found)

    async with asyncio.timeout(30):
        await asyncio.gather(follow(), write(two.one, "one"), write(two.other, "other"))
    assert seen == sorted(set(seen))


async def test_a_writer_that_stops_in_the_middle_loses_its_turn_and_writes_later(
    postgresql: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.store.postgresql.IDLE_SECONDS", 1)
    url, clock, entered, go_on = postgresql.fresh(), StillClock(), threading.Event(), threading.Event()
    async with (
        open_store(url, clock, CountedIds(), shared=True) as one,
        open_store(url, clock, CountedIds(), shared=True) as other,
    ):

        def stuck(tx: SqlLedger) -> None:
            tx.audit(a_line("one"))
            entered.set()
            go_on.wait()

        late = asyncio.create_task(one.write(stuck))
        await asyncio.to_thread(entered.wait)
        async with asyncio.timeout(30):
            await other.write(lambda tx: tx.audit(a_line("other")))
        go_on.set()
        await late
        lines = await other.read(lambda tx: [line.actor for line in tx.history(ISSUE)])
        assert lines == ["other", "one"], "it came after the other one, as a whole"


async def test_a_run_that_was_taken_over_writes_nothing_any_more(two: Two) -> None:
    mine, theirs = SharedKeyRows(two.one, "one"), SharedKeyRows(two.other, "other")
    await two.one.write(lambda tx: tx.touch(ISSUE))
    two.clock.advance(MINUTE)
    row = await mine.begin(str(ISSUE))
    assert row is not None
    with mine.bound(row):
        await two.one.write(lambda tx: tx.audit(a_line("one")))
        await still_ours(two.one)
        assert await two.one.read(lambda tx: tx.touched_at(ISSUE)) == START
        await theirs.begin(str(ISSUE))
        with pytest.raises(Superseded):
            await two.one.write(lambda tx: tx.audit(a_line("too late")))
        with pytest.raises(Superseded):
            await still_ours(two.one)
        assert await mine.finish(row.key, row.wanted, None) is None
        assert await mine.fail(row.key, row.wanted, "too late", START) is None
    assert [line.actor for line in await two.other.read(lambda tx: tx.history(ISSUE))] == ["one"]
    after = await two.other.read(lambda tx: tx.key_row(str(ISSUE)))
    assert after is not None
    assert (after.seen, after.attempts, after.epoch) == (0, 0, 2)
    # What the first one remembers of the issue is void, because the other one's writes came to nobody's ears.
    assert await two.one.read(lambda tx: tx.touched_at(ISSUE)) == START + MINUTE


async def test_a_process_hears_what_another_one_commits_and_not_its_own(two: Two) -> None:
    conninfo = PostgresqlDatabase(two.url).conninfo
    mine, theirs = Wire(conninfo, "one"), Wire(conninfo, "other")
    two.one.commit_with(mine.publish)
    two.other.commit_with(theirs.publish)
    listening = asyncio.create_task(mine.listen(two.heard.put, lambda error: None))
    async with asyncio.timeout(30):
        assert await two.heard.get() == News(everything=True)
        await two.one.write(lambda tx: tx.mark(OTHER_TENANT))

        def much(tx: SqlLedger) -> None:
            tx.mark(ISSUE)
            tx.audit(a_line("other"))
            tx.revoke_elsewhere(AttemptId("att_1"))

        await two.other.write(much)
        news = await two.heard.get()
        assert news == News(frozenset({REPO}), frozenset({REPO}), frozenset({AttemptId("att_1")}))
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_one_of_several_has_the_turn_until_its_time_is_over(two: Two) -> None:
    def take(store: SqlStore, who: str) -> object:
        return store.write(lambda tx: tx.take_turn("sweep", who, two.clock.now() + MINUTE))

    assert await two.one.read(lambda tx: tx.turn_last_done("sweep")) is None
    turns = [await take(two.one, "one"), await take(two.other, "other"), await take(two.one, "one")]  # type: ignore[misc]
    assert turns == [True, False, True]
    await two.one.write(lambda tx: tx.turn_done("sweep", START))
    two.clock.advance(MINUTE)
    assert await take(two.other, "other")  # type: ignore[misc]
    assert await two.other.read(lambda tx: tx.turn_last_done("sweep")) == START


async def test_a_bundle_and_a_wheel_that_one_server_has_are_handed_out_by_the_other(two: Two, tmp_path: Path) -> None:
    attempt = replace(an_attempt(), worker=Worker(WorkerKind.PULL, "machine"))
    await two.one.write(lambda tx: tx.put_repo(a_repo()))
    await two.one.write(lambda tx: tx.insert_item(an_item()))
    await two.one.write(lambda tx: tx.insert_attempt(attempt))
    mine = Bundles(two.one, two.clock, tmp_path / "mine", files=StoreFiles(two.one))
    theirs = Bundles(two.other, two.clock, tmp_path / "theirs", files=StoreFiles(two.other))

    async def upload(content: bytes) -> AsyncIterator[bytes]:
        yield content

    for content in (b"first", b"second"):
        await mine.keep(attempt, upload(content), None)
        found = await theirs.find(attempt)
        assert found is not None
        assert found.read_bytes() == content
    assert len(await StoreFiles(two.one).names("bundle/")) == 1
    assert await theirs.prune() == 1, "what was replaced"
    assert await theirs.find(attempt) is not None
    ended = replace(attempt, phase=AttemptPhase.ENDED, ended_at=START)
    fresh = await two.one.read(lambda tx: tx.attempt(attempt.id))
    assert fresh is not None
    await two.one.write(lambda tx: tx.save_attempt(fresh, replace(ended, revision=fresh.revision)))
    await theirs.prune()
    assert await StoreFiles(two.one).names("") == []

    wheel = Wheel("1", "tgs_bot-1-py3-none-any.whl", b"wheel", hashlib.sha256(b"wheel").hexdigest())
    later = Wheel("2", "tgs_bot-2-py3-none-any.whl", b"later", hashlib.sha256(b"later").hexdigest())
    old = Dist(base_url="http://x", folder=tmp_path / "a", build=lambda: wheel, files=StoreFiles(two.one))
    new = Dist(base_url="http://x", folder=tmp_path / "b", build=lambda: later, files=StoreFiles(two.other))
    await old.prepare()
    app = web.Application()
    app.add_routes(new.routes())
    async with TestClient(TestServer(app)) as client:
        answer = await client.get(f"/dist/{wheel.sha256}/{wheel.filename}")
        assert (answer.status, await answer.read()) == (200, b"wheel")
        assert (await client.get(f"/dist/{'0' * 64}/{wheel.filename}")).status == 404


async def test_a_file_that_one_process_stored_another_one_has_whole_or_not_at_all(two: Two, tmp_path: Path) -> None:
    mine, theirs = StoreFiles(two.one), StoreFiles(two.other)
    given, got = tmp_path / "given", tmp_path / "deep" / "got"
    given.write_bytes(b"x" * PIECE + b"end")
    await mine.put("wheel/a", given)
    await mine.put("wheel/a", given)
    assert await theirs.names("wheel/") == ["wheel/a"]
    assert await theirs.names("bundle/") == []
    assert await theirs.fetch("wheel/a", got)
    assert got.read_bytes() == given.read_bytes()
    await two.one.write(
        lambda tx: (
            tx.connection.exec_driver_sql("DELETE FROM file_parts WHERE part = 2").rowcount
        )  # the mark of its end
    )
    assert not await theirs.fetch("wheel/a", tmp_path / "half")
    await theirs.drop("wheel/a")
    assert await mine.names("") == []
    assert sorted(os.listdir(tmp_path)) == ["deep", "given"]
