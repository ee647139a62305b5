"""The rigs that the tests of the GitHub client start from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.github.client import open_session
from tests.github.hub import World, hub_world
from tests.github.script import Script, script
from tests.github.support import JumpingClock, Rig, Tokens, make_client, scripted_server


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with scripted_server() as server, open_session() as session:
        clock, tokens = JumpingClock(), Tokens()
        yield Rig(server, make_client(session, server.url, clock, tokens), clock, tokens, session)


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with hub_world(tmp_path) as made:
        yield made


@pytest.fixture
async def s() -> AsyncIterator[Script]:
    async with script() as made:
        yield made
