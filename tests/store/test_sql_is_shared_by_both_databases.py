"""The schema is SQL for PostgreSQL as well as for SQLite."""

from __future__ import annotations

import pytest
from sqlalchemy import ClauseElement
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.schema import CreateIndex, CreateTable

from bot.store.tables import METADATA

DIALECTS = [
    pytest.param(make_url("sqlite://").get_dialect()(), id="SQLite"),
    pytest.param(make_url("postgresql+psycopg://").get_dialect()(), id="PostgreSQL"),
]


def ddl() -> list[ClauseElement]:
    tables = METADATA.sorted_tables
    return [CreateTable(table) for table in tables] + [
        CreateIndex(index) for table in tables for index in sorted(table.indexes, key=lambda index: str(index.name))
    ]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_schema_is_understood(dialect: Dialect) -> None:
    text = "\n".join(str(statement.compile(dialect=dialect)) for statement in ddl())

    assert text.count("CREATE TABLE") == len(METADATA.sorted_tables)
    assert text.count("WHERE phase <> 'ended'") == 1, "the index on live attempts is partial"


def test_no_name_is_longer_than_postgresql_keeps_and_none_is_used_twice() -> None:
    names = [str(index.name) for table in METADATA.sorted_tables for index in table.indexes]
    names += [str(rule.name) for table in METADATA.sorted_tables for rule in table.constraints]

    assert [name for name in names if len(name) > 63] == []
    assert len(set(names)) == len(names)
