"""Deliveries of webhooks, what they point at, and the rows of the queue."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

from bot.store.tables.base import METADATA, SERIAL
from bot.store.types import UtcTime

deliveries = Table(
    "deliveries",
    METADATA,
    Column("id", SERIAL, primary_key=True),
    Column("guid", String, nullable=False),
    Column("event", String, nullable=False),
    Column("action", String),
    Column("installation", BigInteger),
    Column("received_at", UtcTime, nullable=False),
    Column("routed_at", UtcTime),
    # What it points at (`bot.store.touched`); NULL for nothing.
    Column("touches", Text),
    # What it says of repositories (`bot.store.seen`), until it is routed.
    Column("seen", Text),
    Column("body", LargeBinary),
    Index("uq_deliveries_guid", "guid", unique=True),
    Index(
        "ix_deliveries_unrouted",
        "id",
        sqlite_where=text("routed_at IS NULL"),
        postgresql_where=text("routed_at IS NULL"),
    ),
)

keys = Table(
    "keys",
    METADATA,
    Column("key", String, primary_key=True),
    Column("wanted_rev", BigInteger, nullable=False),
    Column("seen_rev", BigInteger, nullable=False),
    Column("next_due_at", UtcTime),
    Column("priority", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text),
    Column("touched_at", UtcTime),
    # Raised when a run of the key begins, where several processes share the queue; what an earlier run writes later is
    # refused. `ran_by` is the process of the newest run.
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    Column("ran_by", String),
    CheckConstraint("seen_rev <= wanted_rev", name="seen_not_ahead"),
    Index(
        "ix_keys_due",
        "next_due_at",
        sqlite_where=text("next_due_at IS NOT NULL"),
        postgresql_where=text("next_due_at IS NOT NULL"),
    ),
    # Few keys: whoever marks one says when.
    Index(
        "ix_keys_pending",
        "key",
        sqlite_where=text("wanted_rev <> seen_rev AND next_due_at IS NULL"),
        postgresql_where=text("wanted_rev <> seen_rev AND next_due_at IS NULL"),
    ),
    # Each mark finds its row by name, so there is no second tree to find it by.
    sqlite_with_rowid=False,
)

meta = Table(
    "meta",
    METADATA,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)

turns = Table(
    "turns",
    METADATA,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("until", UtcTime, nullable=False),
    Column("done_at", UtcTime),
)

# What a process would keep on its disk if it were alone, in pieces.
file_parts = Table(
    "file_parts",
    METADATA,
    Column("name", String, nullable=False),
    Column("part", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
    PrimaryKeyConstraint("name", "part"),
)
