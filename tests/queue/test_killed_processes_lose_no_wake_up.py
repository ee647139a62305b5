"""The default driver's process is killed twice in the middle of 2,000 events; the third one sees all of them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.queue.test_queue_conforms import EVENTS, KEYS, PATIENCE
from tests.store.support import ask

ROOT = Path(__file__).parents[2]


def handler_process(path: Path, first: int, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.queue.victim", str(path), str(first), str(count)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def marked_by(process: subprocess.Popen[str], *, kill_after: int | None) -> int:
    """How many events the process said were committed; it is killed once there are so many."""
    told = 0
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            told += line == "marked\n"
            if told == kill_after:
                process.kill()
    assert process.wait(PATIENCE) == (0 if kill_after is None else -signal.SIGKILL)
    return told


def test_killed_processes_lose_no_wake_up(tmp_path: Path) -> None:
    path = tmp_path / "q.db"
    told = marked_by(handler_process(path, 0, EVENTS), kill_after=EVENTS // 3)
    told += marked_by(handler_process(path, told, EVENTS), kill_after=EVENTS // 3)
    told += marked_by(handler_process(path, told, EVENTS - told), kill_after=None)

    rows = {key: (wanted, seen) for key, wanted, seen in ask(path, "SELECT key, wanted_rev, seen_rev FROM keys")}
    log = (tmp_path / "q.db.runs").read_text().splitlines()
    assert len(rows) == KEYS
    assert sum(wanted for wanted, _ in rows.values()) >= told >= EVENTS * 2 // 3
    assert all(wanted == seen for wanted, seen in rows.values())
    last_seen: dict[str, int] = {}
    for line in log:
        word, key, revision = line.split()
        assert word == "done", f"two runs of {key} at once"
        last_seen[key] = int(revision)
    assert last_seen == {key: wanted for key, (wanted, _) in rows.items()}
