"""History cannot be rewritten unseen: whoever gets past the database's own refusal leaves a chain that does not fit."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bot.cli.main import app
from bot.domain.model import IssueKey
from bot.protocols.ledger import Audit
from bot.store.chain import verify_at
from bot.store.engine import SqlStore
from tests.store.support import START, a_repo, an_item

KEY = an_item().key
LINE = Audit(START, KEY, "claimed", "actions", "actions", "ready", "in-progress", detail={"b": "2", "a": "1"})


@pytest.fixture
async def written(store: SqlStore, path: Path) -> Path:
    """A ledger with five lines of one item, two of its repository and one of another item."""
    other = IssueKey(KEY.installation, KEY.repo, KEY.number + 1)
    for number in range(5):
        await store.write(lambda tx, n=number: tx.audit(replace(LINE, cause=f"step {n}")))  # type: ignore[misc]
    await store.write(lambda tx: tx.audit(replace(LINE, key=a_repo().key)))
    await store.write(lambda tx: tx.audit(replace(LINE, key=other)))
    await store.write(lambda tx: tx.audit(replace(LINE, key=a_repo().key, detail=None)))
    await store.close()
    return path


TAMPERING = {
    "a line is changed": "UPDATE events SET actor = 'somebody' WHERE id = 2",
    "a detail is changed": """UPDATE events SET detail = '{"a":"1","b":"3"}' WHERE id = 3""",
    "a line is taken out": "DELETE FROM events WHERE id = 2",
    "the first line is taken out": "DELETE FROM events WHERE id = 1",
    "two lines change places": "UPDATE events SET cause = CASE id WHEN 2 THEN 'step 2' ELSE 'step 1' END "
    "WHERE id IN (2, 3)",
    "a line is written past the bot": "INSERT INTO events (at, installation, repo, number, kind, actor, cause, "
    "policy_hash) SELECT at, installation, repo, number, kind, actor, 'forged', policy_hash FROM events WHERE id = 5",
    "a line gets the hash of another": "UPDATE events SET chain = (SELECT chain FROM events WHERE id = 1) WHERE id = 4",
}


@pytest.mark.parametrize("statement", TAMPERING.values(), ids=TAMPERING.keys())
def test_tampering_is_found(statement: str, written: Path) -> None:
    url = f"sqlite:///{written}"
    whole = verify_at(url)
    assert (whole.lines, whole.older, whole.broken) == (8, 0, ())
    with sqlite3.connect(written) as connection:
        connection.execute("DROP TRIGGER events_no_update")
        connection.execute("DROP TRIGGER events_no_delete")
        connection.execute(statement)
    assert verify_at(url).broken
    told = CliRunner().invoke(app, ["db", "verify", "--url", url])
    assert told.exit_code == 1
    assert "do not fit" in told.output


def test_lines_from_before_are_passed_over(written: Path) -> None:
    with sqlite3.connect(written) as connection:
        connection.execute("DROP TRIGGER events_no_update")
        connection.execute("UPDATE events SET chain = NULL WHERE id <= 5")
        connection.execute("DELETE FROM items")  # these lines lead nowhere
    told = CliRunner().invoke(app, ["db", "verify", "--url", f"sqlite:///{written}", "--json"])
    assert told.exit_code == 0
    assert json.loads(told.output) == {"lines": 3, "older": 5, "broken": [], "unexplained": [], "removed": 0}


def test_a_database_that_is_not_there_has_no_history(tmp_path: Path) -> None:
    assert verify_at(f"sqlite:///{tmp_path / 'none.db'}").lines == 0
