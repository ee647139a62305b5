"""A key's row is where its name is, and the index of keys without a due time holds no others.

A mark writes one page of SQLite's file less for the one and another for the other; so do ends of runs for the second.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

BEHIND = sa.text("wanted_rev <> seen_rev")
NOT_TIMED = sa.text("wanted_rev <> seen_rev AND next_due_at IS NULL")


def upgrade() -> None:
    """Writes the rows of keys anew on SQLite; on PostgreSQL, only the index."""
    _index(NOT_TIMED, with_rowid=False)


def downgrade() -> None:
    """The table and the index as they were."""
    _index(BEHIND, with_rowid=True)


def _index(which: Any, *, with_rowid: bool) -> None:
    op.drop_index("ix_keys_pending", "keys")
    if op.get_bind().dialect.name == "sqlite":
        with op.batch_alter_table("keys", recreate="always", table_kwargs={"sqlite_with_rowid": with_rowid}):
            pass
    op.create_index("ix_keys_pending", "keys", ["key"], unique=False, sqlite_where=which, postgresql_where=which)
