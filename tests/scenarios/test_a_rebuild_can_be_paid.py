"""The database is lost under a long backlog: few requests bring it back; a limit or a crash only interrupts that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

import bot.rebuild
import tests.world
from bot.domain.attempt import AttemptPhase
from bot.domain.commanded import Spoken
from bot.domain.memory import of_item
from bot.domain.model import Item, ItemState, RepoKey
from bot.errors import TooLong
from bot.github.gateway import Gateway
from bot.protocols.github import Remark
from bot.protocols.ledger import Store
from bot.rebuilt_records import Found, Report
from bot.resync import LIST_LAG
from bot.texts import markers
from tests.scenarios.steps import DAY, HOUR, MINUTE, last_attempt, running, scene
from tests.scenarios.test_a_lost_ledger_is_rebuilt import forget
from tests.store.support import an_attempt
from tests.world import World

ENDED = 180
READY = 20


def ended(world: World, count: int) -> list[int]:
    """Items that were done, as the bot leaves them."""
    found, us = [], world.hub.as_app(world.installation)
    for _ in range(count):
        number = world.issue("Done long ago")
        record = world.record(number)
        key, now = world.key(number), world.clock.now()
        item = Item(key, record.node_id, record.title, ItemState.DONE, now)
        attempt = replace(an_attempt(f"a-{number}", key), branch=f"tgs/{number}-done", claimed_at=now)
        world.hub.labels.add(record, ["tgs:done"], us)
        body = markers.stamp("**Done**", markers.STATUS, markers.memory(of_item(item, attempt)))
        world.hub.comments.create(record, body, us)
        world.hub.issues.set_state(record, "closed", us)
        found.append(number)
    return found


async def there(world: World) -> dict[int, str]:
    found = await world.parts.store.read(lambda tx: tx.items(world.repo_key))
    return {item.key.number: item.state.value for item in found}


async def test_two_hundred_items_come_back_in_a_fifth_of_the_requests_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tests.world, "MAX_ROUNDS", 2_000)
    async with scene(tmp_path, policy="max_parallel: 1\nmirror: {enabled: false}\nassignee: none\n") as world:
        works = await running(world)
        for number in range(READY):
            world.label(world.issue(f"Piece {number}"), "tgs:ready")
        await world.settle()
        before = await there(world)
        await world.stop_bot()
        before |= dict.fromkeys(ended(world, ENDED), "done")
        await world.hub.settle()
        forget(world)
        world.clock.advance(HOUR)
        world.hub.log.clear()
        await world.start_bot()
        await world.after(LIST_LAG)
        assert await there(world) == before
        sent = [x for x in world.hub.log.entries if x.actor == "installation" and not x.conditional_hit]
        assert len(sent) <= len(before) / 5, Counter((entry.method, entry.template) for entry in sent)
        written = {entry.correlation for entry in sent if entry.is_write}
        assert written <= {str(world.key(works))}, "everything else stands as it was shown"
        for number in world.repo.issues:
            world.bot_said(number)


async def test_a_limit_and_a_restart_in_the_middle_only_interrupt_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bot.rebuild, "PART", 10)
    comments_in = Gateway.comments_in

    async def flooded(github: Gateway, key: RepoKey, since: datetime) -> list[Spoken]:
        """More comments in three days than anybody reads."""
        if world.clock.now() - since > DAY:
            raise TooLong("the list has more than 100 pages")
        return await comments_in(github, key, since)

    monkeypatch.setattr(Gateway, "comments_in", flooded)
    async with scene(tmp_path, policy="mirror: {enabled: false}\nassignee: none\n") as world:
        number = await running(world)
        attempt = (await last_attempt(world, number)).id
        await world.stop_bot()
        ended(world, 30)
        await world.hub.settle()
        forget(world)
        world.clock.advance(2 * HOUR)
        # Who edited our issues last, then comments and pull requests, two parts of each.
        quota = world.hub.limits.quota
        plenty, quota.graphql_per_hour = quota.graphql_per_hour, 5
        world.hub.log.clear()
        await world.start_bot()
        await world.after(LIST_LAG)
        assert len(await there(world)) == 20
        assert (await world.repo_record()).rebuilt_at is None

        # Nothing is decided meanwhile, whatever people and the run do, and whoever asks.
        waiting = world.issue("Another")
        world.label(waiting, "tgs:ready")
        await world.settle()
        status, _ = await world.run().beat()
        assert status in {200, 403}
        await world.restart_bot()
        await world.after(MINUTE)
        assert len(await there(world)) == 20
        assert len(world.runs()) == 1
        assert world.bot_said(waiting) == []

        quota.graphql_per_hour = plenty
        await world.after(HOUR)
        found = await there(world)
        assert len(found) == 32
        assert Counter(found.values())["done"] == 30
        after = await last_attempt(world, number)
        assert (after.id, after.phase) == (attempt, AttemptPhase.SUSPECT)
        lines = await world.parts.store.read(lambda tx: tx.history(world.key(number)))
        assert [line.kind for line in lines].count("rebuilt") == 1
        assert [int(run.inputs["issue"]) for run in world.runs()].count(number) == 1
        await world.run(0).work()
        assert world.state(number) == "in-review"
        world.leave_due = True
        for issue in world.repo.issues:
            world.bot_said(issue)


@pytest.mark.parametrize("written", [False, True], ids=["before a part is written", "after a part is written"])
async def test_after_a_crash_only_what_is_not_there_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    async with scene(tmp_path, policy="mirror: {enabled: false}\n") as world:
        await world.stop_bot()
        numbers = ended(world, 30)
        await world.hub.settle()
        forget(world)
        world.clock.advance(HOUR)
        monkeypatch.setattr(bot.rebuild, "PART", 10)
        enter, parts = bot.rebuild.enter, iter(range(100))

        async def dies(store: Store, report: Report, found: list[Found], now: datetime) -> Report:
            second = next(parts) == 1
            if not second or written:
                report = await enter(store, report, found, now)
            if second:
                raise RuntimeError("the process was killed")
            return report

        monkeypatch.setattr(bot.rebuild, "enter", dies)
        await world.start_bot()
        await world.parts.engine.looks(world.repo_key)
        world.clock.advance(LIST_LAG)
        with pytest.raises(RuntimeError, match="killed"):
            await world.parts.engine.looks(world.repo_key)
        await world.stop_bot()
        monkeypatch.setattr(bot.rebuild, "enter", enter)
        conversations, read = Gateway.conversations, list[str]()

        async def noted(github: Gateway, key: RepoKey, nodes: Sequence[str]) -> dict[str, list[Remark]]:
            read.extend(nodes)
            return await conversations(github, key, nodes)

        monkeypatch.setattr(Gateway, "conversations", noted)
        await world.start_bot()
        await world.settle()
        assert len(read) == (10 if written else 20)
        assert await there(world) == dict.fromkeys(numbers, "done")
        assert (await world.repo_record()).rebuilt_at is not None
