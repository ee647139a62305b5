"""`python -m tests.benchmarks [PART ...]`: measures, prints the tables and writes them to docs/performance.md.

Without names all parts are measured. Each part has a table of its own on the page, with the command, machine, date and
commit that it was measured with; a part that is not measured keeps the one it has.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from tests.benchmarks import engine, hub, intake, latency, week
from tests.benchmarks.rows import Part, Row
from tests.benchmarks.server import QUIET
from tests.databases import PostgresqlServer, postgresql_server

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
LOAD = 0.5
"""More processes than this wanting to run at the start disturb the absolute figures."""

PARTS: Mapping[str, Part] = {
    "intake": intake.rows,
    "latency": latency.rows,
    "scheduling": engine.scheduling_rows,
    "size": engine.size_rows,
    "claims": engine.claim_rows,
    "requests": hub.request_rows,
    "rebuild": hub.rebuild_rows,
    "hours": hub.hour_rows,
    "week": week.rows,
}


def table(name: str, rows: Sequence[Row], commit: str, load: float, seconds: float) -> str:
    """The rows and how they came about, as Markdown. `load` is the machine's before the measurement."""
    # What else the machine does disturbs absolute figures, and the reader should know.
    busy = f"{load:.1f} processes wanting to run at the start"
    if load > LOAD:
        busy = f"{busy} (not quiet: only ratios count)"
    software = f"Linux {platform.release()}, Python {platform.python_version()}"
    command, day = f"python -m tests.benchmarks {name}", f"{datetime.now(UTC):%Y-%m-%d}"
    lines = [
        f"Command: `{command}`, {day}, commit {commit}, {seconds:.0f} seconds.",
        "",
        f"Machine: {_processor()}, {os.cpu_count()} processors, {software}, database on {_file_system()}, {busy}.",
        "",
        "| What | Measured | Ratio in the same run | Goal |",
        "|---|---|---|---|",
        *(f"| {row.what} | {row.value} | {row.ratio or '–'} | {row.goal or '–'} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def put(page: str, name: str, text: str) -> str:
    """The page with this part's table. Raises ValueError when it has no place for it."""
    begin, end = f"<!-- {name}: written by make bench -->\n", f"<!-- end of {name} -->\n"
    if begin not in page or end not in page:
        raise ValueError(f"{PAGE.name} has no place for {name!r}: {begin.strip()} … {end.strip()}")
    head, _, rest = page.partition(begin)
    return f"{head}{begin}{text}{end}{rest.partition(end)[2]}"


def _commit() -> str:
    """The commit that is measured, with a mark when files differ from it."""
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=10"], cwd=PAGE.parent, capture_output=True, text=True
    )
    return told.stdout.strip() or "unknown"


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


def measure(names: Sequence[str], postgresql: PostgresqlServer, *, write: bool) -> bool:
    """Measures the parts one after the other; whether all goals are met."""
    met, commit = True, _commit()  # before the page itself is written
    for name in names:
        load, began = os.getloadavg()[0], time.monotonic()
        rows = asyncio.run(_measured(PARTS[name], postgresql))
        text = table(name, rows, commit, load, time.monotonic() - began)
        sys.stdout.write(f"\n## {name}\n\n{text}")
        sys.stdout.flush()
        if write:
            PAGE.write_text(put(PAGE.read_text(encoding="utf-8"), name, text), encoding="utf-8", newline="\n")
        met = met and all(row.goal is None or row.goal.met for row in rows)
    return met


async def _measured(part: Part, postgresql: PostgresqlServer) -> Sequence[Row]:
    return await part(postgresql)


def main() -> int:
    words = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    words.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all without one")
    words.add_argument("--print", action="store_true", help="leave docs/performance.md as it is")
    asked = words.parse_args()
    unknown = [name for name in asked.parts if name not in PARTS]
    if unknown:
        words.error(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(QUIET + 10))
    with postgresql_server() as postgresql:
        met = measure(asked.parts or list(PARTS), postgresql, write=not asked.print)
    sys.stdout.write("\nAll goals are met.\n" if met else "\nNot all goals are met.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
