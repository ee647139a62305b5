"""The first schema: tenants, items and attempts, intake, queue rows, at-most-once acts, append-only history."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite counts rows by itself only in a column declared INTEGER.
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# History is append-only. What a removed installation left behind may be purged, nothing else.
REMOVED = "EXISTS (SELECT 1 FROM installations i WHERE i.installation = OLD.installation AND i.removed_at IS NOT NULL)"

SQLITE_TRIGGERS = (
    """CREATE TRIGGER events_no_update BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END""",
    f"""CREATE TRIGGER events_no_delete BEFORE DELETE ON events WHEN NOT {REMOVED}
    BEGIN SELECT RAISE(ABORT, 'events are append-only'); END""",
)

POSTGRESQL_TRIGGERS = (
    """CREATE FUNCTION events_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'events are append-only'; END $$""",
    """CREATE FUNCTION events_purge_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN IF NOT __REMOVED__ THEN RAISE EXCEPTION 'events are append-only'; END IF; RETURN OLD; END $$""".replace(
        "__REMOVED__", REMOVED
    ),
    """CREATE TRIGGER events_no_update BEFORE UPDATE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION events_append_only()""",
    """CREATE TRIGGER events_no_delete BEFORE DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION events_purge_only()""",
)


def upgrade() -> None:
    """Creates everything."""
    op.create_table(
        "deliveries",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("guid", sa.String(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=True),
        sa.Column("installation", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("routed_at", sa.BigInteger(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
    )
    op.create_index("ix_deliveries_received", "deliveries", ["received_at"], unique=False)
    op.create_index(
        "ix_deliveries_unrouted",
        "deliveries",
        ["id"],
        unique=False,
        sqlite_where=sa.text("routed_at IS NULL"),
        postgresql_where=sa.text("routed_at IS NULL"),
    )
    op.create_index("uq_deliveries_guid", "deliveries", ["guid"], unique=True)
    op.create_table(
        "events",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("installation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repo", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("from_state", sa.String(), nullable=True),
        sa.Column("to_state", sa.String(), nullable=True),
        sa.Column("attempt", sa.String(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=True),
        sa.Column("policy_hash", sa.String(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_key", "events", ["installation", "repo", "number"], unique=False)
    op.create_table(
        "installations",
        sa.Column("installation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("account_login", sa.String(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("installation", name=op.f("pk_installations")),
    )
    op.create_table(
        "intents",
        sa.Column("seq", SERIAL, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("installation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repo", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("verb", sa.String(), nullable=False),
        sa.Column("args", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("comment_id", sa.BigInteger(), nullable=True),
        sa.Column("comment_node", sa.String(), nullable=True),
        sa.Column("body_sha256", sa.String(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("edited", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.Column("delivery", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("source IN ('comment', 'api')", name=op.f("ck_intents_source_known")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_intents")),
    )
    op.create_index("ix_intents_delivery", "intents", ["delivery"], unique=False)
    op.create_index("ix_intents_key", "intents", ["installation", "repo", "number"], unique=False)
    op.create_index("uq_intents_id", "intents", ["id"], unique=True)
    op.create_table(
        "jtis",
        sa.Column("jti", sa.String(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("jti", name=op.f("pk_jtis")),
    )
    op.create_table(
        "keys",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("wanted_rev", sa.BigInteger(), nullable=False),
        sa.Column("seen_rev", sa.BigInteger(), nullable=False),
        sa.Column("next_due_at", sa.BigInteger(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("touched_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("seen_rev <= wanted_rev", name=op.f("ck_keys_seen_not_ahead")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_keys")),
    )
    op.create_index(
        "ix_keys_due",
        "keys",
        ["next_due_at"],
        unique=False,
        sqlite_where=sa.text("next_due_at IS NOT NULL"),
        postgresql_where=sa.text("next_due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_keys_pending",
        "keys",
        ["key"],
        unique=False,
        sqlite_where=sa.text("wanted_rev <> seen_rev"),
        postgresql_where=sa.text("wanted_rev <> seen_rev"),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_meta")),
    )
    op.create_table(
        "outbox",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("installation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repo", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=True),
        sa.Column("planned_at", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_outbox")),
    )
    op.create_table(
        "replies",
        sa.Column("installation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repo", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("person_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("installation", "repo", "number", "person_id", name=op.f("pk_replies")),
    )
    op.create_table(
        "repos",
        sa.Column("installation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repo", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("full_name", sa.String(), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("default_branch", sa.String(), nullable=False),
        sa.Column("private", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("archived", sa.Boolean(), nullable=False),
        sa.Column("head_sha", sa.String(), nullable=True),
        sa.Column("policy_sha", sa.String(), nullable=True),
        sa.Column("policy_text", sa.Text(), nullable=True),
        sa.Column("policy_hash", sa.String(), nullable=False),
        sa.Column("policy_error_sha", sa.String(), nullable=True),
        sa.Column("policy_problems", sa.Text(), nullable=False),
        sa.Column("thoughts_tree_sha", sa.String(), nullable=True),
        sa.Column("preflight_ok", sa.Boolean(), nullable=False),
        sa.Column("preflight_problems", sa.Text(), nullable=False),
        sa.Column("preflight_at", sa.BigInteger(), nullable=True),
        sa.Column("preflight_head", sa.String(), nullable=True),
        sa.Column("setup_issue", sa.BigInteger(), nullable=True),
        sa.Column("setup_hash", sa.String(), nullable=True),
        sa.Column("mirror_decided", sa.Boolean(), nullable=False),
        sa.Column("thoughts_at_installation", sa.Text(), nullable=True),
        sa.Column("pause", sa.Text(), nullable=True),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("bot", sa.Text(), nullable=True),
        sa.Column("removed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("installation", "repo", name=op.f("pk_repos")),
    )
    op.create_table(
        "tokens",
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("attempt", sa.String(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("length(sha256) = 64", name=op.f("ck_tokens_hash_only")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_tokens")),
    )
    op.create_index("ix_tokens_attempt", "tokens", ["attempt"], unique=False)
    op.create_table(
        "items",
        sa.Column("installation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repo", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("node_id", sa.String(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("thought", sa.Text(), nullable=True),
        sa.Column("thought_dir", sa.String(), nullable=True),
        sa.Column("snapshot", sa.Text(), nullable=True),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("ready_since", sa.BigInteger(), nullable=True),
        sa.Column("not_before", sa.BigInteger(), nullable=True),
        sa.Column("expedited", sa.Boolean(), nullable=False),
        sa.Column("held_by", sa.String(), nullable=True),
        sa.Column("held_reason", sa.Text(), nullable=True),
        sa.Column("human_owned", sa.Boolean(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("attempts_burnt", sa.Integer(), nullable=False),
        sa.Column("infra_failures", sa.Integer(), nullable=False),
        sa.Column("last_failure", sa.Text(), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("fresh", sa.Boolean(), nullable=False),
        sa.Column("waiting", sa.Text(), nullable=False),
        sa.Column("findings", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=True),
        sa.Column("pull", sa.Text(), nullable=True),
        sa.Column("pull_number", sa.BigInteger(), nullable=True),
        sa.Column("pull_branch", sa.String(), nullable=True),
        sa.Column("pull_head_sha", sa.String(), nullable=True),
        sa.Column("projection", sa.Text(), nullable=False),
        sa.Column("accepted_labels", sa.Text(), nullable=False),
        sa.Column("refused_events", sa.Text(), nullable=False),
        sa.Column("branch_deleted", sa.Boolean(), nullable=False),
        sa.Column("mirror_ready", sa.Boolean(), nullable=False),
        sa.Column("thought_gone", sa.Boolean(), nullable=False),
        sa.Column("implemented", sa.Boolean(), nullable=False),
        sa.Column("noted", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('proposed', 'ready', 'in-progress', 'needs-input', 'in-review', 'done', 'failed', 'cancelled')",
            name=op.f("ck_items_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["installation", "repo"], ["repos.installation", "repos.repo"], name=op.f("fk_items_repos")
        ),
        sa.PrimaryKeyConstraint("installation", "repo", "number", name=op.f("pk_items")),
    )
    op.create_index("ix_items_pull", "items", ["installation", "repo", "pull_number"], unique=False)
    op.create_index("ix_items_pull_branch", "items", ["installation", "repo", "pull_branch"], unique=False)
    op.create_index("ix_items_pull_head", "items", ["installation", "repo", "pull_head_sha"], unique=False)
    op.create_index("ix_items_state", "items", ["installation", "repo", "state"], unique=False)
    op.create_index("uq_items_thought", "items", ["installation", "repo", "thought_dir"], unique=True)
    op.create_table(
        "thought_blobs",
        sa.Column("installation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repo", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sha", sa.String(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["installation", "repo"], ["repos.installation", "repos.repo"], name=op.f("fk_thought_blobs_repos")
        ),
        sa.PrimaryKeyConstraint("installation", "repo", "sha", name=op.f("pk_thought_blobs")),
    )
    op.create_table(
        "touches",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("delivery", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("installation", sa.BigInteger(), nullable=False),
        sa.Column("repo", sa.BigInteger(), nullable=True),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("hint", sa.String(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('repo', 'issue', 'run', 'head', 'pull', 'branch', 'installation')",
            name=op.f("ck_touches_kind_known"),
        ),
        sa.ForeignKeyConstraint(
            ["delivery"], ["deliveries.id"], name=op.f("fk_touches_deliveries"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_touches")),
    )
    op.create_index("ix_touches_delivery", "touches", ["delivery"], unique=False)
    op.create_index("ix_touches_number", "touches", ["kind", "number"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("installation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repo", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("worker_kind", sa.String(), nullable=False),
        sa.Column("worker_name", sa.String(), nullable=False),
        sa.Column("branch", sa.String(), nullable=False),
        sa.Column("claimed_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("base_sha", sa.String(), nullable=True),
        sa.Column("policy_hash", sa.String(), nullable=False),
        sa.Column("ready_removed", sa.Boolean(), nullable=False),
        sa.Column("shown", sa.Boolean(), nullable=False),
        sa.Column("dispatched_at", sa.BigInteger(), nullable=True),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("run_hint", sa.String(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("lease_until", sa.BigInteger(), nullable=True),
        sa.Column("progress", sa.Text(), nullable=True),
        sa.Column("cancel_requested_at", sa.BigInteger(), nullable=True),
        sa.Column("cancel_reason", sa.String(), nullable=True),
        sa.Column("cancel_by", sa.String(), nullable=True),
        sa.Column("forced_at", sa.BigInteger(), nullable=True),
        sa.Column("gate_report", sa.Text(), nullable=True),
        sa.Column("report", sa.Text(), nullable=True),
        sa.Column("head_sha", sa.String(), nullable=True),
        sa.Column("write_token_until", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("proof", sa.String(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('implement', 'fix_ci', 'address_review', 'rebase')", name=op.f("ck_attempts_kind_known")
        ),
        sa.CheckConstraint(
            "outcome IN ('published', 'failed', 'cancelled', 'lost', 'not_started')",
            name=op.f("ck_attempts_outcome_known"),
        ),
        sa.CheckConstraint(
            "phase IN ('claimed', 'dispatching', 'running', 'suspect', 'cancelling', 'ended')",
            name=op.f("ck_attempts_phase_known"),
        ),
        sa.CheckConstraint(
            "proof IN ('run_ended', 'cancel_confirmed', 'never_started', 'worker_reported', 'harmless')",
            name=op.f("ck_attempts_proof_known"),
        ),
        sa.CheckConstraint(
            "worker_kind IN ('actions', 'pull', 'interactive', 'external')", name=op.f("ck_attempts_worker_kind_known")
        ),
        sa.ForeignKeyConstraint(
            ["installation", "repo", "number"],
            ["items.installation", "items.repo", "items.number"],
            name=op.f("fk_attempts_items"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    op.create_index("ix_attempts_branch", "attempts", ["installation", "repo", "branch"], unique=False)
    op.create_index("ix_attempts_dispatched", "attempts", ["installation", "repo", "dispatched_at"], unique=False)
    op.create_index("ix_attempts_head", "attempts", ["installation", "repo", "head_sha"], unique=False)
    op.create_index("ix_attempts_run", "attempts", ["installation", "repo", "run_id"], unique=False)
    op.create_index("uq_attempts_fence", "attempts", ["installation", "repo", "number", "fence"], unique=True)
    op.create_index(
        "uq_attempts_live",
        "attempts",
        ["installation", "repo", "number"],
        unique=True,
        sqlite_where=sa.text("phase <> 'ended'"),
        postgresql_where=sa.text("phase <> 'ended'"),
    )
    op.create_table(
        "locks",
        sa.Column("installation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repo", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.String(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["installation", "repo", "number"],
            ["items.installation", "items.repo", "items.number"],
            name=op.f("fk_locks_items"),
        ),
        sa.PrimaryKeyConstraint("installation", "repo", "path", "number", name=op.f("pk_locks")),
    )
    op.create_index("ix_locks_item", "locks", ["installation", "repo", "number"], unique=False)
    postgresql = op.get_bind().dialect.name == "postgresql"
    for statement in POSTGRESQL_TRIGGERS if postgresql else SQLITE_TRIGGERS:
        op.execute(statement)


def downgrade() -> None:
    """Drops everything; the triggers go with their table."""
    for table in (
        "locks",
        "attempts",
        "touches",
        "thought_blobs",
        "items",
        "tokens",
        "repos",
        "replies",
        "outbox",
        "meta",
        "keys",
        "jtis",
        "intents",
        "installations",
        "events",
        "deliveries",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION events_append_only")
        op.execute("DROP FUNCTION events_purge_only")
