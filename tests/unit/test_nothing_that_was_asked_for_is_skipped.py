"""`make test-agent` asks for its tests: one that cannot run has failed, with the reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT


@pytest.mark.parametrize(("required", "outcome"), [("1", "1 error"), ("", "1 skipped")])
def test_a_test_that_cannot_run_here(tmp_path: Path, required: str, outcome: str) -> None:
    (tmp_path / "conftest.py").write_text("from tests.agent.required import pytest_runtest_makereport as hook\n"
        "pytest_runtest_makereport = hook\n")  # fmt: skip
    (tmp_path / "test_it.py").write_text(
        "import pytest\nfrom tests.agent.required import NEEDS_ROOT\n"
        "@pytest.mark.skipif(True, reason=NEEDS_ROOT)\ndef test_it(): pass\n"
    )
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-c", os.devnull, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TGS_REQUIRE_AGENT": required},
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert outcome in told.stdout, told.stdout + told.stderr
    assert "package uidmap" in told.stdout
