"""What an agent asks while it runs."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a column; nothing that is there changes."""
    op.add_column("attempts", sa.Column("asking", sa.Text(), nullable=True))


def downgrade() -> None:
    """Forgets what is being asked; the questions themselves are kept where they are answered."""
    op.drop_column("attempts", "asking")
