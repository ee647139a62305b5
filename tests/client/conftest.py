"""What the tests of the backlogs share: git without the configuration of whoever runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.client.clones import Clones, template


@pytest.fixture(autouse=True)
def _plain_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return template(tmp_path_factory.mktemp("made"))


@pytest.fixture
def clones(made: Path, tmp_path: Path) -> Clones:
    return Clones(made, tmp_path)
