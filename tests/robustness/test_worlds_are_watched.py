"""A world fails its test on traffic that GitHub's own description of its API does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.world import new_world


async def asked(folder: Path, path: str) -> None:
    """A world in which somebody sends one request."""
    async with new_world(folder) as world:
        assert world.http is not None
        headers = {"X-GitHub-Api-Version": "2022-11-28"}
        async with world.http.get(world.hub.api_url + path, headers=headers) as answer:
            await answer.read()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        pytest.param("/repos/olga/greeter/nonsense", "not known", id="a path that is not there"),
        pytest.param("/repos/olga/greeter/issues?lable=x", "lable", id="a misspelt parameter"),
    ],
)
async def test_a_request_that_github_does_not_know_fails_the_world(tmp_path: Path, path: str, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        await asked(tmp_path, path)


async def test_what_the_bot_itself_sends_at_its_start_passes(tmp_path: Path) -> None:
    async with new_world(tmp_path) as world:
        assert world.hub.log.entries
