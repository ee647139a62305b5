"""How many deliveries a second are answered, with and without putting them on disk; all in one run, in turns."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import statistics
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.server import SECRET, Kind
from tests.corpus.reading import as_delivered, encode, events_of

ROUNDS = 3
"""Each kind is measured so often, in turns: a machine that is busy for a while disturbs all of them alike."""
SECONDS = 1.5
"""Length of one measurement."""
CONNECTIONS = 32
"""Connections at once; as many as in the measurement of other servers that the goals come from."""
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
        if not head.startswith(b"HTTP/1.1 202"):
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


async def measure(kind: Kind, folder: Path, label: str) -> tuple[float, float]:
    """(deliveries a second, µs of the server's processor time each) of one fresh server."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.server", kind.value, str(folder), stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
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
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return answered / took, used / answered * 1e6


async def compare() -> dict[Kind, Measured]:
    """All kinds, in turns."""
    found = {kind: Measured() for kind in Kind}
    for number in range(ROUNDS):
        for kind in Kind:
            with tempfile.TemporaryDirectory(prefix="tgs-benchmark-") as folder:
                rate, micros = await measure(kind, Path(folder), f"{kind.value}-{number}")
            found[kind].rates.append(rate)
            found[kind].cpu.append(micros)
    return found
