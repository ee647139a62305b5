"""Whatever the domain puts into a record is what it gets back."""

from __future__ import annotations

import dataclasses
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from bot.domain.attempt import Attempt
from bot.domain.intents import Intent
from bot.domain.model import IssueKey, Item, RepoKey
from bot.domain.repository import RepoRecord
from bot.protocols.ledger import Audit, LockRow, OutboxRow
from bot.store.attempts import attempt_values
from bot.store.intents import intent_values
from bot.store.items import item_values
from bot.store.ledger import SqlLedger
from bot.store.migrate import prepare
from bot.store.repos import repo_values
from bot.store.sqlite import connect, driver_of
from bot.store.tables import METADATA
from bot.store.types import from_micros, to_micros
from tests.store.support import REPO, START, StillClock, a_repo, an_attempt, an_intent, an_item, url_of

BIG = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TIMES = st.integers(0, 7_258_118_400_000_000).map(from_micros)
PLAIN: dict[object, st.SearchStrategy[Any]] = {
    int: BIG,
    str: TEXTS,
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    datetime: TIMES,
    type(None): st.none(),
}


def anything(of: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that records are made of."""
    if isinstance(of, NewType):
        return anything(of.__supertype__)
    if of in PLAIN:
        return PLAIN[of]
    if isinstance(of, type) and dataclasses.is_dataclass(of):
        return st.builds(of, **{name: anything(hint) for name, hint in get_type_hints(of).items()})
    if isinstance(of, type) and issubclass(of, Enum):
        return st.sampled_from(list(of))
    origin, arguments = get_origin(of), get_args(of)
    if origin is tuple and arguments[-1] is ...:
        return st.lists(anything(arguments[0]), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*(anything(argument) for argument in arguments))
    if origin is frozenset:
        return st.frozensets(anything(arguments[0]), max_size=3)
    if origin is Mapping:
        return st.dictionaries(anything(arguments[0]), anything(arguments[1]), max_size=3)
    if origin in (Union, UnionType):
        return st.one_of(*(anything(argument) for argument in arguments))
    raise TypeError(f"no values are known for {of!r}")


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tgs.db"
        prepare(url_of(path), StillClock())
        with connect(path) as opened:
            yield opened


@contextmanager
def undone(connection: Connection) -> Iterator[SqlLedger]:
    """A transaction that leaves nothing behind. References to rows that the test does not need are not followed."""
    driver = driver_of(connection)
    driver.execute("PRAGMA foreign_keys=OFF")
    driver.execute("BEGIN IMMEDIATE")
    try:
        yield SqlLedger(connection, StillClock())
    finally:
        driver.execute("ROLLBACK")


quickly = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quickly
@given(item=anything(Item))
def test_an_item(connection: Connection, item: Item) -> None:
    with undone(connection) as tx:
        assert tx.insert_item(item)
        assert tx.item(item.key) == item


@quickly
@given(before=anything(Item), wanted=anything(Item))
def test_an_item_after_any_change(connection: Connection, before: Item, wanted: Item) -> None:
    before = dataclasses.replace(before, revision=3)
    after = dataclasses.replace(wanted, key=before.key, revision=3)
    with undone(connection) as tx:
        tx.insert_item(before)
        assert tx.save_item(before, after)
        assert tx.item(before.key) == dataclasses.replace(after, revision=4)


@quickly
@given(attempt=anything(Attempt))
def test_an_attempt(connection: Connection, attempt: Attempt) -> None:
    with undone(connection) as tx:
        tx.insert_attempt(attempt)
        assert tx.attempt(attempt.id) == attempt


@quickly
@given(repo=anything(RepoRecord))
def test_a_repository(connection: Connection, repo: RepoRecord) -> None:
    with undone(connection) as tx:
        tx.put_repo(repo)
        assert tx.repo(repo.key) == repo


@quickly
@given(intent=anything(Intent))
def test_an_intent(connection: Connection, intent: Intent) -> None:
    with undone(connection) as tx:
        assert tx.put_intent(intent)
        assert tx.open_intents(intent.key) == [intent]


@quickly
@given(row=anything(OutboxRow), issue=st.none() | BIG)
def test_a_planned_act(connection: Connection, row: OutboxRow, issue: int | None) -> None:
    row = dataclasses.replace(
        row, issue=None if issue is None else IssueKey(row.repo.installation, row.repo.repo, issue)
    )
    with undone(connection) as tx:
        assert tx.plan(row)
        assert tx.outbox(row.key) == row


@quickly
@given(line=anything(Audit))
def test_a_line_of_history(connection: Connection, line: Audit) -> None:
    with undone(connection) as tx:
        tx.audit(line)
        assert tx.history(line.key) == [line]


@quickly
@given(row=anything(LockRow))
def test_a_lock(connection: Connection, row: LockRow) -> None:
    with undone(connection) as tx:
        tx.take_locks([row])
        assert tx.locks(row.repo) == [row]


def test_times_in_another_zone_are_the_same_moment() -> None:
    at = START.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert from_micros(to_micros(at)) == START
    assert from_micros(to_micros(at)).tzinfo is UTC


def test_a_naive_time_is_refused_with_a_remedy() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        to_micros(datetime(2026, 3, 1))  # noqa: DTZ001 - the point of the test


@pytest.mark.parametrize(
    ("record", "values", "apart"),
    [
        pytest.param(a_repo(), repo_values, {"key", "revision"}, id="a repository"),
        pytest.param(an_item(), item_values, {"key", "revision", "created_at"}, id="an item"),
        pytest.param(
            an_attempt(), attempt_values, {"id", "key", "fence", "revision", "number", "worker"}, id="an attempt"
        ),
        pytest.param(an_intent(), intent_values, {"key"}, id="an intent"),
    ],
)
def test_every_field_of_a_record_has_a_column(record: Any, values: Any, apart: set[str]) -> None:
    fields = {field.name for field in dataclasses.fields(record)} - apart

    assert fields <= set(values(record)), "a field was added to the record and not to the table"


def test_no_table_has_a_column_for_something_that_must_not_be_stored() -> None:
    columns = [f"{table.name}.{column.name}" for table in METADATA.sorted_tables for column in table.columns]

    assert [name for name in columns if re.search(r"secret|password|private_key|\.token$|bearer", name)] == []


def test_the_key_of_a_record_is_never_changed_by_a_save(connection: Connection) -> None:
    other = RepoKey(REPO.installation, type(REPO.repo)(99))
    with undone(connection) as tx, pytest.raises(ValueError, match="cannot be saved"):
        tx.save_repo(a_repo(), a_repo(other))
