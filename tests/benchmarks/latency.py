"""How soon a key is looked at after the delivery that points at it was sent. Sender and bot are two processes."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from pathlib import Path

from handlers import REGISTRY
from tests.benchmarks.intake import CONNECTIONS, Paced, p99, signed
from tests.benchmarks.rows import Row, at_most
from tests.corpus.reading import as_delivered, encode, events_of
from tests.databases import PostgresqlServer

RATES = (100, 1_000)
"""Deliveries a second: more than ten busy installations send, and ten times that."""
SECONDS = 4.0
"""Length of one measurement."""
ROUNDS = 2
"""Databases take turns: two rounds at 100/s give 800 deliveries, enough for a 99th percentile."""
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


async def _send(port: int, pushes: list[tuple[str, bytes]], rate: int) -> dict[str, float]:
    """When each delivery was sent; all have been answered. Beyond what the bot can do, deliveries wait for a free
    connection, and their time has begun."""
    loop = asyncio.get_running_loop()
    free: asyncio.Queue[Paced] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        _, one = await loop.create_connection(Paced, "127.0.0.1", port)
        free.put_nowait(one)
    sent: dict[str, float] = {}

    async def send(request: bytes) -> None:
        one = await free.get()
        await one.ask(request)
        free.put_nowait(one)

    start = time.monotonic() + 0.3
    async with asyncio.TaskGroup() as group:
        for number, (key, request) in enumerate(pushes):
            await asyncio.sleep(max(start + number / rate - time.monotonic(), 0))
            sent[key] = time.monotonic()
            group.create_task(send(request))
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
