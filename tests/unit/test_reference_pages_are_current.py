"""The generated pages of the documentation are what the code says now, and staleness is noticed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_pages_are_current_and_a_stale_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    for name in ("check_generated.py", "cli_docs.py", "generate_docs.py"):
        (tmp_path / "scripts" / name).write_text((ROOT / "scripts" / name).read_text())
    (tmp_path / "bot").symlink_to(ROOT / "bot")
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    page = tmp_path / "docs/reference/policy.md"
    page.write_text(page.read_text() + "edited by hand\n")

    command = [sys.executable, str(tmp_path / "scripts/check_generated.py")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert result.returncode == 1
    assert [line.split(" is out of date")[0] for line in result.stderr.splitlines()] == ["docs/reference/policy.md"]
