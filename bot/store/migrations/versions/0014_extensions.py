"""How often an item's agent went on after the end of its time."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds a column; nothing that is there changes."""
    op.add_column("items", sa.Column("extensions", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Forgets the count: an item may go on as often again."""
    op.drop_column("items", "extensions")
