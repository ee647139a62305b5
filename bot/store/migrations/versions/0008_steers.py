"""Words of people to agents at work."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a table; nothing that is there changes."""
    op.create_table(
        "steers",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("installation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repo", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("comment_id", sa.BigInteger(), nullable=True),
        sa.Column("delivered_at", sa.BigInteger(), nullable=True),
        sa.Column("told", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["installation", "repo", "number"],
            ["items.installation", "items.repo", "items.number"],
            name=op.f("fk_steers_items"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_steers")),
    )
    op.create_index("ix_steers_item", "steers", ["installation", "repo", "number"], unique=False)
    op.create_index("uq_steers_attempt", "steers", ["attempt", "seq"], unique=True)


def downgrade() -> None:
    """Forgets the words."""
    op.drop_index("uq_steers_attempt", table_name="steers")
    op.drop_index("ix_steers_item", table_name="steers")
    op.drop_table("steers")
