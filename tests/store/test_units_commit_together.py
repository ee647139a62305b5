"""One writer: groups of units share a commit, each fails alone, and none is answered before the disk."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from bot.errors import SettingsError
from bot.queue.api import Row
from bot.store import writer
from bot.store.checkpoints import EVERY
from bot.store.engine import SqlStore, open_store
from bot.store.errors import SchemaOutdated, StoreClosed, StoreDamaged, StoreUnavailable
from bot.store.ledger import SqlLedger
from bot.store.migrate import prepare
from bot.store.sqlite import create_file
from bot.store.writer import GROUP_LIMIT
from tests.store.support import (
    ISSUE,
    OTHER_TENANT,
    REPO,
    START,
    CountedIds,
    StillClock,
    a_repo,
    ask,
    fresh_store,
    url_of,
)


class Gate:
    """Holds the writer inside a unit until opened, so that what comes next waits together."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def unit(self, _: SqlLedger) -> None:
        self.entered.set()
        assert self.open.wait(10)


async def held(store: SqlStore) -> tuple[Gate, asyncio.Task[None]]:
    gate = Gate()
    task = asyncio.create_task(store.write(gate.unit))
    await asyncio.to_thread(gate.entered.wait, 10)
    return gate, task


async def test_units_that_wait_together_share_a_commit_up_to_the_limit(store: SqlStore) -> None:
    gate, first = await held(store)
    units = [asyncio.create_task(store.write(lambda tx: tx.mark(REPO))) for _ in range(GROUP_LIMIT + 10)]
    await asyncio.sleep(0)
    before = store.commits
    gate.open.set()
    await asyncio.gather(first, *units)

    assert store.commits - before == 3, "the held unit, a full group, the rest"


async def test_a_unit_that_raises_is_undone_alone_and_its_caller_gets_the_exception(
    store: SqlStore, path: Path
) -> None:
    def wrong(tx: SqlLedger) -> None:
        tx.mark(REPO)
        raise LookupError("no such thing")

    gate, first = await held(store)
    good = [asyncio.create_task(store.write(lambda tx: tx.mark(ISSUE))) for _ in range(2)]
    bad = asyncio.create_task(store.write(wrong))
    good.append(asyncio.create_task(store.write(lambda tx: tx.mark(ISSUE))))
    gate.open.set()
    await asyncio.gather(first, *good)

    with pytest.raises(LookupError, match="no such thing"):
        await bad
    assert ask(path, "SELECT key, wanted_rev FROM keys") == [(str(ISSUE), 3)]


@pytest.mark.parametrize(("one_raises", "runs"), [(False, 1), (True, 2)], ids=["nobody raises", "one raises"])
async def test_a_group_is_run_again_only_where_a_unit_raises_and_is_written_once(
    store: SqlStore, path: Path, *, one_raises: bool, runs: int
) -> None:
    ran: list[str] = []

    def good(tx: SqlLedger) -> None:
        ran.append("good")
        tx.mark(ISSUE)

    def other(tx: SqlLedger) -> None:
        tx.mark(REPO)
        if one_raises:
            raise LookupError("no such thing")

    told: list[str] = []
    store.on_marked(lambda key, *_, **__: told.append(key))
    gate, first = await held(store)
    units = [asyncio.create_task(store.write(unit)) for unit in (good, other)]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(first, *units, return_exceptions=True)

    assert len(ran) == runs
    marked = [str(ISSUE)] if one_raises else [str(ISSUE), str(REPO)]
    assert sorted(told) == marked
    assert ask(path, "SELECT key, wanted_rev FROM keys ORDER BY key") == [(key, 1) for key in marked]


async def test_an_answer_does_not_wait_for_the_end_of_long_units(store: SqlStore) -> None:
    gate, written = await held(store)
    long = Gate()
    next_ = asyncio.create_task(store.write(long.unit))
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.to_thread(long.entered.wait, 10)

    await asyncio.wait_for(written, 5)

    long.open.set()
    await next_


async def test_an_answer_gives_way_to_units_that_have_begun(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "GIVE_WAY", 10.0)
    began, ended = threading.Event(), threading.Event()

    def short(_: SqlLedger) -> None:
        began.set()
        time.sleep(0.05)
        ended.set()

    gate, first = await held(store)
    second = asyncio.create_task(store.write(short))
    await asyncio.sleep(0)
    gate.open.set()
    assert began.wait(10), "the loop stands still until the first is committed and the second runs"
    await first
    assert ended.is_set()
    await second


