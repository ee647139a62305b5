"""An agent that looks for secrets everywhere finds none; and each defence, switched off, is missed at once.

The worker is the real command in a process of its own, with canaries where secrets are: in its environment, in the
variables of the runner's identity service, in git's configuration, in files of the worker's user, in its workspace, and
as the model's key. The agent is a program that reads everything it can get to, as root's neighbour on one machine.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from tests.agent.required import NEEDS_ROOT
from tests.agent.weakened import DEFENCES
from tests.docs.pages import ROOT
from tests.worker.support import HANDOFF, LIMIT, Origin, fake_bot, make_origin
from tests.worker.test_commands_of_the_jobs import agent_env

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason=NEEDS_ROOT)

PLACES = ("key", "environment", "oidc", "git", "disk", "server", "workspace")


def canary(place: str) -> str:
    return f"canary-{place}-{secrets.token_hex(8)}"


@pytest.fixture
def ground() -> Iterator[Path]:
    """A folder that every user can enter: the machine is shared."""
    folder = Path(tempfile.mkdtemp(prefix="tgs-hunt-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@asynccontextmanager
async def model(key: str, server: str) -> AsyncIterator[str]:
    """The model's API: repeats the key in its errors, and has more than the agent may ask for."""

    async def answer(request: web.Request) -> web.Response:
        if request.headers.get("x-api-key") != key:
            return web.json_response({"error": "who?"}, status=401)
        if request.path == "/v1/messages":
            return web.json_response({"error": f"the key {key} is out of credit"}, status=400)
        return web.json_response({"keys": [server]})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def hunt(ground: Path, *off: str) -> set[str]:
    """Runs the worker with the hostile agent; the places whose canaries it found."""
    birds = {place: canary(place) for place in PLACES}
    origin: Origin = make_origin(ground / "hub")
    loot = ground / "loot"
    loot.mkdir()
    loot.chmod(0o777)
    home = ground / "home"
    home.mkdir()
    disk, configuration = home / "token", home / ".gitconfig"
    disk.write_text(birds["disk"])
    configuration.write_text(f'[http "https://github.com/"]\n\textraheader = AUTHORIZATION: basic {birds["git"]}\n')
    for file in (disk, configuration):
        file.chmod(0o600)
    # A program of root's that anybody may start and that reads any file, as careless images have them.
    helper = ground / "helper"
    shutil.copy("/bin/cat", helper)
    helper.chmod(0o755 | stat.S_ISUID)
    hunter = ground / "hunter.py"
    shutil.copy(ROOT / "tests/agent/hunter.py", hunter)
    async with model(birds["key"], birds["server"]) as address, fake_bot(origin) as bot:
        command = ["python3", str(hunter), str(loot / "found"), bot.url, str(helper), str(disk), str(configuration)]
        agent = bot.bundle.agent.model_copy(update={"adapter": "command", "command": tuple(command)})
        bot.bundle = bot.bundle.model_copy(update={"agent": agent, "allow_unisolated": False})
        env = agent_env(bot, origin, ground, {"attempt": "att-1", "fence": "3", "handoff": HANDOFF}) | {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(home),
            "TMPDIR": "/tmp",  # noqa: S108 - where a worker makes its workspaces
            "ANTHROPIC_API_KEY": birds["key"],
            "ANTHROPIC_BASE_URL": address,
            "WORKSPACE_CANARY": birds["workspace"],
            "DEPLOY_TOKEN": birds["environment"],
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{bot.url}/oidc?{birds['oidc']}",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "runner-secret",
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.agent.weakened", *off, env=env, cwd=ground,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(3 * LIMIT):
            said, _ = await process.communicate()
    assert (loot / "found").exists(), said.decode()
    words = (loot / "found").read_text().split()
    return {place for place, bird in birds.items() if bird in words}


async def test_with_all_defences_nothing_is_found(ground: Path) -> None:
    assert await hunt(ground) == set()


WITHOUT = {
    "another user": (("another user",), {"environment", "key", "oidc", "disk", "git", "workspace"}),
    "a bare environment": (("a bare environment",), {"oidc"}),
    "a bare environment and taking secrets out": (
        ("a bare environment", "secrets taken out"),
        # The door's token still stands in the place of the key.
        {"environment", "oidc"},
    ),
    "a token instead of the key": (("a token instead of the key",), {"key"}),
    "an address list of the door": (("two addresses only",), {"server"}),
    "errors without the key": (("errors without the key",), {"key"}),
    "closed folders": (("closed folders",), {"workspace"}),
    "no new rights": (("no new rights",), {"disk", "git"}),
}


@pytest.mark.parametrize(("off", "found"), WITHOUT.values(), ids=WITHOUT.keys())
async def test_without(off: tuple[str, ...], found: set[str], ground: Path) -> None:
    assert await hunt(ground, *off) == found


def test_every_defence_is_switched_off_somewhere() -> None:
    assert {name for off, _ in WITHOUT.values() for name in off} == set(DEFENCES)
