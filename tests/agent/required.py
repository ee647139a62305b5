"""Under `TGS_REQUIRE_AGENT=1` a skipped test has failed: who asks for them must not miss one that is skipped."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

REQUIRED = os.environ.get("TGS_REQUIRE_AGENT") == "1"

NEEDS_ROOT = (
    "only root can give the agent a user id of its own. Run it as root, or in a user namespace "
    "(`unshare --map-root-user --map-auto`; needs the package uidmap and a range in /etc/subuid); "
    "`make test-agent` does that by itself where it can."
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skip into a failure with the reason."""
    report = yield
    if REQUIRED and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was not run, and TGS_REQUIRE_AGENT=1 asks for it: {reason}"
    return report
