"""What is stored about an item is what its history leads to; whoever changes one past the bot is found."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bot.cli.main import app
from bot.domain.history import differences, replay
from tests.scenarios.steps import in_review, say, scene
from tests.world import World


@dataclass(frozen=True)
class Line:
    kind: str
    from_state: str | None
    to_state: str | None
    attempt: str | None = None
    fence: int | None = None


APPROVED = Line("approved", None, "ready")
CLAIMED = Line("claimed", "ready", "in-progress", "a1", 1)
SAID = Line("attempt.running", None, None, "a1", 1)
ENDED = Line("attempt.ended", "in-progress", "in-progress", "a1", 1)
REVIEW = Line("published", "in-progress", "in-review")
AGAIN = Line("retry_later", "in-progress", "in-progress", "a1", 1)
SECOND = Line("claimed", "in-progress", "in-progress", "a2", 2)


@pytest.mark.parametrize(
    ("lines", "stored", "said"),
    [
        pytest.param([APPROVED, CLAIMED, SAID], ("in-progress", 1, ["a1"]), "", id="an agent works"),
        pytest.param([APPROVED, CLAIMED, ENDED, AGAIN, SECOND], ("in-progress", 2, ["a2"]), "", id="a second try"),
        pytest.param([APPROVED, CLAIMED, ENDED, REVIEW], ("in-review", 1, []), "", id="a pull request"),
        pytest.param([APPROVED, CLAIMED, ENDED, REVIEW], ("done", 1, []), "it is done", id="a state was written over"),
        pytest.param([APPROVED, CLAIMED], ("ready", 0, []), "it is ready", id="an item was set back"),
        pytest.param([APPROVED, CLAIMED], ("in-progress", 7, ["a1"]), "its fence is 7", id="a fence was changed"),
        pytest.param([APPROVED, CLAIMED], ("in-progress", 1, []), "live attempts are none", id="an attempt went"),
        pytest.param([APPROVED, ENDED, REVIEW], ("in-review", 0, []), "line 2 (attempt.ended)", id="a line is missing"),
        pytest.param(
            [APPROVED, Line("merged", "ready", "in-review")], ("in-review", 0, []), "line 2", id="no such move"
        ),
        pytest.param(
            [APPROVED, Line("x", "ready", "done")], ("done", 0, []), "changes the state", id="a nameless move"
        ),
        pytest.param([APPROVED, Line("rebuilt", None, "done", None, 9)], ("done", 9, []), "", id="a ledger was lost"),
    ],
)
def test_a_replay_says_what_the_item_is(lines: list[Line], stored: tuple[str, int, list[str]], said: str) -> None:
    found = "; ".join(differences(replay(lines), *stored))
    assert said in found
    assert bool(found) is bool(said), found


TAMPERING = {
    "the state of an item": "UPDATE items SET state = 'done' WHERE number = ?",
    "the fence of an item": "UPDATE items SET fence = fence + 1 WHERE number = ?",
    "an attempt that has ended": "UPDATE attempts SET phase = 'running' WHERE number = ?",
    "the end of a history": "DELETE FROM events WHERE number = ? AND kind = 'published'",
}


async def test_the_ledger_is_what_its_history_says_and_a_change_by_hand_is_named(tmp_path: Path) -> None:
    async with scene(tmp_path) as world:
        number = await in_review(world)
        other = await _cancelled(world)
        whole = _verified(world)
        assert whole == (0, [])
        for what, statement in TAMPERING.items():
            copy = tmp_path / f"{what.replace(' ', '-')}.db"
            with sqlite3.connect(tmp_path / "data" / "tgs.db") as source, sqlite3.connect(copy) as target:
                source.backup(target)
            with sqlite3.connect(copy) as connection:
                connection.execute("DROP TRIGGER events_no_delete")
                connection.execute(statement, (number,))
            code, unexplained = _verified(world, copy)
            assert code == 1, what
            assert unexplained, what
            assert all(line.startswith(f"olga/greeter#{number}: ") for line in unexplained), (what, unexplained)
        assert other != number


async def _cancelled(world: World) -> int:
    number = world.issue("Another")
    world.label(number, "tgs:ready")
    await world.settle()
    await say(world, number, "/tgs stop")
    return number


def _verified(world: World, file: Path | None = None) -> tuple[int, list[str]]:
    url = f"sqlite:///{file or world.tmp / 'data' / 'tgs.db'}"
    told = CliRunner().invoke(app, ["db", "verify", "--url", url, "--json"])
    return told.exit_code, json.loads(told.stdout)["unexplained"]
