"""The one schema, in SQL that SQLite and PostgreSQL share. Migrations build it; a test holds both equal.

What the database itself guarantees, whatever the code does: at most one live attempt per item, a fence is used once
per item, one item per thought, an intent and an act are stored once, states and phases are known words, history is
append-only (triggers, in the migration). Columns that hold JSON are records the database never looks into; what
is searched has a column of its own and is written together with its record.
"""

from __future__ import annotations

from bot.store.tables.base import METADATA
from bot.store.tables.intake import deliveries, file_parts, keys, meta, turns
from bot.store.tables.work import (
    attempts,
    cuts,
    events,
    incidents,
    installations,
    intents,
    items,
    locks,
    outbox,
    questions,
    replies,
    repos,
    spending,
    steers,
    thought_blobs,
)
from bot.store.tables.workers import (
    bundles,
    carried,
    conversations,
    jtis,
    logs,
    messages,
    sessions,
    tokens,
    worker_tokens,
    workers,
)

__all__ = [
    "METADATA",
    "attempts",
    "bundles",
    "carried",
    "conversations",
    "cuts",
    "deliveries",
    "events",
    "file_parts",
    "incidents",
    "installations",
    "intents",
    "items",
    "jtis",
    "keys",
    "locks",
    "logs",
    "messages",
    "meta",
    "outbox",
    "questions",
    "replies",
    "repos",
    "sessions",
    "spending",
    "steers",
    "thought_blobs",
    "tokens",
    "turns",
    "worker_tokens",
    "workers",
]
