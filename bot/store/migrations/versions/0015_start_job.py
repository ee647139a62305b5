"""Which job of a run activated an attempt."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a column; nothing that is there changes."""
    op.add_column("attempts", sa.Column("start_job", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Forgets the jobs: attempts that are alive are published without looking at them."""
    op.drop_column("attempts", "start_job")
