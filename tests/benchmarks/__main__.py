"""`python -m tests.benchmarks`: measures for some minutes, prints the table and writes it to docs/performance.md."""

from __future__ import annotations

import asyncio
import os
import platform
import statistics
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks import engine, intake
from tests.benchmarks.server import Kind
from tests.databases import PostgresqlServer, postgresql_server

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
BEGIN, END = "<!-- measured by python -m tests.benchmarks -->\n", "<!-- end of measurement -->\n"


@dataclass(frozen=True, slots=True)
class Row:
    what: str
    value: str
    ratio: str = ""


async def measure(postgresql: PostgresqlServer) -> list[Row]:
    """Everything, one after the other."""
    loaded, paced = await intake.compare(postgresql)
    rows = [*_intake_rows(loaded), *_paced_rows(paced)]
    for rate in engine.RATES:
        for words, address in (("SQLite", None), ("PostgreSQL", postgresql.fresh())):
            taken = await engine.latency(rate, address)
            rows.append(
                Row(
                    f"Delivery sent → pass over its key begins, at {rate:,}/s, {words}",
                    f"p50 {statistics.median(taken):.1f} ms, p99 {_p99(taken):.1f} ms",
                )
            )
    for locked, words in ((False, "no locks"), (True, "one lock each, 25 paths held")):
        grown = engine.scheduling(locked=locked)
        small, large = engine.SIZES
        rows.append(
            Row(
                f"Scheduling pass over {small:,} and {large:,} ready items, {words}",
                f"{grown.millis[small]:.0f} ms, {grown.millis[large]:.0f} ms",
                f"{grown.growth:.1f} × the time for 10 × the items",
            )
        )
    rows.append(
        Row(
            "Scheduling passes over 1,000 repositories with ten ready items each",
            f"{engine.many_repositories():.0f} ms",
        )
    )
    light, heavy = await engine.weight(10_000), await engine.weight(100_000)
    rows += [
        Row("Start with 10,000 items that all wait to be looked at", f"{light.start:.2f} s"),
        Row("Start with 100,000", f"{heavy.start:.2f} s", f"{heavy.start / light.start:.1f} × the time"),
        Row(
            "Memory with 10,000 and with 100,000 items, after a look at every repository",
            f"{light.full:.0f} MiB, {heavy.full:.0f} MiB",
            f"{heavy.full / light.full:.1f} × for 10 × the items; {light.empty:.0f} MiB before",
        ),
    ]
    rates = await engine.claims()
    rows.append(Row("Claims on disk, one after the other", f"{rates.single:,.0f}/s", "1.00"))
    rows.append(
        Row("Claims on disk, all at once", f"{rates.together:,.0f}/s", f"{rates.together / rates.single:.1f} × as many")
    )
    read = engine.decoding()
    rows.append(Row("Payload read by `json.loads`, everything, unchecked", f"{read.standard:.0f} µs", "1.00"))
    rows.append(
        Row(
            "The same payload decoded and read by its handler",
            f"{read.typed:.0f} µs",
            f"{read.typed / read.standard:.2f}",
        )
    )
    return rows


NAMES = {
    Kind.BARE: "bare aiohttp: body and HMAC only",
    Kind.READ: "the product's endpoint, nothing stored",
    Kind.DURABLE: "the product's endpoint, on disk before the answer (SQLite)",
    Kind.POSTGRESQL: "the product's endpoint, on disk before the answer (PostgreSQL)",
    Kind.PROBOT: "Probot 14 with an empty handler, nothing stored",
}


def _intake_rows(found: dict[Kind, intake.Measured]) -> list[Row]:
    base, rival = found[Kind.BARE], found.get(Kind.PROBOT)
    rows = []
    for kind, one in found.items():
        against = "" if rival is None else f", {one.rate / rival.rate:.2f} of Probot's"
        rows.append(
            Row(
                f"Webhook, {NAMES[kind]}",
                f"{one.rate:,.0f}/s, {one.micros:.0f} µs of processor each",
                f"{one.rate / base.rate:.2f} of bare aiohttp's rate{against}, "
                f"{one.micros / base.micros:.2f} × the processor time",
            )
        )
    return rows


def _paced_rows(found: dict[Kind, list[float]]) -> list[Row]:
    rival = found.get(Kind.PROBOT)
    return [
        Row(
            f"Answer at {intake.PACE}/s, {NAMES[kind]}",
            f"p50 {statistics.median(taken):.1f} ms, p99 {_p99(taken):.1f} ms",
            "" if rival is None else f"p99 {_p99(taken) / _p99(rival):.2f} of Probot's",
        )
        for kind, taken in found.items()
    ]


def _p99(taken: list[float]) -> float:
    return statistics.quantiles(taken, n=100)[98]


def table(rows: list[Row], load: float) -> str:
    """The rows and how they came about, as Markdown. `load` is the machine's before the measurement."""
    # What else the machine does disturbs absolute figures, and the reader should know.
    busy = f"{load:.1f} processes wanting to run at the start"
    software = f"Linux {platform.release()}, Python {platform.python_version()}"
    lines = [
        f"Command: `python -m tests.benchmarks`, {datetime.now(UTC):%Y-%m-%d}.",
        "",
        f"Machine: {_processor()}, {os.cpu_count()} processors, {software}, database on {_file_system()}, {busy}.",
        "",
        "| What | Measured | Ratio in the same run |",
        "|---|---|---|",
        *(f"| {row.what} | {row.value} | {row.ratio or '–'} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()


def _file_system() -> str:
    """The kind of file system that the databases of the run are on; a commit costs what its fsync costs."""
    folder = Path(tempfile.gettempdir()).resolve()
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    fitting = [(point, kind) for point, kind in mounts if folder.is_relative_to(point)]
    return max(fitting, key=lambda entry: len(entry[0]))[1]


def main() -> int:
    load = os.getloadavg()[0]
    with postgresql_server() as postgresql:
        measured = table(asyncio.run(measure(postgresql)), load)
    sys.stdout.write(measured)
    page = PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    tail = rest.partition(END)[2]
    PAGE.write_text(f"{head}{BEGIN}{measured}{END}{tail}", encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
