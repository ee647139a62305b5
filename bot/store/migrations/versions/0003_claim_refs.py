"""What the ledger knows of the claim ref of an attempt."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COLUMNS = ("claim_mark", "claim_ref", "claim_oid")


def upgrade() -> None:
    """Adds columns; nothing that is there changes."""
    for name in COLUMNS:
        op.add_column("attempts", sa.Column(name, sa.String(), nullable=True))


def downgrade() -> None:
    """Forgets which refs are held; `tgs server backlog validate --fix` finds them again."""
    for name in reversed(COLUMNS):
        op.drop_column("attempts", name)
