"""When the records of a repository were made from what GitHub shows, and which attempts were found again that way."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns; the repositories that are there have their records."""
    op.add_column("repos", sa.Column("rebuilt_at", sa.BigInteger(), nullable=True))
    op.execute("UPDATE repos SET rebuilt_at = 0")
    op.add_column("attempts", sa.Column("recovered_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Forgets it; attempts that were found again are then ended like silent ones."""
    op.drop_column("attempts", "recovered_at")
    op.drop_column("repos", "rebuilt_at")
