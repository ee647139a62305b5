"""Each line of history carries a hash over itself and the line before."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a column; lines from before stay without a hash."""
    op.add_column("events", sa.Column("chain", sa.String(), nullable=True))


def downgrade() -> None:
    """Forgets the hashes."""
    op.drop_column("events", "chain")
