"""The one schema, in SQL that SQLite and PostgreSQL share. Migrations build it; a test holds both equal.

What the database itself guarantees, whatever the code does: at most one live attempt per item, a fence is used once
per item, one item per thought, an intent and an act are stored once, states and phases are known words, history is
append-only (triggers, in the migration). Columns that hold JSON are records the database never looks into; what
is searched has a column of its own and is written together with its record.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

from bot.domain.attempt import AttemptKind, AttemptPhase, ClaimMark, Outcome, Progress, Proof, WorkerKind, WorkerReport
from bot.domain.intake import TouchKind
from bot.domain.intents import IntentSource
from bot.domain.model import (
    Asked,
    Failure,
    FailureReason,
    ItemState,
    Person,
    Problem,
    Projection,
    PullLink,
    RepoId,
    Snapshot,
    ThoughtRef,
    Waiting,
    WorkSpec,
)
from bot.domain.repository import Pause
from bot.store.types import Json, OneOf, UtcTime

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts rows by itself only in a column declared INTEGER.
SERIAL = BigInteger().with_variant(Integer(), "sqlite")


def _known(column: str, of: type[StrEnum]) -> CheckConstraint:
    words = ", ".join(f"'{member.value}'" for member in of)
    return CheckConstraint(f"{column} IN ({words})", name=f"{column}_known")


def _tenant() -> tuple[Column[int], Column[int]]:
    return (
        Column("installation", BigInteger, nullable=False, autoincrement=False),
        Column("repo", BigInteger, nullable=False, autoincrement=False),
    )


def _of_repo() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["installation", "repo"], ["repos.installation", "repos.repo"])


def _of_item() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["installation", "repo", "number"], ["items.installation", "items.repo", "items.number"]
    )


installations = Table(
    "installations",
    METADATA,
    Column("installation", BigInteger, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("account_login", String, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("removed_at", UtcTime),
    Column("permissions", Json(tuple[tuple[str, str], ...]), nullable=False),
)

repos = Table(
    "repos",
    METADATA,
    *_tenant(),
    Column("full_name", String, nullable=False),
    Column("owner_id", BigInteger, nullable=False),
    Column("default_branch", String, nullable=False),
    Column("private", Boolean, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("archived", Boolean, nullable=False),
    Column("head_sha", String),
    Column("policy_sha", String),
    Column("policy_text", Text),
    Column("policy_hash", String, nullable=False),
    Column("policy_error_sha", String),
    Column("policy_problems", Json(tuple[Problem, ...]), nullable=False),
    Column("thoughts_tree_sha", String),
    Column("preflight_ok", Boolean, nullable=False),
    Column("preflight_problems", Json(tuple[Problem, ...]), nullable=False),
    Column("preflight_at", UtcTime),
    Column("preflight_head", String),
    Column("setup_issue", BigInteger),
    Column("setup_hash", String),
    Column("mirror_decided", Boolean, nullable=False),
    Column("thoughts_at_installation", Json(tuple[str, ...])),
    Column("pause", Json(Pause)),
    Column("permissions", Json(tuple[tuple[str, str], ...]), nullable=False),
    Column("bot", Json(Person)),
    # Set when the repository was taken out of the installation: waking a suspended installation must not bring it back.
    Column("removed_at", UtcTime),
    PrimaryKeyConstraint("installation", "repo"),
)

items = Table(
    "items",
    METADATA,
    *_tenant(),
    Column("number", BigInteger, nullable=False, autoincrement=False),
    Column("node_id", String, nullable=False),
    Column("title", Text, nullable=False),
    Column("state", OneOf(ItemState), nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("priority", BigInteger, nullable=False),
    Column("thought", Json(ThoughtRef)),
    Column("thought_dir", String),
    Column("snapshot", Json(Snapshot)),
    Column("spec", Json(WorkSpec), nullable=False),
    Column("asked", Json(Asked)),
    Column("labels", Json(tuple[str, ...])),
    Column("ready_since", UtcTime),
    Column("not_before", UtcTime),
    Column("expedited", Boolean, nullable=False),
    Column("held_by", String),
    Column("held_reason", Text),
    Column("human_owned", Boolean, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("attempts_burnt", Integer, nullable=False),
    Column("infra_failures", Integer, nullable=False),
    Column("last_failure", Json(Failure)),
    Column("notes", Text),
    Column("fresh", Boolean, nullable=False),
    Column("waiting", Json(tuple[Waiting, ...]), nullable=False),
    Column("findings", Json(tuple[Problem, ...]), nullable=False),
    Column("position", Integer),
    Column("pull", Json(PullLink)),
    Column("pull_number", BigInteger),
    Column("pull_branch", String),
    Column("pull_head_sha", String),
    Column("projection", Json(Projection), nullable=False),
    Column("accepted_labels", Json(frozenset[str]), nullable=False),
    Column("refused_events", Json(frozenset[int]), nullable=False),
    Column("branch_deleted", Boolean, nullable=False),
    Column("mirror_ready", Boolean, nullable=False),
    Column("thought_gone", Boolean, nullable=False),
    Column("implemented", Boolean, nullable=False),
    Column("noted", Text),
    PrimaryKeyConstraint("installation", "repo", "number"),
    _of_repo(),
    _known("state", ItemState),
    Index("ix_items_state", "installation", "repo", "state"),
    Index("ix_items_pull", "installation", "repo", "pull_number"),
    Index("ix_items_pull_branch", "installation", "repo", "pull_branch"),
    Index("ix_items_pull_head", "installation", "repo", "pull_head_sha"),
    # NULLs are distinct in both databases: items without a thought do not meet each other here.
    Index("uq_items_thought", "installation", "repo", "thought_dir", unique=True),
)

attempts = Table(
    "attempts",
    METADATA,
    Column("id", String, primary_key=True),
    *_tenant(),
    Column("number", BigInteger, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("phase", OneOf(AttemptPhase), nullable=False),
    Column("worker_kind", OneOf(WorkerKind), nullable=False),
    Column("worker_name", String, nullable=False),
    Column("worker_id", String),
    Column("worker_token_id", String),
    Column("branch", String, nullable=False),
    Column("claimed_at", UtcTime, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("kind", OneOf(AttemptKind), nullable=False),
    Column("base_sha", String),
    Column("policy_hash", String, nullable=False),
    Column("ready_removed", Boolean, nullable=False),
    Column("shown", Boolean, nullable=False),
    Column("dispatched_at", UtcTime),
    Column("run_id", BigInteger),
    Column("run_hint", String),
    Column("started_at", UtcTime),
    Column("lease_until", UtcTime),
    Column("progress", Json(Progress)),
    Column("cancel_requested_at", UtcTime),
    Column("cancel_reason", OneOf(FailureReason)),
    Column("cancel_by", String),
    Column("forced_at", UtcTime),
    Column("gate_report", Json(WorkerReport)),
    Column("report", Json(WorkerReport)),
    Column("head_sha", String),
    Column("write_token_until", UtcTime),
    Column("ended_at", UtcTime),
    Column("outcome", OneOf(Outcome)),
    Column("proof", OneOf(Proof)),
    Column("failure", Json(Failure)),
    Column("claim_mark", OneOf(ClaimMark)),
    Column("claim_ref", String),
    Column("claim_oid", String),
    _of_item(),
    _known("phase", AttemptPhase),
    _known("kind", AttemptKind),
    _known("worker_kind", WorkerKind),
    _known("outcome", Outcome),
    _known("proof", Proof),
    Index(
        "uq_attempts_live",
        "installation",
        "repo",
        "number",
        unique=True,
        sqlite_where=text("phase <> 'ended'"),
        postgresql_where=text("phase <> 'ended'"),
    ),
    Index("uq_attempts_fence", "installation", "repo", "number", "fence", unique=True),
    Index("ix_attempts_run", "installation", "repo", "run_id"),
    Index("ix_attempts_branch", "installation", "repo", "branch"),
    Index("ix_attempts_head", "installation", "repo", "head_sha"),
    Index("ix_attempts_dispatched", "installation", "repo", "dispatched_at"),
    Index("ix_attempts_worker", "worker_token_id", "phase"),
)

locks = Table(
    "locks",
    METADATA,
    *_tenant(),
    Column("path", String, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("attempt", String, nullable=False),
    Column("since", UtcTime, nullable=False),
    Column("mode", String, nullable=False),
    PrimaryKeyConstraint("installation", "repo", "path", "number"),
    _of_item(),
    Index("ix_locks_item", "installation", "repo", "number"),
)

intents = Table(
    "intents",
    METADATA,
    Column("seq", SERIAL, primary_key=True),
    Column("id", String, nullable=False),
    *_tenant(),
    Column("number", BigInteger, nullable=False),
    Column("source", OneOf(IntentSource), nullable=False),
    Column("verb", String, nullable=False),
    Column("args", Json(tuple[str, ...]), nullable=False),
    Column("actor", Json(Person), nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("comment_id", BigInteger),
    Column("comment_node", String),
    Column("body_sha256", String),
    Column("error", Text),
    Column("edited", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("outcome", Text),
    Column("answer", Text),
    Column("settled_at", UtcTime),
    Column("delivery", BigInteger),
    _known("source", IntentSource),
    Index("uq_intents_id", "id", unique=True),
    Index("ix_intents_key", "installation", "repo", "number"),
    Index("ix_intents_delivery", "delivery"),
)

outbox = Table(
    "outbox",
    METADATA,
    Column("key", String, primary_key=True),
    Column("kind", String, nullable=False),
    *_tenant(),
    Column("number", BigInteger),
    Column("fence", BigInteger),
    Column("planned_at", UtcTime, nullable=False),
    Column("done_at", UtcTime),
    Column("result", Text),
    Column("tries", Integer, nullable=False),
)

events = Table(
    "events",
    METADATA,
    Column("id", SERIAL, primary_key=True),
    Column("at", UtcTime, nullable=False),
    *_tenant(),
    Column("number", BigInteger),
    Column("kind", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("cause", Text, nullable=False),
    Column("from_state", String),
    Column("to_state", String),
    Column("attempt", String),
    Column("fence", BigInteger),
    Column("policy_hash", String, nullable=False),
    Column("detail", Json(dict[str, str])),
    Index("ix_events_key", "installation", "repo", "number"),
    # Followers read on from the last id they saw.
    Index("ix_events_stream", "installation", "repo", "id"),
)

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
    Column("body", LargeBinary),
    Index("uq_deliveries_guid", "guid", unique=True),
    Index("ix_deliveries_received", "received_at"),
    Index(
        "ix_deliveries_unrouted",
        "id",
        sqlite_where=text("routed_at IS NULL"),
        postgresql_where=text("routed_at IS NULL"),
    ),
)

touches = Table(
    "touches",
    METADATA,
    Column("id", SERIAL, primary_key=True),
    Column("delivery", BigInteger, ForeignKey("deliveries.id", ondelete="CASCADE"), nullable=False),
    Column("kind", OneOf(TouchKind), nullable=False),
    Column("installation", BigInteger, nullable=False),
    Column("repo", BigInteger),
    Column("value", String, nullable=False),
    # `value` as a number where the kind is one (issue, run, pull), so that joins compare integers.
    Column("number", BigInteger),
    Column("hint", String, nullable=False),
    _known("kind", TouchKind),
    Index("ix_touches_delivery", "delivery"),
    Index("ix_touches_number", "kind", "number"),
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
    CheckConstraint("seen_rev <= wanted_rev", name="seen_not_ahead"),
    Index(
        "ix_keys_due",
        "next_due_at",
        sqlite_where=text("next_due_at IS NOT NULL"),
        postgresql_where=text("next_due_at IS NOT NULL"),
    ),
    Index(
        "ix_keys_pending",
        "key",
        sqlite_where=text("wanted_rev <> seen_rev"),
        postgresql_where=text("wanted_rev <> seen_rev"),
    ),
)

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
    _known("kind", WorkerKind),
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
    *_tenant(),
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
    *_tenant(),
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

logs = Table(
    "logs",
    METADATA,
    Column("attempt", String, primary_key=True),
    Column("text", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
)

jtis = Table(
    "jtis",
    METADATA,
    Column("jti", String, primary_key=True),
    Column("expires_at", UtcTime, nullable=False),
)

replies = Table(
    "replies",
    METADATA,
    *_tenant(),
    Column("number", BigInteger, nullable=False, autoincrement=False),
    Column("person_id", BigInteger, nullable=False, autoincrement=False),
    Column("at", UtcTime, nullable=False),
    PrimaryKeyConstraint("installation", "repo", "number", "person_id"),
)

thought_blobs = Table(
    "thought_blobs",
    METADATA,
    *_tenant(),
    Column("sha", String, nullable=False),
    Column("text", Text, nullable=False),
    PrimaryKeyConstraint("installation", "repo", "sha"),
    _of_repo(),
)

meta = Table(
    "meta",
    METADATA,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)
