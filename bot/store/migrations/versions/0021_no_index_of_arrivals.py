"""When deliveries came is found by their numbers, so no index of it is written with each of them."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drops the index."""
    op.drop_index("ix_deliveries_received", "deliveries")


def downgrade() -> None:
    """The index again."""
    op.create_index("ix_deliveries_received", "deliveries", ["received_at"], unique=False)
