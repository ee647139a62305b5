"""After a whole loop no secret of that run lies in the database, the logs, on the issue or in git.

Searched for: the App's private key, the webhook secret, every credential the bot sent to GitHub (App tokens,
installation tokens, the write token), the attempt's token, its code and every identity token of its jobs.
"""

from __future__ import annotations

import io
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
import structlog

from bot.logs import configure
from tests.run_by_hand import RunByHand
from tests.scenarios.steps import dispatched, say
from tests.world import SECRET, World, new_world

SHORTEST = 20
"""Characters below which a line of the key could be found by chance."""


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Everything that is logged, from debug on, as an operator's machine would keep it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    out = io.StringIO()
    configure(json=True, level="debug", stream=out)
    yield out
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


class Wire:
    """Notes the credential of every request that the bot sends."""

    def __init__(self) -> None:
        self.sent: set[str] = set()

    async def request(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        _, _, credential = request.headers.get("Authorization", "").partition(" ")
        if credential:
            self.sent.add(credential)
        return await handler(request)


class Minted(RunByHand):
    """Notes every identity token of the run's jobs."""

    seen: set[str]

    def oidc(self, job: str, purpose: str, **overrides: object) -> str:
        token = super().oidc(job, purpose, **overrides)
        self.seen.add(token)
        return token


async def whole_loop(world: World) -> set[str]:
    """From the label to the merge; the secrets that only the run knows."""
    number = await dispatched(world)
    run = Minted(world, world.run().run)
    run.seen = set()
    world.ci(await run.work())
    await world.settle()
    await say(world, number, "/tgs merge")
    assert world.state(number) == "done"
    return {run.token, run.handoff, *run.seen}


def kept(world: World, log: io.StringIO) -> dict[str, bytes]:
    """Everything that stays: by place."""
    places = {path.name: path.read_bytes() for path in (world.tmp / "data").rglob("*") if path.is_file()}
    places["the log"] = log.getvalue().encode()
    said = [world.repo.name]
    for issue in world.repo.issues.values():
        said += [issue.title, issue.body or "", *(comment.body for comment in issue.comments)]
    places["the issues"] = "\n".join(said).encode()
    command = ["git", "cat-file", "--batch-all-objects", "--batch", "--unordered"]
    places["git"] = subprocess.run(command, cwd=world.repo.git_dir, capture_output=True, check=True).stdout
    return places


def found(secret: str, places: dict[str, bytes]) -> list[str]:
    return [place for place, content in places.items() if secret.encode() in content]


async def test_no_secret_of_a_whole_loop_is_kept_anywhere(tmp_path: Path, log: io.StringIO) -> None:
    wire = Wire()
    async with new_world(tmp_path, installed=False) as world:
        await world.stop_bot()
        world.around_requests = (wire.request,)
        await world.start_bot()
        await world.install()
        own = await whole_loop(world)
        alive = kept(world, log)
        await world.stop_bot()
        places = alive | {f"{name} at the end": content for name, content in kept(world, log).items()}
        key = {line for line in world.app.private_key_pem.splitlines() if len(line) >= SHORTEST and " " not in line}
        secrets = own | wire.sent | key | {SECRET}
        # App token, installation token, write token; token, code and two kinds of identity tokens of the run; the key.
        assert len(wire.sent) >= 3
        assert len(own) >= 4
        assert len(key) > 10
        assert all(secrets)
        leaks = {f"{secret[:6]}…": where for secret in secrets if (where := found(secret, places))}
        assert leaks == {}
        # The search finds what is there.
        assert found("Add a greeting", places) != []
        assert any(name.endswith("-wal") for name in places)
        for text, place in (("hello from #", "git"), ("/tgs merge", "the issues"), ('"level": "debug"', "the log")):
            assert place in found(text, places), f"{text} is not in {place}"
