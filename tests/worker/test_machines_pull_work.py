"""A machine asks for work, does it and uploads it; real HTTP, real git, real processes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bot.domain.model import FailureReason
from bot.errors import Refused, UserError
from bot.worker import life
from bot.worker import machine as machines
from bot.worker.machine import Stop, Tally
from tests.worker.depot import WORKER_TOKEN, Depot, depot, machine
from tests.worker.support import LIMIT, READ_TOKEN, Origin, git, make_origin

UNTIL_ALL = "echo '::tgs progress 1/1 here'; while [ ! -s $TGS_STEER ]; do sleep 0.02; done; echo x > new.txt"
"""An agent that says that it is there, and works on when somebody steers it."""


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return make_origin(tmp_path / "hub")


async def seen(bot: Depot, wanted: Any) -> None:
    async with asyncio.timeout(LIMIT), bot.changed:
        await bot.changed.wait_for(wanted)


def at_work(bot: Depot) -> set[str]:
    """The attempts whose agents have begun, by their heartbeats."""
    return {call.attempt for call in bot.named("heartbeat") if call.body["progress"]}


async def test_one_item_is_claimed_worked_on_uploaded_and_reported(origin: Origin, tmp_path: Path) -> None:
    async with depot(origin) as bot:
        tally = await machine(bot, tmp_path, capabilities=("gpu", "linux"), slots=1)
        assert tally == Tally(taken=1)
        [known] = bot.named("register")
        assert known.body == {
            "name": "box-1", "capabilities": ["gpu", "linux"], "slots": 1,
            "local_path": str((tmp_path / "machine").resolve()),
        }  # fmt: skip
        [asked] = bot.named("claim")
        assert (asked.body["worker_id"], asked.body["repo"], asked.bearer) == ("w1", "acme/shop", WORKER_TOKEN)
        report = bot.reports()["att-1"]
        assert report["succeeded"]
        assert report["bundle_digest"] == hashlib.sha256(bot.uploads["att-1"]).hexdigest()
        assert {call.bearer for call in (*bot.named("bundle"), *bot.named("report"))} == {asked.body["token"]}
        assert [call.name for call in bot.calls if call.name in {"bundle", "report", "deregister"}] == [
            "bundle", "report", "deregister",
        ]  # fmt: skip
        assert bot.git_tokens
        assert set(bot.git_tokens) == {READ_TOKEN}, "it fetches with the machine's own credentials"
    bundle = tmp_path / "up.bundle"
    bundle.write_bytes(bot.uploads["att-1"])
    git(origin.source, "fetch", "-q", str(bundle), "HEAD")
    assert "out/by-agent.txt" in git(origin.source, "ls-tree", "-r", "--name-only", "FETCH_HEAD")
    work = next((tmp_path / "machine" / "work").glob("box-1-*[!k]"))
    assert list(work.iterdir()) == [], "the workspace is gone"


async def test_no_secret_reaches_the_agent_a_log_or_what_people_see(
    origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TGS_TOKEN", WORKER_TOKEN)
    command = "(env; cat $TGS_CONTEXT; cat /proc/[0-9]*/cmdline) > seen.txt 2>/dev/null; cat seen.txt"
    async with depot(origin, command=command) as bot:
        assert (await machine(bot, tmp_path)).failed == []
        secrets = [WORKER_TOKEN, bot.named("claim")[0].body["token"], READ_TOKEN]
    bundle = tmp_path / "up.bundle"
    bundle.write_bytes(bot.uploads["att-1"])
    git(origin.source, "fetch", "-q", str(bundle), "HEAD")
    logs = list((tmp_path / "machine" / "logs").rglob("*.log"))
    assert [log.name for log in logs] == ["issue-1-20260304T050607Z.log"]
    places = {
        "what the agent could see": git(origin.source, "show", "FETCH_HEAD:seen.txt"),
        "the log": logs[0].read_text(),
        "what was said": (tmp_path / "said.txt").read_text(),
    }
    found = [(place, secret) for place, text in places.items() for secret in secrets if secret in text]
    assert found == []


async def test_nothing_to_do_is_said_once_to_every_repository(origin: Origin, tmp_path: Path) -> None:
    async with depot(origin, count=0) as bot:
        tally = await machine(bot, tmp_path, repos=("acme/shop", "acme/other"))
        assert tally == Tally()
        assert [(call.body["repo"], call.body["wait"]) for call in bot.named("claim")] == [
            ("acme/shop", 0), ("acme/other", 0),
        ]  # fmt: skip
        assert len(bot.named("deregister")) == 1


async def test_slots_work_at_the_same_time_and_never_fall_silent(origin: Origin, tmp_path: Path) -> None:
    async with depot(origin, count=3, command=UNTIL_ALL) as bot:
        working = asyncio.create_task(machine(bot, tmp_path, slots=3))
        await seen(bot, lambda: at_work(bot) == {"att-1", "att-2", "att-3"})
        before = len(bot.named("heartbeat")), len(bot.named("worker-beat"))
        await seen(bot, lambda: len(bot.named("heartbeat")) > before[0] + 6)
        await seen(bot, lambda: len(bot.named("worker-beat")) > before[1] + 2)
        bot.go = True
        assert await working == Tally(taken=3)
        assert {name: report["succeeded"] for name, report in bot.reports().items()} == {
            "att-1": True, "att-2": True, "att-3": True,
        }  # fmt: skip


async def test_told_to_end_it_finishes_what_it_has_and_asks_for_nothing_more(origin: Origin, tmp_path: Path) -> None:
    stop = Stop()
    async with depot(origin, count=2, command=UNTIL_ALL) as bot:
        working = asyncio.create_task(machine(bot, tmp_path, stop, once=False))
        await seen(bot, lambda: at_work(bot) == {"att-1"})
        stop.drain.set()
        bot.go = True
        assert await working == Tally(taken=1)
        assert bot.reports()["att-1"]["succeeded"]
        assert len(bot.items) == 1
        assert bot.calls[-1].name == "deregister"


async def test_told_to_end_now_it_hands_the_item_back(origin: Origin, tmp_path: Path) -> None:
    stop = Stop()
    async with depot(origin, command=UNTIL_ALL) as bot:
        working = asyncio.create_task(machine(bot, tmp_path, stop, once=False))
        await seen(bot, lambda: at_work(bot) == {"att-1"})
        stop.drain.set()
        stop.now.set()
        tally = await working
        assert tally.failed == [FailureReason.INFRA_RUNNER_LOST]
        report = bot.reports()["att-1"]
        assert (report["succeeded"], report["reason"]) == (False, "infra.runner_lost")
        assert bot.uploads == {}


async def test_a_cancelled_attempt_is_stopped_and_the_next_item_taken(origin: Origin, tmp_path: Path) -> None:
    stop = Stop()
    async with depot(origin, count=2, command=UNTIL_ALL) as bot:
        working = asyncio.create_task(machine(bot, tmp_path, stop, once=False))
        await seen(bot, lambda: at_work(bot) == {"att-1"})
        bot.beat = {"cancel": True}
        await seen(bot, lambda: "att-1" in bot.reports())
        bot.beat = {}
        await seen(bot, lambda: at_work(bot) == {"att-1", "att-2"})
        bot.go = True
        stop.drain.set()
        assert (await working).failed == [FailureReason.CANCELLED_BY_PERSON]
        assert bot.reports()["att-2"]["succeeded"]


async def test_after_a_lost_claim_nothing_is_uploaded_or_said(origin: Origin, tmp_path: Path) -> None:
    async with depot(origin, command=UNTIL_ALL) as bot:
        working = asyncio.create_task(machine(bot, tmp_path))
        await seen(bot, lambda: at_work(bot) == {"att-1"})
        bot.errors["heartbeat"] = (409, "lost_claim")
        assert await working == Tally(taken=1, lost=1)
        assert (bot.reports(), bot.uploads) == ({}, {})


async def test_a_claim_whose_answer_was_lost_is_asked_for_again_with_its_secret(origin: Origin, tmp_path: Path) -> None:
    async with depot(origin) as bot:
        bot.down_after = {"claim"}
        assert (await machine(bot, tmp_path)).taken == 1
        first, second = bot.named("claim")
        assert first.body["token"] == second.body["token"]
        assert len(bot.given) == 1


async def test_a_question_that_was_given_up_is_asked_once_more_and_what_it_won_is_handed_back(
    origin: Origin, tmp_path: Path
) -> None:
    stop = Stop()
    async with depot(origin) as bot:
        bot.hold = asyncio.Event()
        working = asyncio.create_task(machine(bot, tmp_path, stop, once=False))
        await bot.saw("claim")
        bot.hold = None
        stop.drain.set()
        assert (await working).taken == 0
        first, second = bot.named("claim")
        assert first.body["token"] == second.body["token"]
        assert bot.reports()["att-1"]["reason"] == "infra.runner_lost"
        names = [call.name for call in bot.calls]
        assert names.index("deregister") < names.index("report")


@pytest.mark.parametrize("call", ["bundle", "report"])
async def test_finished_work_waits_for_a_bot_that_is_down(
    call: str, origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "AGAIN_SECONDS", 0.02)
    async with depot(origin) as bot:
        bot.errors[call] = (503, "down")
        working = asyncio.create_task(machine(bot, tmp_path))
        await bot.saw(call, 9)
        del bot.errors[call]
        assert await working == Tally(taken=1)
        assert bot.reports()["att-1"]["succeeded"]


async def test_a_bundle_that_the_bot_does_not_take_is_a_failure_with_its_words(origin: Origin, tmp_path: Path) -> None:
    async with depot(origin) as bot:
        bot.errors["bundle"] = (400, "invalid")
        assert (await machine(bot, tmp_path)).failed == [FailureReason.QUALITY_GATE]
        [told] = bot.named("fail")
        assert "did not take the bundle" in told.body["message"]
        events = [json.loads(line) for line in told.body["log"].splitlines()]
        assert events[0]["event"] == "attempt"
        assert "did not take the bundle" in events[-1]["detail"]


STRANGE_URLS = ["ext::sh -c id", "/etc", "file:///etc", "-oProxyCommand=id", "ssh://host/x"]


@pytest.mark.parametrize("url", STRANGE_URLS)
async def test_an_address_that_is_no_web_address_is_not_fetched(url: str, origin: Origin, tmp_path: Path) -> None:
    async with depot(origin) as bot:
        repository = bot.items[0].repository.model_copy(update={"clone_url": url})
        bot.items = [bot.items[0].model_copy(update={"repository": repository})]
        assert (await machine(bot, tmp_path)).failed == [FailureReason.CONFIG_PERMISSION]


async def test_a_repository_that_cannot_be_fetched_is_no_fault_of_the_agent(origin: Origin, tmp_path: Path) -> None:
    async with depot(origin) as bot:
        repository = bot.items[0].repository.model_copy(update={"clone_url": f"{bot.url}/git/acme/none.git"})
        bot.items = [bot.items[0].model_copy(update={"repository": repository})]
        assert (await machine(bot, tmp_path)).failed == [FailureReason.INFRA_NETWORK]
        assert bot.named("heartbeat"), "it beats while it fetches"


async def test_a_token_that_has_ended_stops_the_machine(origin: Origin, tmp_path: Path) -> None:
    async with depot(origin) as bot:
        bot.errors["register"] = (401, "unauthenticated")
        with pytest.raises(Refused, match="does not accept this worker token"):
            await machine(bot, tmp_path)
        del bot.errors["register"]
        bot.errors["claim"] = (401, "unauthenticated")
        with pytest.raises(Refused):
            await machine(bot, tmp_path, once=False)


async def test_a_worker_that_the_bot_lets_go_drains(origin: Origin, tmp_path: Path) -> None:
    async with depot(origin, count=0) as bot:
        bot.hold = asyncio.Event()
        working = asyncio.create_task(machine(bot, tmp_path, once=False))
        await bot.saw("claim")
        bot.errors["worker-beat"] = (409, "lost_claim")
        bot.errors["claim"] = (403, "refused")
        assert await working == Tally()
        assert "let this worker go" in (tmp_path / "said.txt").read_text()


async def test_one_name_is_one_process_and_what_a_killed_one_left_is_removed(origin: Origin, tmp_path: Path) -> None:
    async with depot(origin, command=UNTIL_ALL) as bot:
        first = asyncio.create_task(machine(bot, tmp_path))
        await seen(bot, lambda: at_work(bot) == {"att-1"})
        with pytest.raises(UserError, match="already"):
            await machine(bot, tmp_path)
        bot.go = True
        assert (await first).failed == []
        work = next((tmp_path / "machine" / "work").glob("box-1-*[!k]"))
        (work / "att-0-left").mkdir()
        assert (await machine(bot, tmp_path)).taken == 0
        assert list(work.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give each agent a user id of its own")
async def test_each_agent_has_a_user_of_its_own_and_sees_no_other_workspace(tmp_path: Path) -> None:
    origin = make_origin(tmp_path / "hub")
    command = "id -u > who.txt; (ls $PWD/../..; cat $PWD/../../*/box/context.json) > other.txt 2>&1; true"
    # What pytest makes may be entered by its owner only; the workspaces must be reachable for other users.
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o711)
    async with depot(origin, count=2, command=command, allow_unisolated=False) as bot:
        tally = await machine(bot, tmp_path, slots=2)
        assert tally.failed == [], (tmp_path / "said.txt").read_text()
    who = set()
    for name, data in bot.uploads.items():
        bundle = tmp_path / f"{name}.bundle"
        bundle.write_bytes(data)
        git(origin.source, "fetch", "-q", str(bundle), "HEAD")
        who.add(git(origin.source, "show", "FETCH_HEAD:who.txt"))
        saw = git(origin.source, "show", "FETCH_HEAD:other.txt")
        assert "Permission denied" in saw
        assert "Add search" not in saw, "the context of another attempt"
    assert len(who) == 2
    assert {report["isolation"] for report in bot.reports().values()} == {"user"}


def test_waiting_for_the_bot_is_as_long_as_a_lease() -> None:
    from bot.domain.attempting import LEASE

    assert LEASE.total_seconds() == machines.PATIENCE
