"""How soon a key is looked at after the delivery that points at it was sent. Sender and bot are two processes."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections import deque
from pathlib import Path

from handlers import REGISTRY
from tests.benchmarks.intake import CONNECTIONS, p99, signed
from tests.benchmarks.rows import Row, at_most
from tests.corpus.reading import as_delivered, encode, events_of
from tests.databases import PostgresqlServer

RATES = (100, 1_000)
"""Deliveries a second: more than ten busy installations send, and ten times that."""
SECONDS = 4.0
"""Length of one measurement."""
ROUNDS = 4
"""Databases take turns: at 100/s that gives 1,600 deliveries, and no slow phase decides the median."""
LARGEST = 1 << 27
"""Bytes of a line that the bot may answer with: a time for each key."""


async def latency(rate: int, address: str | None = None) -> list[float]:
    """Milliseconds from sending a delivery to the start of the pass it causes, sorted; each points at a key of its own,
    so no pass serves two."""
    pushes = [_push(number) for number in range(int(rate * SECONDS))]
    with tempfile.TemporaryDirectory(prefix="tgs-benchmark-") as folder:
        url = address or f"sqlite:///{Path(folder) / 'benchmark.db'}"
        command = (sys.executable, "-m", "tests.benchmarks.passes", url, str(len(pushes)))
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=LARGEST)
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            sent = await _send(int(await process.stdout.readline()), pushes, rate)
            process.stdin.close()
            began = json.loads(await process.stdout.readline())
            await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return sorted((began[key] - at) * 1e3 for key, at in sent.items())


class Sender:
    """Sends each request at once over a free connection, or over the next one that becomes free."""

    def __init__(self) -> None:
        self._free: list[asyncio.WriteTransport] = []
        self._waiting: deque[bytes] = deque()
        self._unanswered = 0
        self._changed = asyncio.Event()
        self._refused = b""

    def send(self, request: bytes) -> None:
        self._unanswered += 1
        if self._free:
            self._free.pop().write(request)
        else:
            self._waiting.append(request)

    def free(self, connection: asyncio.WriteTransport) -> None:
        """It is there, or what it sent was answered."""
        if self._waiting:
            connection.write(self._waiting.popleft())
        else:
            self._free.append(connection)

    def answered(self, connection: asyncio.WriteTransport, answer: bytes) -> None:
        if not answer.startswith(b"HTTP/1.1 202"):
            self._refused = answer
        self._unanswered -= 1
        self._changed.set()
        self.free(connection)

    async def finish(self) -> None:
        """Returns when everything that was sent is answered. Raises RuntimeError when something was refused."""
        while self._unanswered and not self._refused:
            self._changed.clear()
            await self._changed.wait()
        if self._refused:
            raise RuntimeError(self._refused.decode("latin-1"))


class Connection(asyncio.Protocol):
    """One connection of a sender; an answer comes in one piece."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._sender.free(transport)

    def data_received(self, data: bytes) -> None:
        self._sender.answered(self._transport, data)


async def _send(port: int, pushes: list[tuple[str, bytes]], rate: int) -> dict[str, float]:
    """When each delivery was sent; all have been answered. Beyond what the bot can do, deliveries wait for a free
    connection, and their time has begun. No task is made for a delivery: the sender's own work shall not be measured.
    """
    loop, sender = asyncio.get_running_loop(), Sender()
    for _ in range(CONNECTIONS):
        await loop.create_connection(lambda: Connection(sender), "127.0.0.1", port)
    sent: dict[str, float] = {}
    start = time.monotonic() + 0.3
    for number, (key, request) in enumerate(pushes):
        await asyncio.sleep(max(start + number / rate - time.monotonic(), 0))
        sent[key] = time.monotonic()
        sender.send(request)
    await sender.finish()
    return sent


def _push(number: int) -> tuple[str, bytes]:
    """A push to the default branch of a repository of its own: (its key, the request)."""
    payload = as_delivered(events_of("push")[0])
    repository = payload["repository"] | {"id": 1_000_000 + number}
    branch = f"refs/heads/{repository['default_branch']}"
    body = encode(payload | {"repository": repository, "ref": branch})
    [repo] = REGISTRY["push"].read(body, 1)[1].repos
    return str(repo.key), signed(body, "push", f"latency-{number}")


async def rows(postgresql: PostgresqlServer) -> list[Row]:
    """How long a delivery waits for the pass it causes, on both databases in turns."""
    found = []
    for rate in RATES:
        taken: dict[str, list[float]] = {"SQLite": [], "PostgreSQL": []}
        for _ in range(ROUNDS):
            taken["SQLite"] += await latency(rate)
            taken["PostgreSQL"] += await latency(rate, postgresql.fresh())
        for words, limit in (("SQLite", 2.0), ("PostgreSQL", 10.0)):
            middle = statistics.median(taken[words])
            found.append(
                Row(
                    f"Delivery sent → pass over its key begins, at {rate:,}/s, {words}",
                    f"p50 {middle:.1f} ms, p99 {p99(taken[words]):.1f} ms",
                    f"p50 {middle / statistics.median(taken['SQLite']):.1f} × SQLite's",
                    at_most(middle, limit, f"p50 ≤ {limit:.0f} ms"),
                )
            )
    return found
