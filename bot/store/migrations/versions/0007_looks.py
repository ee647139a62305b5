"""Until when comments were looked through, since when a ledger listens, and that everything shall be looked at."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

COLUMNS = ("resync_asked_at", "heard_until", "listening_since")


def upgrade() -> None:
    """Adds columns; nothing that is there changes."""
    for name in COLUMNS:
        op.add_column("repos", sa.Column(name, sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Forgets them; the next look begins anew."""
    for name in reversed(COLUMNS):
        op.drop_column("repos", name)
