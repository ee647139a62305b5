"""Histories of items that ended long ago may be removed, once it is written down what they came to."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

REMOVED = "EXISTS (SELECT 1 FROM installations i WHERE i.installation = OLD.installation AND i.removed_at IS NOT NULL)"
CUT = (
    "EXISTS (SELECT 1 FROM cuts c WHERE c.installation = OLD.installation AND c.repo = OLD.repo "
    "AND c.number = coalesce(OLD.number, 0) AND c.up_to >= OLD.id)"
)


def upgrade() -> None:
    """Adds a table; a line of history can be deleted when its row there says so. And an index of open acts."""
    op.create_table(
        "cuts",
        sa.Column("installation", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("repo", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("up_to", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.Column("chain", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("installation", "repo", "number", name=op.f("pk_cuts")),
    )
    _allow(f"({REMOVED} OR {CUT})")
    open_ = sa.text("done_at IS NULL")
    op.create_index(
        "ix_outbox_open", "outbox", ["installation", "repo", "number"], sqlite_where=open_, postgresql_where=open_
    )


def downgrade() -> None:
    """Forgets what was removed: a check of the history then misses the beginnings of those that were cut."""
    op.drop_index("ix_outbox_open", "outbox")
    _allow(REMOVED)
    op.drop_table("cuts")


def _allow(which: str) -> None:
    """Lines may be deleted that meet the condition."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE OR REPLACE FUNCTION events_purge_only() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN IF NOT {which} THEN RAISE EXCEPTION 'events are append-only'; END IF; RETURN OLD; END $$"
        )
    else:
        op.execute("DROP TRIGGER events_no_delete")
        op.execute(
            f"CREATE TRIGGER events_no_delete BEFORE DELETE ON events WHEN NOT {which} "
            "BEGIN SELECT RAISE(ABORT, 'events are append-only'); END"
        )
