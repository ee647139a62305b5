"""What several processes on one database share: epochs of runs, turns at chores, files."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds columns and tables; nothing that is there changes."""
    op.add_column("keys", sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("keys", sa.Column("ran_by", sa.String(), nullable=True))
    op.create_table(
        "turns",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_turns")),
    )
    op.create_table(
        "file_parts",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", "part", name=op.f("pk_file_parts")),
    )


def downgrade() -> None:
    """Forgets who runs what; one process at a time needs none of it."""
    op.drop_table("file_parts")
    op.drop_table("turns")
    with op.batch_alter_table("keys") as batch:
        batch.drop_column("ran_by")
        batch.drop_column("epoch")
