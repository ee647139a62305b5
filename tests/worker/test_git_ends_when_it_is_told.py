"""A git call that takes too long ends at once, with everything it has started."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from bot.worker.git import Git, GitError

LIMIT = 10.0  # seconds after which a call counts as hung


@pytest.fixture
def talkative(tmp_path: Path) -> Git:
    """A repository where `git talk` says more than a pipe holds, by a child process."""
    subprocess.run(["git", "init", "--quiet", "."], cwd=tmp_path, check=True)
    subprocess.run(["git", "config", "alias.talk", "!yes"], cwd=tmp_path, check=True)
    return Git(tmp_path)


async def test_a_call_that_takes_too_long_ends_with_its_children(talkative: Git) -> None:
    with pytest.raises(GitError, match="no end after"):
        await asyncio.wait_for(talkative.run("talk", seconds=0.2), LIMIT)


async def test_a_call_that_is_given_up_ends_with_its_children(talkative: Git) -> None:
    call = asyncio.ensure_future(talkative.run("talk"))
    await asyncio.wait([call], timeout=0.2)
    call.cancel()
    done, _ = await asyncio.wait([call], timeout=LIMIT)
    assert done
