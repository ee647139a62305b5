"""Plays `tgs demo --once` and puts what it printed into docs/DEMO.md, so that the page shows a real run.

Promise: only the part between the two marks changes; ports and run numbers, which are different in every run, are
replaced by fixed ones, times stay as they were. Nothing is recorded when the demo fails.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "DEMO.md"
BEGIN, END = "<!-- transcript: scripts/record_demo.py -->\n```text\n", "```\n<!-- end of transcript -->"
SECONDS = 300
"""The demo takes about a minute; a machine that needs longer than this is stuck."""


def settled(text: str) -> str:
    """The text with the parts that differ between runs made equal, and without spaces at the ends of lines."""
    ports: dict[str, str] = {}
    runs: dict[str, str] = {}
    text = re.sub(r"(?<=127\.0\.0\.1:)\d+", lambda m: ports.setdefault(m[0], str(8071 + len(ports))), text)
    text = re.sub(r"(?<=\brun )\d+", lambda m: runs.setdefault(m[0], str(101 + len(runs))), text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "2030-01-01 10:00 UTC", text)
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n"


def put(page: str, transcript: str) -> str:
    """The page with its transcript replaced. Raises ValueError when the marks are missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("docs/DEMO.md lacks the marks of the transcript")
    return before + BEGIN + transcript + END + after


def main() -> int:
    tgs = Path(sys.executable).with_name("tgs")
    played = subprocess.run([str(tgs), "demo", "--once"], capture_output=True, text=True, timeout=SECONDS, check=False)
    if played.returncode != 0:
        print(f"the demo ended with {played.returncode}; nothing was recorded\n{played.stderr}", file=sys.stderr)
        return 1
    PAGE.write_text(put(PAGE.read_text("utf-8"), settled(played.stdout)), "utf-8")
    print("wrote docs/DEMO.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
