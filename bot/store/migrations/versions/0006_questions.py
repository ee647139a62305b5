"""Questions of agents, what attempts leave for the next, and the outcome of an attempt that asks."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

OUTCOMES = "'published', 'failed', 'cancelled', 'lost', 'not_started'"
"""The outcomes before."""

WITH_ASKED = "'published', 'asked', 'failed', 'cancelled', 'lost', 'not_started'"


def upgrade() -> None:
    """Adds tables and columns; nothing that is there changes."""
    op.create_table(
        "questions",
        sa.Column("installation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repo", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("attempt", sa.String(), nullable=False),
        sa.Column("asked", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("deadline", sa.BigInteger(), nullable=True),
        sa.Column("seconds_left", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("answered_by", sa.Text(), nullable=True),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.Column("answer_comment", sa.BigInteger(), nullable=True),
        sa.Column("delivered", sa.String(), nullable=True),
        sa.Column("reminded", sa.Integer(), nullable=False),
        sa.Column("reminded_at", sa.BigInteger(), nullable=True),
        sa.Column("comment_id", sa.BigInteger(), nullable=True),
        sa.Column("seen", sa.Text(), nullable=False),
        sa.Column("told_late", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "status IN ('open', 'answered', 'expired', 'withdrawn')", name=op.f("ck_questions_status_known")
        ),
        sa.ForeignKeyConstraint(
            ["installation", "repo", "number"],
            ["items.installation", "items.repo", "items.number"],
            name=op.f("fk_questions_items"),
        ),
        sa.PrimaryKeyConstraint("installation", "repo", "number", "ordinal", name=op.f("pk_questions")),
    )
    op.create_index("ix_questions_status", "questions", ["installation", "repo", "status"], unique=False)
    op.create_table(
        "carried",
        sa.Column("attempt", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('transcript', 'work')", name=op.f("ck_carried_kind_known")),
        sa.PrimaryKeyConstraint("attempt", "kind", name=op.f("pk_carried")),
    )
    op.add_column("items", sa.Column("answered", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("attempts", sa.Column("resumes", sa.String(), nullable=True))
    _allow(OUTCOMES, WITH_ASKED)


def downgrade() -> None:
    """Forgets questions, answers and conversations; an attempt that asked counts as failed."""
    op.execute("UPDATE attempts SET outcome = 'failed' WHERE outcome = 'asked'")
    _allow(WITH_ASKED, OUTCOMES)
    op.drop_column("attempts", "resumes")
    op.drop_column("items", "answered")
    op.drop_table("carried")
    op.drop_index("ix_questions_status", table_name="questions")
    op.drop_table("questions")


def _allow(before: str, after: str) -> None:
    """Other outcomes of attempts. SQLite cannot change a condition in place: the table is copied, word for word."""
    if op.get_context().dialect.name != "sqlite":
        op.drop_constraint("ck_attempts_outcome_known", "attempts", type_="check")
        op.create_check_constraint(op.f("ck_attempts_outcome_known"), "attempts", f"outcome IN ({after})")
        return
    connection = op.get_bind()
    found = sa.text("SELECT type, sql FROM sqlite_master WHERE tbl_name = 'attempts' AND sql IS NOT NULL")
    parts = [(kind, sql) for kind, sql in connection.execute(found)]
    made = next(sql for kind, sql in parts if kind == "table")
    assert f"outcome IN ({before})" in made
    made = made.replace(f"outcome IN ({before})", f"outcome IN ({after})")
    op.rename_table("attempts", "attempts_before")
    connection.exec_driver_sql(made)
    connection.exec_driver_sql("INSERT INTO attempts SELECT * FROM attempts_before")
    op.drop_table("attempts_before")
    for kind, sql in parts:
        if kind == "index":
            connection.exec_driver_sql(sql)
