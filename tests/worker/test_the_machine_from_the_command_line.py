"""`tgs worker run --once|--watch` as a process: exit codes, signals, and where the token goes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.worker.depot import WORKER_TOKEN, Depot, credentials, depot
from tests.worker.support import LIMIT, Origin, make_origin
from tests.worker.test_commands_of_the_jobs import Ran, start, tgs_here
from tests.worker.test_machines_pull_work import UNTIL_ALL, at_work, seen

RUN = ("worker", "run", "--repo", "acme/shop")


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return make_origin(tmp_path / "hub")


@pytest.fixture
async def bot(origin: Origin) -> AsyncIterator[Depot]:
    async with depot(origin, command=UNTIL_ALL) as made:
        yield made


def env(bot: Depot, tmp_path: Path, **more: str) -> dict[str, str]:
    return credentials(tmp_path / "home", bot.url) | {
        "TGS_SERVER_URL": bot.url, "TGS_TOKEN": WORKER_TOKEN, "TGS_WORKER_DIR": str(tmp_path / "machine"),
    } | more  # fmt: skip


async def tgs(*args: str, env: Mapping[str, str], cwd: Path) -> Ran:
    process = await start("main", *args, env=env, cwd=cwd)
    async with asyncio.timeout(LIMIT):
        out, err = await process.communicate()
    return Ran(process.returncode or 0, out.decode(), err.decode())


async def test_once_ends_with_0_after_work_and_with_3_when_there_is_none(bot: Depot, tmp_path: Path) -> None:
    bot.go = True
    first = await tgs(*RUN, "--once", env=env(bot, tmp_path), cwd=tmp_path)
    assert first.code == 0, first
    assert "acme/shop#1: done and uploaded" in first.out
    second = await tgs(*RUN, "--once", env=env(bot, tmp_path), cwd=tmp_path)
    assert (second.code, second.out.splitlines()[-1]) == (3, "There is nothing to do."), second
    assert WORKER_TOKEN not in str((first, second))


async def test_the_first_signal_lets_work_finish_and_the_second_hands_it_back(bot: Depot, tmp_path: Path) -> None:
    bot.items.append(bot.items[0].model_copy(update={"attempt": "att-2", "issue": 2}))
    process = await start("main", *RUN, "--watch", "--slots", "2", env=env(bot, tmp_path), cwd=tmp_path)
    await seen(bot, lambda: at_work(bot) == {"att-1", "att-2"})
    assert WORKER_TOKEN.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()  # noqa: ASYNC240 - no disk
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT):
        while b"Taking nothing new" not in await process.stdout.readline():
            pass
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(LIMIT):
        out, err = await process.communicate()
    assert process.returncode == 0, (out, err)
    assert {name: report["reason"] for name, report in bot.reports().items()} == {
        "att-1": "infra.runner_lost", "att-2": "infra.runner_lost",
    }  # fmt: skip
    assert bot.calls[-1].name == "deregister"


async def test_a_drained_worker_ends_with_0(bot: Depot, tmp_path: Path) -> None:
    process = await start("main", *RUN, "--watch", env=env(bot, tmp_path), cwd=tmp_path)
    await seen(bot, lambda: at_work(bot) == {"att-1"})
    process.send_signal(signal.SIGINT)
    bot.go = True
    async with asyncio.timeout(LIMIT):
        out, err = await process.communicate()
    assert process.returncode == 0, (out, err)
    assert bot.reports()["att-1"]["succeeded"]


async def test_the_token_may_come_from_a_file(bot: Depot, tmp_path: Path) -> None:
    bot.go = True
    (tmp_path / "token").write_text(f"{WORKER_TOKEN}\n")
    given = env(bot, tmp_path, TGS_TOKEN_FILE=str(tmp_path / "token"), TGS_TOKEN="")
    assert (await tgs(*RUN, "--once", env=given, cwd=tmp_path)).code == 0
    assert bot.named("register")[0].bearer == WORKER_TOKEN


MISUSE = {
    "both modes": (("--once", "--watch"), {}, "not both"),
    "no repository": (("--once",), {"drop": "repo"}, "--repo owner/name"),
    "a repository without owner": (("--once", "--repo", "shop"), {}, "no repository"),
    "no token": (("--once",), {"TGS_TOKEN": ""}, "There is no worker token"),
    "another kind of token": (("--once",), {"TGS_TOKEN": "ghp_something-else-0123456789"}, "begin with tgw_"),
    "a token's file that is not there": (("--once",), {"TGS_TOKEN_FILE": "/nowhere"}, "cannot be read"),
    "neither mode outside a run": ((), {}, "--once or --watch"),
}


@pytest.mark.parametrize(("args", "change", "words"), MISUSE.values(), ids=MISUSE.keys())
async def test_wrong_use_is_exit_code_2_with_the_remedy(
    args: tuple[str, ...], change: dict[str, str], words: str, bot: Depot, tmp_path: Path
) -> None:
    line = ("worker", "run") if change.pop("drop", "") else RUN
    ran = await tgs_here("main", *line, *args, env=env(bot, tmp_path) | change)
    assert ran.code == 2, ran
    assert words in ran.err
    assert "something-else" not in ran.err
    assert bot.calls == []


async def test_a_folder_that_cannot_be_made_is_wrong_use(bot: Depot, tmp_path: Path) -> None:
    ran = await tgs(*RUN, "--once", env=env(bot, tmp_path, TGS_WORKER_DIR="/proc/none"), cwd=tmp_path)
    assert ran.code == 2, ran
    assert "cannot be used" in ran.err
    assert bot.calls == []


ENDS = {
    "a token that has ended is exit code 6": ("register", (401, "unauthenticated"), 6, "does not accept"),
    "a bot that is down is exit code 7": ("claim", (422, "odd"), 7, "could not be asked"),
}


@pytest.mark.parametrize(("call", "error", "code", "words"), ENDS.values(), ids=ENDS.keys())
async def test_what_the_bot_answers_decides_the_exit_code(
    call: str, error: tuple[int, str], code: int, words: str, bot: Depot, tmp_path: Path
) -> None:
    bot.errors[call] = error
    ran = await tgs(*RUN, "--once", env=env(bot, tmp_path), cwd=tmp_path)
    assert (ran.code, words in ran.err) == (code, True), ran
