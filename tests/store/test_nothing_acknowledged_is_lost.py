"""What was acknowledged is on disk, however the process ends. More effort kills twenty times."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from bot.store.engine import open_store
from bot.store.router import Router
from tests.databases import PostgresqlServer
from tests.effort import by_effort, more
from tests.store.support import CountedIds, StillClock, ask, fail, url_of

ROOT = Path(__file__).parents[2]
KILLS = by_effort(3, 20, 20)
KILLS_OF_TWO = by_effort(1, 20, 20)

pytestmark = [more, pytest.mark.timeout(300)]


def victim(url: str, prefix: str, mode: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.store.victim", url, prefix, mode],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def acknowledged(process: subprocess.Popen[str], *, kill_after: int | None) -> list[str]:
    """The deliveries the process acknowledged; it is killed once there are so many."""
    guids: list[str] = []
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            if not line.endswith("\n"):
                break  # cut off in the middle of a word: nobody read that
            guids.append(line.strip())
            if len(guids) == kill_after:
                process.kill()
    assert process.wait(20) == -signal.SIGKILL
    return guids


def stored(path: Path) -> set[str]:
    return {row[0] for row in ask(path, "SELECT guid FROM deliveries")}


async def test_kill_under_load_loses_no_acknowledged_delivery(path: Path) -> None:
    known: list[str] = []
    for round_ in range(KILLS):
        known += acknowledged(victim(url_of(path), f"round{round_}", "load"), kill_after=150 + 50 * round_)
        assert set(known) <= stored(path)

    assert ask(path, "SELECT count(*) FROM deliveries WHERE touches IS NULL") == [(0,)], "stored together"
    async with open_store(url_of(path), StillClock(), CountedIds()) as store:
        assert len(await Router(store, fail).route_all()) > 0
    assert ask(path, "SELECT count(*) FROM deliveries WHERE routed_at IS NULL") == [(0,)]


async def test_kill_under_load_loses_no_acknowledged_delivery_of_two_processes(postgresql: PostgresqlServer) -> None:
    url = postgresql.fresh()
    known: list[str] = []
    with psycopg.connect(url, autocommit=True) as connection:
        for round_ in range(KILLS_OF_TWO):
            one, other = (victim(url, f"{name}{round_}", "load") for name in ("one", "other"))
            known += acknowledged(one, kill_after=150)
            known += acknowledged(other, kill_after=150)
            found = connection.execute("SELECT guid FROM deliveries").fetchall()
            assert set(known) <= {guid for (guid,) in found}
        counts = "SELECT count(*) FROM deliveries WHERE touches IS NULL"
        assert connection.execute(counts).fetchone() == (0,), "a delivery and its touches are stored together"


@pytest.mark.parametrize(
    ("mode", "kept"),
    [
        pytest.param("before", False, id="before the commit: the delivery is not there and was not acknowledged"),
        pytest.param("after", True, id="after the commit: it is there although nobody was told"),
    ],
)
def test_a_crash_around_the_commit(path: Path, mode: str, kept: bool) -> None:
    guids = acknowledged(victim(url_of(path), "one", mode), kill_after=None)

    assert guids == ["one-0"]
    assert stored(path) == ({"one-0", "one-1"} if kept else {"one-0"})
    assert ask(path, "PRAGMA integrity_check") == [("ok",)]
