"""The generated pages of the documentation are what the code says now, and staleness is noticed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(cwd / "scripts" / script)], capture_output=True, text=True, timeout=60)


def test_the_pages_are_current() -> None:
    result = run("check_generated.py")
    assert result.returncode == 0, result.stderr


def test_a_stale_page_is_named(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    for name in ("check_generated.py", "cli_docs.py", "generate_docs.py"):
        (tmp_path / "scripts" / name).write_text((ROOT / "scripts" / name).read_text())
    (tmp_path / "bot").symlink_to(ROOT / "bot")
    assert run("generate_docs.py", tmp_path).returncode == 0
    page = tmp_path / "docs/reference/policy.md"
    page.write_text(page.read_text() + "edited by hand\n")
    result = run("check_generated.py", tmp_path)
    assert result.returncode == 1
    assert "docs/reference/policy.md is out of date" in result.stderr
    assert result.stderr.count("out of date") == 1
