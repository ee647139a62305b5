"""When the newest `pause` or `resume` was written: an older one that is heard late does nothing."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds an empty column."""
    op.add_column("repos", sa.Column("pause_said_at", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Drops it."""
    op.drop_column("repos", "pause_said_at")
