"""The backlog in a file does what every backlog does; real git, one bare repository, a clone for each person."""

from __future__ import annotations

import pytest

from tests.client.clones import Clones
from tests.client.contract import BacklogContract, Stage


@pytest.fixture
def stage(clones: Clones) -> Stage:
    return clones


class TestFileBacklog(BacklogContract):
    """All of the contract."""
