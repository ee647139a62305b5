"""What a delivery points at is part of its row."""

import json
from itertools import groupby

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

DAY = 86_400_000_000
"""Microseconds. What was routed longer ago is asked for by nobody."""

ROWS = (
    "SELECT t.delivery, t.kind, t.installation, t.repo, t.value, t.hint "
    "FROM touches t JOIN deliveries d ON d.id = t.delivery "
    "WHERE d.routed_at IS NULL OR d.received_at > (SELECT max(received_at) FROM deliveries) - :day "
    "ORDER BY t.delivery, t.id"
)
TEXTS = (
    "SELECT id, touches FROM deliveries WHERE touches IS NOT NULL "
    "AND (routed_at IS NULL OR received_at > (SELECT max(received_at) FROM deliveries) - :day) ORDER BY id"
)
NUMBERED = ("issue", "run", "pull")


def upgrade() -> None:
    """Adds a column, carries over what is not routed yet and what came lately, and drops the table of touches."""
    op.add_column("deliveries", sa.Column("touches", sa.Text(), nullable=True))
    connection = op.get_bind()
    found = connection.execute(sa.text(ROWS), {"day": DAY}).fetchall()
    rows = [
        {"of": of, "touches": json.dumps([list(row)[1:] for row in some], separators=(",", ":"), ensure_ascii=False)}
        for of, some in groupby(found, key=lambda row: row[0])
    ]
    if rows:
        connection.execute(sa.text("UPDATE deliveries SET touches = :touches WHERE id = :of"), rows)
    op.drop_table("touches")


def downgrade() -> None:
    """The table again, with what is not routed yet and what came lately."""
    touches = op.create_table(
        "touches",
        sa.Column("id", SERIAL, nullable=False),
        sa.Column("delivery", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("installation", sa.BigInteger(), nullable=False),
        sa.Column("repo", sa.BigInteger(), nullable=True),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("hint", sa.String(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('repo', 'issue', 'run', 'head', 'pull', 'branch', 'installation')",
            name=op.f("ck_touches_kind_known"),
        ),
        sa.ForeignKeyConstraint(
            ["delivery"], ["deliveries.id"], name=op.f("fk_touches_deliveries"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_touches")),
    )
    op.create_index("ix_touches_delivery", "touches", ["delivery"], unique=False)
    op.create_index("ix_touches_number", "touches", ["kind", "number"], unique=False)
    connection = op.get_bind()
    found = connection.execute(sa.text(TEXTS), {"day": DAY}).fetchall()
    rows = [
        {
            "delivery": of,
            "kind": kind,
            "installation": installation,
            "repo": repo,
            "value": value,
            "number": int(value) if kind in NUMBERED and value.isascii() and value.isdigit() else None,
            "hint": hint,
        }
        for of, text in found
        for kind, installation, repo, value, hint in json.loads(text)
    ]
    if rows:
        connection.execute(sa.insert(touches), rows)
    op.drop_column("deliveries", "touches")
