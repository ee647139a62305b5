"""The backlog on GitHub alone does what every backlog does; a local GitHub over HTTP, a token for each person."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.client.contract import BacklogContract
from tests.client.github_stage import GithubStage, github_stage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[GithubStage]:
    async with github_stage(tmp_path) as made:
        yield made


class TestGithubBacklog(BacklogContract):
    """All of the contract."""