async def test_a_unit_that_breaks_a_constraint_leaves_its_neighbours_alone(store: SqlStore) -> None:
    def orphan(tx: SqlLedger) -> None:
        tx.put_thought_blob(OTHER_TENANT, "b" * 40, "text of a repository that is not there")

    with pytest.raises(Exception, match="FOREIGN KEY"):
        await store.write(orphan)
    await store.write(lambda tx: tx.put_thought_blob(REPO, "b" * 40, "text"))

    assert await store.read(lambda tx: tx.thought_blobs(REPO)) == {"b" * 40: "text"}


async def test_a_commit_that_fails_fails_all_its_callers_and_the_writer_goes_on(path: Path, clock: StillClock) -> None:
    full = threading.Event()

    def disk() -> None:
        if full.is_set():
            raise sqlite3.OperationalError("database or disk is full")

    told: list[str] = []
    async with fresh_store(path, clock, before_commit=disk) as store:
        store.on_marked(lambda key, *_, **__: told.append(key))
        full.set()
        results = await asyncio.gather(
            *(store.write(lambda tx: tx.mark(REPO)) for _ in range(5)), return_exceptions=True
        )
        full.clear()
        await store.write(lambda tx: tx.mark(ISSUE))

        assert [type(result) for result in results] == [StoreUnavailable] * 5
        assert "disk is full" in str(results[0])
        assert ask(path, "SELECT key FROM keys") == [(str(ISSUE),)]
        assert told == [str(ISSUE)]


async def test_a_waker_that_fails_leaves_nobody_waiting(store: SqlStore, path: Path) -> None:
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def broken(key: str, *_: object, **__: object) -> None:
        raise LookupError(key)

    store.on_marked(broken)
    await asyncio.wait_for(store.write(lambda tx: tx.mark(ISSUE)), 10)

    assert ask(path, "SELECT key FROM keys") == [(str(ISSUE),)]
    assert [type(context["exception"]) for context in reported] == [LookupError]


def test_a_caller_whose_loop_is_gone_does_not_end_the_writer(path: Path, clock: StillClock) -> None:
    store = fresh_store(path, clock)
    gate = Gate()

    async def leave() -> None:
        task = asyncio.create_task(store.write(gate.unit))
        await asyncio.to_thread(gate.entered.wait, 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def come_back() -> None:
        await asyncio.wait_for(store.write(lambda tx: tx.mark(ISSUE)), 10)
        await store.close()

    asyncio.run(leave())
    gate.open.set()
    asyncio.run(come_back())

    assert ask(path, "SELECT key FROM keys") == [(str(ISSUE),)]


async def test_the_answer_comes_after_the_commit(path: Path, clock: StillClock) -> None:
    seen: list[list[tuple[object, ...]]] = []

    def look() -> None:
        seen.append(ask(path, "SELECT full_name FROM repos"))

    async with fresh_store(path, clock, before_commit=look, after_commit=look) as store:
        await store.write(lambda tx: tx.put_repo(a_repo()))

    assert seen == [[], [("octo/widgets",)]]


async def test_marked_keys_are_told_after_the_commit_and_never_for_an_undone_unit(store: SqlStore) -> None:
    told: list[tuple[str, int, datetime | None]] = []

    def waker(key: str, priority: int = 0, *, at: datetime | None = None, row: Row | None = None) -> None:
        told.append((key, priority, at))

    def undone(tx: SqlLedger) -> None:
        tx.mark(REPO)
        raise LookupError

    store.on_marked(waker)
    await store.write(lambda tx: tx.mark(ISSUE, priority=5))
    with pytest.raises(LookupError):
        await store.write(undone)

    assert told == [(str(ISSUE), 5, START)]


async def test_a_read_sees_what_was_written_before_and_cannot_write(store: SqlStore) -> None:
    await store.write(lambda tx: tx.put_repo(a_repo(OTHER_TENANT, "octo/other")))

    assert await store.read(lambda tx: len(tx.repos())) == 2
    with pytest.raises(Exception, match="readonly"):
        await store.read(lambda tx: tx.mark(REPO))


async def test_a_read_stays_on_one_snapshot_while_others_write(store: SqlStore) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slowly(tx: SqlLedger) -> tuple[int, int]:
        before = len(tx.repos())
        entered.set()
        assert go_on.wait(10)
        return before, len(tx.repos())

    reading = asyncio.create_task(store.read(slowly))
    await asyncio.to_thread(entered.wait, 10)
    await store.write(lambda tx: tx.put_repo(a_repo(OTHER_TENANT)))
    go_on.set()

    assert await reading == (1, 1)


async def test_a_caller_that_gives_up_before_its_turn_changes_nothing(store: SqlStore, path: Path) -> None:
    gate, first = await held(store)
    given_up = asyncio.create_task(store.write(lambda tx: tx.mark(REPO)))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    gate.open.set()
    await first

    assert ask(path, "SELECT count(*) FROM keys") == [(0,)]


async def test_closing_commits_what_was_handed_in_and_refuses_what_comes_later(path: Path, clock: StillClock) -> None:
    store = fresh_store(path, clock)
    late = [asyncio.create_task(store.write(lambda tx: tx.put_repo(a_repo()))) for _ in range(3)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*late)
    await store.close()

    with pytest.raises(StoreClosed):
        await store.write(lambda tx: tx.repos())
    assert ask(path, "SELECT count(*) FROM repos") == [(1,)]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("store-")]


