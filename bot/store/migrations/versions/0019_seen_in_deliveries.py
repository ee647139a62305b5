"""What a delivery says of repositories waits in its row until it is routed."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds an empty column: of what is there, everything is carried over already."""
    op.add_column("deliveries", sa.Column("seen", sa.Text(), nullable=True))


def downgrade() -> None:
    """Drops it; what was not carried over yet is told by the next look at the installation."""
    op.drop_column("deliveries", "seen")
