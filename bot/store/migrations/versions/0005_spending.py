"""What attempts may spend and have spent."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a table; attempts from before have no row and cost nothing."""
    op.create_table(
        "spending",
        sa.Column("attempt", sa.String(), nullable=False),
        sa.Column("installation", sa.BigInteger(), nullable=False),
        sa.Column("repo", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["installation", "repo", "number"],
            ["items.installation", "items.repo", "items.number"],
            name=op.f("fk_spending_items"),
        ),
        sa.PrimaryKeyConstraint("attempt", name=op.f("pk_spending")),
    )
    op.create_index("ix_spending_item", "spending", ["installation", "repo", "number"])
    op.create_index("ix_spending_day", "spending", ["at"])


def downgrade() -> None:
    """Forgets what was spent; ceilings begin anew."""
    op.drop_table("spending")
