"""`tgs worker token`: an administrator gives the right, sees it, takes it back; nobody else does."""

from __future__ import annotations

from pathlib import Path

from tests.cli.test_a_backlog_of_a_server import at
from tests.world import new_world


async def test_the_right_is_given_seen_and_taken_back(tmp_path: Path) -> None:
    async with new_world(tmp_path) as world:
        world.leave_due = True
        olga, maria = at(world, tmp_path, "olga"), at(world, tmp_path, "maria")
        await olga.type("tgs worker token list")
        made = await olga.type("tgs worker token create 'build box' --days 30")
        piped = await olga.type("tgs worker token create other --max-claims 1 --quiet")
        assert piped.out.startswith("tgw_")
        assert len(piped.out.split()) == 1
        listed = await olga.type("tgs worker token list")
        assert made.out.split()[0] not in listed.out
        id_ = listed.out.split()[0]
        await olga.type(f"tgs worker token revoke {id_}")
        await olga.type("tgs worker token list --json")
        await olga.type("tgs worker token revoke wt-unknown")
        await maria.type("tgs worker token create mine")
        olga.lines += maria.lines
        olga.equals_golden("worker-tokens")
