"""Results that wait until a person has looked at them."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns; nothing that is there changes."""
    op.add_column("items", sa.Column("withheld", sa.Text(), nullable=True))
    op.add_column("items", sa.Column("withheld_attempt", sa.String(), nullable=True))


def downgrade() -> None:
    """Forgets which results wait; their work has to be done again."""
    op.drop_column("items", "withheld_attempt")
    op.drop_column("items", "withheld")
