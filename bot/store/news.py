"""What a commit of one process tells the others that share the database: LISTEN and NOTIFY.

Promise: whoever listens hears what is committed after it began to, in the order of the commits; what it may have missed
(a connection that broke) it is told to look for everywhere. Nothing durable rests on it: those who wait look again by
themselves in the end. Names of repositories' keys and ids of attempts travel, nothing else.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bot.domain.model import AttemptId, RepoKey, parse_key
from bot.store.writer import Told

CHANNEL = "tgs"

PER_NOTE = 100
"""Names in one note; PostgreSQL takes 8,000 bytes."""

RETRY_SECONDS = 1.0
"""Until the next try when the database is away."""


@dataclass(frozen=True, slots=True)
class News:
    """`everything`: something was missed, so look everywhere. `rang`: repositories with a marked key. `written`:
    repositories with new history or messages. `revoke`: attempts whose write token is to end."""

    rang: frozenset[RepoKey] = frozenset()
    written: frozenset[RepoKey] = frozenset()
    revoke: frozenset[AttemptId] = frozenset()
    everything: bool = False


class Wire:
    """The news of one process among several. `process` is a name that no other one has."""

    def __init__(self, conninfo: str, process: str) -> None:
        self._conninfo = conninfo
        self._process = process

    def publish(self, driver: Any, told: Told) -> None:
        """Tells the others, with the commit of the driver's running transaction."""
        words = [("rang", str(_repo(mark.key))) for mark in told.marked]
        words += [("written", str(repo)) for repo in told.news]
        words += [("revoke", str(attempt)) for attempt in told.revoke]
        for some in _batches(sorted(set(words))):
            text = json.dumps({"by": self._process, "words": some}, separators=(",", ":"))
            driver.execute("SELECT pg_notify(%s, %s)", (CHANNEL, text))

    async def listen(self, hear: Callable[[News], Awaitable[None]], on_error: Callable[[BaseException], None]) -> None:
        """Hears until cancelled. Errors of the connection are reported, and it is made anew."""
        import psycopg

        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True, application_name="tgs-news"
                ) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    await hear(News(everything=True))
                    async for note in connection.notifies():
                        if (news := self._read(note.payload)) is not None:
                            await hear(news)
            except psycopg.Error as error:
                on_error(error)
            await asyncio.sleep(RETRY_SECONDS)

    def _read(self, payload: str) -> News | None:
        """What another process told; None for our own."""
        note = json.loads(payload)
        if note["by"] == self._process:
            return None
        named: dict[str, list[str]] = {}
        for kind, name in note["words"]:
            named.setdefault(kind, []).append(name)
        return News(
            frozenset(_repo(name) for name in named.get("rang", ())),
            frozenset(_repo(name) for name in named.get("written", ())),
            frozenset(AttemptId(name) for name in named.get("revoke", ())),
        )


def _repo(text: str) -> RepoKey:
    key = parse_key(text)
    return key if isinstance(key, RepoKey) else key.repo_key


def _batches(words: list[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    for first in range(0, len(words), PER_NOTE):
        yield words[first : first + PER_NOTE]
