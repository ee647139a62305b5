"""Brings what was committed from SQLite's log into the file, in a thread of its own.

Whoever commits when the log is long does that by default, and all who wait for this commit wait for it too: several
milliseconds. A checkpoint beside the writer waits for nobody and holds up nobody; what is committed meanwhile stays in
the log until the next one. Promise: nothing is lost when it fails or lags behind, because the log counts as much as the
file; the log does not grow beyond `sqlite.LONGEST_LOG` pages, because then a commit does what it does by default.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

from bot.store.sqlite import open_driver

EVERY = 64
"""Commits between two checkpoints: some two megabytes of log, written in a few milliseconds."""


class Checkpoints(threading.Thread):
    """`committed` is called by the writer, `close` when it has ended."""

    def __init__(self, path: Path) -> None:
        super().__init__(name="store-checkpoints", daemon=True)
        self._driver = open_driver(path)
        self._commits = 0
        self._due = threading.Event()
        self._ending = False

    def committed(self) -> None:
        self._commits += 1
        if self._commits % EVERY == 0:
            self._due.set()

    def run(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            if self._ending:
                break
            # A disk that is full or fails: the next commit says so to those who wait for it.
            with suppress(sqlite3.Error):
                self._driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self._driver.close()

    def close(self) -> None:
        """Ends the thread; waits a moment for a checkpoint that is under way."""
        self._ending = True
        self._due.set()
        self.join(10.0)
