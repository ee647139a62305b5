"""How many deliveries a second are answered, with and without putting them on disk; all in one run, in turns."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.rows import Row, at_least, at_most
from tests.benchmarks.server import SECRET, Kind
from tests.corpus.reading import as_delivered, encode, events_of
from tests.databases import PostgresqlServer

ROUNDS = 7
"""Each kind is measured so often under load, in turns: a machine that is busy for a while disturbs all of them alike.
One fresh server and the next, of the same version on a quiet machine, differed by up to a third here (143 to 218 µs of
processor for a stored delivery over 24 of them), so the median of fewer says little."""
SECONDS = 1.5
"""Length of one measurement."""
CONNECTIONS = 32
"""Connections at once; as many as in the measurement of other servers that the goals come from."""
PACE = 200
"""Deliveries a second of the measurement of answers: twenty busy installations."""
PACE_ROUNDS = 3
"""How often answers are measured, in turns too."""
PACE_SECONDS = 3.0
"""Length of one such measurement: 600 answers give a usable 99th percentile."""
EVENT = "workflow_run"
"""The most frequent large event of a busy repository."""


@dataclass
class Measured:
    """One kind of server. Rates are deliveries a second; `cpu` is the server's processor time per delivery, in µs."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)

    @property
    def micros(self) -> float:
        return statistics.median(self.cpu)


def body_of(event: str) -> bytes:
    """A recorded payload of the event, as an App gets it."""
    return encode(as_delivered(events_of(event)[0]))


