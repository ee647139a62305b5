"""The whole loop with the ledger in PostgreSQL. `TGS_TEST_DATABASE=postgresql` runs every scenario so."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bot.errors import SettingsError
from bot.store.migrate import current, head
from tests.databases import PostgresqlServer
from tests.world import new_world


async def test_an_item_is_worked_on_and_merged_over_a_restart(tmp_path: Path, postgresql: PostgresqlServer) -> None:
    url = postgresql.fresh(migrated=False)
    async with new_world(tmp_path, database_url=url) as world:
        assert current(url) == head()
        number = world.issue()
        world.label(number, "tgs:ready")
        await world.settle()
        run = world.run()
        await run.start()
        await world.restart_bot()
        world.ci(await run.publish())
        await world.settle()
        assert world.bot_said(number)
        world.comment(number, "/tgs merge")
        await world.settle()
        await world.after(timedelta(minutes=1))
        assert world.state(number) == "done"
        assert len(world.runs()) == 1
        # Whoever wants the database for itself is told that it is in use, and the first bot goes on.
        with pytest.raises(SettingsError, match="in use by another process"):
            await world.start_bot(queue="memory")
    assert not list((tmp_path / "data").glob("*.db")), "nothing was written beside the database"
