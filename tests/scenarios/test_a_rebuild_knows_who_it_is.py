"""A rebuild takes for the bot's own only what the bot wrote; so it begins when the record says who that is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bot.domain.repository import RepoRecord
from bot.repo_pass import RepoPass
from tests.scenarios.steps import queued, say, scene
from tests.scenarios.test_a_lost_ledger_is_rebuilt import lose


async def test_a_webhook_in_the_middle_of_the_first_look_makes_nothing_be_said_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, changed = RepoPass._save, []

    async def overtaken(look: RepoPass, before: RepoRecord, after: RepoRecord) -> RepoRecord:
        if before.rebuilt_at is None and not changed:
            changed.append(True)
            # As webhooks leave it that came before the bot looked at the installation, and while it looked.
            told = replace(before, bot=None, private=not before.private)
            assert await look._store.write(lambda tx: tx.save_repo(before, told))
        return await save(look, before, after)

    async with scene(tmp_path) as world:
        number = await queued(world)
        await say(world, number, "/tgs explain")
        comments = len(world.comments(number))
        monkeypatch.setattr(RepoPass, "_save", overtaken)

        await lose(world)

        assert changed
        assert world.state(number) == "ready"
        assert len(world.comments(number)) == comments


async def test_a_rebuild_by_command_that_is_overtaken_again_and_again_stops_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def overtaken(look: RepoPass, before: RepoRecord, after: RepoRecord) -> RepoRecord:
        return replace(before, bot=None)

    async with scene(tmp_path) as world:
        await queued(world)
        monkeypatch.setattr(RepoPass, "_save", overtaken)
        [report] = await world.parts.engine.rebuild()
        assert "changed while it was looked at" in str(report.stopped)
        assert report.items == ()
        monkeypatch.undo()
        [report] = await world.parts.engine.rebuild()
        assert report.stopped is None
        await world.settle()
