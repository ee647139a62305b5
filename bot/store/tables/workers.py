"""Who works and what they hand in: tokens, workers, sessions, conversations, bundles and logs."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

from bot.domain.attempt import WorkerKind
from bot.domain.carried import Carried
from bot.domain.model import (
    Person,
    RepoId,
)
from bot.store.tables.base import METADATA, SERIAL, known, tenant
from bot.store.types import Json, OneOf, UtcTime

tokens = Table(
    "tokens",
    METADATA,
    Column("sha256", String, primary_key=True),
    Column("purpose", String, nullable=False),
    Column("attempt", String, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("used_at", UtcTime),
    CheckConstraint("length(sha256) = 64", name="hash_only"),
    Index("ix_tokens_attempt", "attempt"),
)

jtis = Table(
    "jtis",
    METADATA,
    Column("jti", String, primary_key=True),
    Column("expires_at", UtcTime, nullable=False),
)

worker_tokens = Table(
    "worker_tokens",
    METADATA,
    Column("id", String, primary_key=True),
    Column("sha256", String, nullable=False),
    Column("name", String, nullable=False),
    Column("installation", BigInteger, nullable=False),
    Column("repos", Json(tuple[RepoId, ...]), nullable=False),
    Column("created_by", Json(Person), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime, nullable=False),
    Column("max_claims", Integer, nullable=False),
    Column("revoked_at", UtcTime),
    Column("last_used_at", UtcTime),
    CheckConstraint("length(sha256) = 64", name="hash_only"),
    Index("uq_worker_tokens_sha256", "sha256", unique=True),
    Index("ix_worker_tokens_installation", "installation"),
)

workers = Table(
    "workers",
    METADATA,
    Column("id", String, primary_key=True),
    Column("installation", BigInteger, nullable=False),
    Column("token_id", String, ForeignKey("worker_tokens.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("kind", OneOf(WorkerKind), nullable=False),
    Column("capabilities", Json(tuple[str, ...]), nullable=False),
    Column("slots", Integer, nullable=False),
    Column("local_path", Text),
    Column("last_error", Text),
    Column("created_at", UtcTime, nullable=False),
    Column("last_heartbeat_at", UtcTime, nullable=False),
    Column("draining_since", UtcTime),
    Column("removed_at", UtcTime),
    known("kind", WorkerKind),
    Index("ix_workers_installation", "installation", "last_heartbeat_at"),
)

sessions = Table(
    "sessions",
    METADATA,
    Column("id", String, primary_key=True),
    # The agent's own id of the conversation; what a later attempt resumes.
    Column("session_id", String, nullable=False),
    Column("installation", BigInteger, nullable=False),
    Column("repo", BigInteger),
    Column("number", BigInteger),
    Column("attempt", String),
    Column("worker", String),
    Column("owner", String, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("last_activity_at", UtcTime, nullable=False),
    Column("terminated_at", UtcTime),
    Column("why", Text),
    Index("uq_sessions_session", "installation", "session_id", unique=True),
    Index("ix_sessions_attempt", "attempt"),
)

messages = Table(
    "messages",
    METADATA,
    Column("id", SERIAL, primary_key=True),
    *tenant(),
    Column("number", BigInteger, nullable=False),
    Column("sender_type", String, nullable=False),
    Column("sender", String, nullable=False),
    Column("type", String, nullable=False),
    Column("text", Text, nullable=False),
    Column("parent", BigInteger),
    Column("comment_id", BigInteger),
    Column("once", String),
    Column("at", UtcTime, nullable=False),
    Index("ix_messages_key", "installation", "repo", "number"),
    # One comment is one message, whoever tells of it first.
    Index("uq_messages_once", "installation", "repo", "once", unique=True),
    Index("uq_messages_comment", "installation", "repo", "comment_id", unique=True),
)

conversations = Table(
    "conversations",
    METADATA,
    *tenant(),
    Column("number", BigInteger, nullable=False, autoincrement=False),
    # How many comments the issue had when all of them were mirrored; -1: one was changed since.
    Column("mirrored", Integer, nullable=False),
    PrimaryKeyConstraint("installation", "repo", "number"),
)

bundles = Table(
    "bundles",
    METADATA,
    Column("attempt", String, primary_key=True),
    Column("sha256", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("uploaded_at", UtcTime, nullable=False),
)

carried = Table(
    "carried",
    METADATA,
    Column("attempt", String, nullable=False),
    Column("kind", OneOf(Carried), nullable=False),
    # Of the bytes as they were sent; they are stored compressed.
    Column("sha256", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("at", UtcTime, nullable=False),
    PrimaryKeyConstraint("attempt", "kind"),
    known("kind", Carried),
)

logs = Table(
    "logs",
    METADATA,
    Column("attempt", String, primary_key=True),
    Column("text", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
)