def signed(body: bytes, event: str, delivery: str) -> bytes:
    """One whole HTTP request."""
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    head = (
        "POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"X-GitHub-Event: {event}\r\nX-GitHub-Delivery: {delivery}\r\n"
        f"X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Caller(asyncio.Protocol):
    """Sends a request, waits for the whole answer, sends the next one, until the time is over."""

    def __init__(self, name: str, request: bytes, end: float) -> None:
        self.answered = 0
        self.done = asyncio.get_running_loop().create_future()
        before, _, after = request.partition(b"DELIVERY")
        self._before, self._after, self._name, self._end = before, after, name, end
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._transport.write(self._before + f"{self._name}-{self.answered}".encode() + self._after)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(rest) < length:
            return
        if not head.startswith((b"HTTP/1.1 202", b"HTTP/1.1 200")):
            self.done.set_exception(RuntimeError(head.decode("latin-1")))
            self._transport.close()
            return
        self._buffer = rest[length:]
        self.answered += 1
        if time.perf_counter() < self._end:
            self._send()
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()


@asynccontextmanager
async def server(kind: Kind, place: str, probot: Path | None) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A fresh server and its port."""
    ours = [sys.executable, "-m", "tests.benchmarks.server", kind.value, place]
    theirs = ["node", str(probot / "server.mjs")] if probot is not None else []
    process = await asyncio.create_subprocess_exec(
        *(theirs if kind is Kind.PROBOT else ours),
        stdin=PIPE,
        stdout=PIPE,
        env={**os.environ, "BENCHMARK_SECRET": SECRET},
    )
    assert process.stdout is not None
    try:
        yield process, int(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def measure(kind: Kind, place: str, label: str, probot: Path | None) -> tuple[float, float]:
    """(deliveries a second, µs of the server's processor time each) of one fresh server."""
    async with server(kind, place, probot) as (process, port):
        assert process.stdin is not None
        assert process.stdout is not None
        request = signed(body_of(EVENT), EVENT, "DELIVERY")
        start = time.perf_counter()
        callers = [Caller(f"{label}-{number}", request, start + SECONDS) for number in range(CONNECTIONS)]
        loop = asyncio.get_running_loop()
        for caller in callers:
            await loop.create_connection(lambda one=caller: one, "127.0.0.1", port)  # type: ignore[misc]
        await asyncio.gather(*(caller.done for caller in callers))
        took = time.perf_counter() - start
        answered = sum(caller.answered for caller in callers)
        process.stdin.close()
        used = float(await process.stdout.readline())
        await process.wait()
    return answered / took, used / answered * 1e6


class Paced(asyncio.Protocol):
    """One connection that sends when it is told to and says how long the answer took."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(None)

    async def ask(self, request: bytes) -> float:
        self.answer = asyncio.get_running_loop().create_future()
        start = time.perf_counter()
        self.transport.write(request)
        await self.answer
        return (time.perf_counter() - start) * 1e3


async def pace(kind: Kind, place: str, label: str, probot: Path | None) -> list[float]:
    """Milliseconds from sending to the answer, at `PACE` deliveries a second."""
    async with server(kind, place, probot) as (_, port):
        loop = asyncio.get_running_loop()
        free: asyncio.Queue[Paced] = asyncio.Queue()
        for _number in range(CONNECTIONS):
            _, one = await loop.create_connection(Paced, "127.0.0.1", port)
            free.put_nowait(one)
        body = body_of(EVENT)
        requests = [signed(body, EVENT, f"{label}-{number}") for number in range(int(PACE * PACE_SECONDS))]
        taken: list[float] = []

        async def send(request: bytes) -> None:
            one = await free.get()
            taken.append(await one.ask(request))
            free.put_nowait(one)

        start = time.perf_counter() + 0.3
        async with asyncio.TaskGroup() as group:
            for number, request in enumerate(requests):
                await asyncio.sleep(max(start + number / PACE - time.perf_counter(), 0))
                group.create_task(send(request))
    # The first ones warm the server up.
    return taken[len(taken) // 10 :]


def disk_alone() -> list[float]:
    """Milliseconds to put a page of a file on disk, at the same pace: no answer that waits for the disk is quicker."""
    taken = []
    with tempfile.TemporaryFile() as file:
        for _ in range(int(PACE * PACE_SECONDS)):
            time.sleep(1 / PACE)
            start = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - start) * 1e3)
    return taken[len(taken) // 10 :]


@contextmanager
def installed_probot() -> Iterator[Path | None]:
    """A folder with Probot in it; None where there is no npm."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="tgs-benchmark-probot-") as folder:
        there = Path(folder) / "probot"
        shutil.copytree(Path(__file__).parent / "probot", there, ignore=shutil.ignore_patterns("node_modules"))
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=there, capture_output=True
        )
        yield there if done.returncode == 0 else None


async def compare(postgresql: PostgresqlServer) -> tuple[dict[Kind, Measured], dict[Kind, list[float]]]:
    """All kinds, in turns: under full load, and the milliseconds of an answer at a steady pace."""
    with installed_probot() as probot:
        kinds = [kind for kind in Kind if kind is not Kind.PROBOT or probot is not None]
        loaded = {kind: Measured() for kind in kinds}
        paced: dict[Kind, list[float]] = {kind: [] for kind in kinds}
        for number in range(ROUNDS):
            for kind in kinds:
                with place_for(kind, postgresql) as place:
                    rate, micros = await measure(kind, place, f"{kind.value}-{number}", probot)
                loaded[kind].rates.append(rate)
                loaded[kind].cpu.append(micros)
        for number in range(PACE_ROUNDS):
            for kind in kinds:
                with place_for(kind, postgresql) as place:
                    paced[kind] += await pace(kind, place, f"paced-{kind.value}-{number}", probot)
    return loaded, paced


@contextmanager
def place_for(kind: Kind, postgresql: PostgresqlServer) -> Iterator[str]:
    """Where a fresh server of this kind keeps what it is sent."""
    if kind is Kind.POSTGRESQL:
        yield postgresql.fresh()
        return
    with tempfile.TemporaryDirectory(prefix="tgs-benchmark-") as folder:
        yield folder


NAMES = {
    Kind.BARE: "bare aiohttp: body and HMAC only",
    Kind.READ: "the product's endpoint, nothing stored",
    Kind.DURABLE: "the product's endpoint, on disk before the answer (SQLite)",
    Kind.POSTGRESQL: "the product's endpoint, on disk before the answer (PostgreSQL)",
    Kind.PROBOT: "Probot 14 with an empty handler, nothing stored",
}
STORED = (Kind.DURABLE, Kind.POSTGRESQL)
"""The kinds that the goals are about."""


async def rows(postgresql: PostgresqlServer) -> list[Row]:
    """Intake under load and at a steady pace, against bare aiohttp and Probot."""
    loaded, paced = await compare(postgresql)
    disk = [one for _ in range(PACE_ROUNDS) for one in disk_alone()]
    return [*_loaded_rows(loaded), *_paced_rows(paced), _disk_row(disk, paced.get(Kind.PROBOT))]


def _loaded_rows(found: dict[Kind, Measured]) -> list[Row]:
    base, rival = found[Kind.BARE], found.get(Kind.PROBOT)
    told = []
    for kind, one in found.items():
        against, goal = "", None
        if rival is not None:
            share = one.rate / rival.rate
            against = f", {share:.2f} of Probot's"
            goal = at_least(share, 1.25, "≥ 1.25 of Probot's rate") if kind in STORED else None
        told.append(
            Row(
                f"Webhook, {NAMES[kind]}",
                f"{one.rate:,.0f}/s ({min(one.rates):,.0f} to {max(one.rates):,.0f}), "
                f"{one.micros:.0f} µs of processor each",
                f"{one.rate / base.rate:.2f} of bare aiohttp's rate{against}, "
                f"{one.micros / base.micros:.2f} × the processor time",
                goal,
            )
        )
    return told


def _paced_rows(found: dict[Kind, list[float]]) -> list[Row]:
    rival = found.get(Kind.PROBOT)
    told = []
    for kind, taken in found.items():
        against, goal = "", None
        if rival is not None:
            share = p99(taken) / p99(rival)
            against = f"p99 {share:.2f} of Probot's"
            goal = at_most(share, 0.8, "p99 ≤ 0.8 of Probot's") if kind in STORED else None
        told.append(
            Row(
                f"Answer at {PACE}/s, {NAMES[kind]}",
                f"p50 {statistics.median(taken):.1f} ms, p99 {p99(taken):.1f} ms",
                against,
                goal,
            )
        )
    return told


def _disk_row(taken: list[float], rival: list[float] | None) -> Row:
    against = f"p99 {p99(taken) / p99(rival):.2f} of Probot's" if rival is not None else ""
    value = f"p50 {statistics.median(taken):.1f} ms, p99 {p99(taken):.1f} ms"
    return Row(f"The disk alone: a page of 4 KiB written and synced, {PACE} times a second", value, against)


def p99(taken: list[float]) -> float:
    return statistics.quantiles(taken, n=100)[98]