async def test_what_was_committed_reaches_the_file_while_the_store_works(store: SqlStore, path: Path) -> None:
    def brought() -> list[tuple[object, ...]]:
        # It looks past the log; what is being written at this moment is no database.
        with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as file, suppress(sqlite3.DatabaseError):
            return file.execute("SELECT key FROM keys").fetchall()
        return []

    for _ in range(EVERY):
        await store.write(lambda tx: tx.mark(ISSUE))
    async with asyncio.timeout(10):
        while brought() != [(str(ISSUE),)]:
            await store.read(lambda tx: tx.repos())


async def test_a_second_opener_is_told_file_and_process(store: SqlStore, path: Path) -> None:
    with pytest.raises(SettingsError, match=rf"{path}.*pid {os.getpid()}"):
        open_store(url_of(path), StillClock(), CountedIds())


async def test_the_file_is_free_again_after_close_and_its_instance_name_stays(path: Path, clock: StillClock) -> None:
    async with fresh_store(path, clock) as first:
        name = first.instance
    async with open_store(url_of(path), clock, CountedIds()) as second:
        assert second.instance == name


async def test_only_the_owner_can_read_the_files(store: SqlStore, path: Path) -> None:
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}

    assert {f"{path.name}-wal", path.name} <= set(modes)
    assert set(modes.values()) == {0o600}


async def test_a_file_that_is_no_database_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "tgs.db"
    path.write_bytes(b"this is a text file, not a database" * 100)

    with pytest.raises(StoreDamaged, match=r"damaged.*backup"):
        open_store(url_of(path), StillClock(), CountedIds())


def tear(path: Path) -> None:
    """What a disk does that lost a few sectors."""
    raw = bytearray(path.read_bytes())
    raw[-30_000:-10_000] = b"\xff" * 20_000
    path.write_bytes(raw)


async def test_a_file_with_torn_pages_is_refused(path: Path, clock: StillClock) -> None:
    async with fresh_store(path, clock) as store:
        await store.write(lambda tx: tx.put_repo(replace(a_repo(), policy_text="x" * 50_000)))
    tear(path)

    with pytest.raises(StoreDamaged, match="damaged"):
        open_store(url_of(path), clock, CountedIds())


async def test_a_database_that_was_not_migrated_is_refused_with_the_command(path: Path) -> None:
    create_file(path)

    with pytest.raises(SchemaOutdated, match="tgs db upgrade"):
        open_store(url_of(path), StillClock(), CountedIds())


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("postgresql://tgs:hunter2@db/tgs", id="a database of another kind"),
        pytest.param("sqlite://", id="memory only"),
        pytest.param("sqlite:///:memory:", id="memory by name"),
        pytest.param("hunter2", id="not a URL"),
    ],
)
def test_a_url_that_names_no_file_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        open_store(url, StillClock(), CountedIds())

    assert "hunter2" not in str(refused.value)
    assert refused.value.remedy


def test_an_unclosed_store_does_not_keep_the_process_alive(path: Path) -> None:
    prepare(url_of(path), StillClock())
    program = (
        "import sys; from tests.store.support import *; "
        "open_store(url_of(Path(sys.argv[1])), StillClock(), CountedIds()); print('left')"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=20, check=False
    )

    assert (done.returncode, done.stdout.strip()) == (0, "left"), done.stderr


async def test_the_writer_syncs_fully_and_readers_follow_references(store: SqlStore) -> None:
    def pragma(name: str) -> Callable[[SqlLedger], object]:
        return lambda tx: tx.connection.execute(text(f"PRAGMA {name}")).scalar_one()

    assert await store.write(pragma("synchronous")) == 2
    assert await store.write(pragma("journal_mode")) == "wal"
    assert await store.write(pragma("secure_delete")) == 1
    assert await store.write(pragma("foreign_keys")) == 1
