"""From push to closed issue: real git over HTTP, real processes, checks, merge."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.localhub.flow import Flow, flow, git

CI = """\
name: CI
on: [push, pull_request]
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {python-version: "3.11"}
      - run: python -m unittest
"""


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[Flow]:
    files = {".github/workflows/ci.yml": CI, "test_x.py": "import unittest\n"}
    async with flow(tmp_path, files=files) as made:
        yield made


async def test_push_starts_ci_and_a_green_pull_request_merges_and_closes_its_issue(w: Flow) -> None:
    issue = w.hub.issues.open(w.repo, "Broken", actor=w.as_(w.owner))
    work = w.tmp / "work"
    work.mkdir()
    await git(work, "clone", "-q", w.url(w.token()), ".")
    (work / "test_x.py").write_text(
        "import unittest\nclass T(unittest.TestCase):\n    def test_a(self): self.assertTrue(True)\n"
    )
    await git(work, "checkout", "-qb", "tgs/1-fix")
    await git(work, "commit", "-qam", "Fix it")
    await git(work, "push", "-q", "origin", "tgs/1-fix")
    sha = (await git(work, "rev-parse", "HEAD")).strip()
    body = {"title": "Fix", "head": "tgs/1-fix", "base": "main", "body": f"Closes #{issue.number}"}
    pull = await w.call("POST", "/pulls", body)
    assert (pull.status, pull.body["mergeable"], pull.body["mergeable_state"]) == (201, None, "unknown")
    await w.hub.settle()
    checks = await w.call("GET", "/commits/tgs/1-fix/check-runs?filter=all")
    assert [(c["name"], c["conclusion"]) for c in checks.body["check_runs"]] == [("test", "success")] * 2
    await w.call("GET", "/pulls/2")
    pull = await w.call("GET", "/pulls/2")
    assert (pull.body["mergeable"], pull.body["mergeable_state"]) == (True, "clean")
    refused = await w.call("PUT", "/pulls/2/merge", {"sha": "0" * 40})
    words = "Head branch was modified. Review and try the merge again."
    assert (refused.status, refused.body["message"]) == (409, words)
    merged = await w.call("PUT", "/pulls/2/merge", {"sha": sha})
    assert (merged.status, merged.body["merged"]) == (200, True)
    assert issue.state == "closed"
    assert issue.events[-1].commit_id == merged.body["sha"]
    assert await w.actions("pull_request") == ["opened", "closed"]
    assert (await w.actions("issues")).count("closed") == 1
    assert set(await w.actions("check_run")) == {"created", "completed"}
    assert set(await w.actions("workflow_run")) == {"requested", "in_progress", "completed"}
    main = next(p for p in await w.events("push") if p["ref"] == "refs/heads/main")
    assert main["after"] == merged.body["sha"]
