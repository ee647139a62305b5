"""Incidents: causes of failures that stop many items, one row per cause and repository."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a table; failures from before are not counted."""
    op.create_table(
        "incidents",
        sa.Column("installation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repo", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cause", sa.String(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("numbers", sa.Text(), nullable=False),
        sa.Column("affected", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("issue", sa.BigInteger(), nullable=True),
        sa.Column("shown", sa.String(), nullable=True),
        sa.Column("shown_at", sa.BigInteger(), nullable=True),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "cause IN ('permission', 'workflow', 'credential', 'actor', 'agent_settings', 'quota', 'model', "
            "'dispatch', 'runners')",
            name=op.f("ck_incidents_cause_known"),
        ),
        sa.ForeignKeyConstraint(
            ["installation", "repo"], ["repos.installation", "repos.repo"], name=op.f("fk_incidents_repos")
        ),
        sa.PrimaryKeyConstraint("installation", "repo", "cause", name=op.f("pk_incidents")),
    )


def downgrade() -> None:
    """Forgets them; their issues stay as they are."""
    op.drop_table("incidents")
