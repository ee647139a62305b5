"""Pull workers with their tokens, sessions, messages, bundles; answers to commands that came over the API."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# SQLite counts rows by itself only in a column declared INTEGER.
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Adds tables and columns; nothing that is there changes."""
    op.add_column("intents", sa.Column("answer", sa.Text(), nullable=True))
    op.add_column("items", sa.Column("asked", sa.Text(), nullable=True))
    op.add_column("items", sa.Column("labels", sa.Text(), nullable=True))
    op.add_column("attempts", sa.Column("worker_id", sa.String(), nullable=True))
    op.add_column("attempts", sa.Column("worker_token_id", sa.String(), nullable=True))
    op.create_index("ix_attempts_worker", "attempts", ["worker_token_id", "phase"], unique=False)
    op.create_table(
        "worker_tokens",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("installation", sa.BigInteger(), nullable=False),
        sa.Column("repos", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("max_claims", sa.Integer(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("length(sha256) = 64", name=op.f("ck_worker_tokens_hash_only")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker_tokens")),
    )
    op.create_index("uq_worker_tokens_sha256", "worker_tokens", ["sha256"], unique=True)
    op.create_index("ix_worker_tokens_installation", "worker_tokens", ["installation"], unique=False)
    op.create_table(
        "workers",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("installation", sa.BigInteger(), nullable=False),
        sa.Column("token_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("capabilities", sa.Text(), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("local_path", sa.Text(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_heartbeat_at", sa.BigInteger(), nullable=False),
        sa.Column("draining_since", sa.BigInteger(), nullable=True),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('actions', 'pull', 'interactive', 'external')", name=op.f("ck_workers_kind_known")
        ),
        sa.ForeignKeyConstraint(["token_id"], ["worker_tokens.id"], name=op.f("fk_workers_worker_tokens")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
    )
    op.create_index("ix_workers_installation", "workers", ["installation", "last_heartbeat_at"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("installation", sa.BigInteger(), nullable=False),
        sa.Column("repo", sa.BigInteger(), nullable=True),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("attempt", sa.String(), nullable=True),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("last_activity_at", sa.BigInteger(), nullable=False),
        sa.Column("terminated_at", sa.BigInteger(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index("uq_sessions_session", "sessions", ["installation", "session_id"], unique=True)
    op.create_index("ix_sessions_attempt", "sessions", ["attempt"], unique=False)
    op.create_table(
        "messages",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("installation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repo", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("sender_type", sa.String(), nullable=False),
        sa.Column("sender", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("parent", sa.BigInteger(), nullable=True),
        sa.Column("comment_id", sa.BigInteger(), nullable=True),
        sa.Column("once", sa.String(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_messages")),
    )
    op.create_index("ix_messages_key", "messages", ["installation", "repo", "number"], unique=False)
    op.create_index("uq_messages_once", "messages", ["installation", "repo", "once"], unique=True)
    op.create_index("uq_messages_comment", "messages", ["installation", "repo", "comment_id"], unique=True)
    op.create_table(
        "conversations",
        sa.Column("installation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repo", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("mirrored", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("installation", "repo", "number", name=op.f("pk_conversations")),
    )
    op.create_index("ix_events_stream", "events", ["installation", "repo", "id"], unique=False)
    op.create_table(
        "bundles",
        sa.Column("attempt", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("uploaded_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("attempt", name=op.f("pk_bundles")),
    )
    op.create_table(
        "logs",
        sa.Column("attempt", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("attempt", name=op.f("pk_logs")),
    )


def downgrade() -> None:
    """Takes them away again; who works on what at that moment is forgotten."""
    op.drop_index("ix_events_stream", "events")
    for table in ("logs", "bundles", "conversations", "messages", "sessions", "workers", "worker_tokens"):
        op.drop_table(table)
    op.drop_index("ix_attempts_worker", "attempts")
    with op.batch_alter_table("attempts") as batch:
        batch.drop_column("worker_token_id")
        batch.drop_column("worker_id")
    with op.batch_alter_table("items") as batch:
        batch.drop_column("labels")
        batch.drop_column("asked")
    with op.batch_alter_table("intents") as batch:
        batch.drop_column("answer")
