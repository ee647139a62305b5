"""What the tables share: the one collection they are in, and columns and rules that stand in several."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Integer,
    MetaData,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts rows by itself only in a column declared INTEGER.
SERIAL = BigInteger().with_variant(Integer(), "sqlite")


def known(column: str, of: type[StrEnum]) -> CheckConstraint:
    words = ", ".join(f"'{member.value}'" for member in of)
    return CheckConstraint(f"{column} IN ({words})", name=f"{column}_known")


def tenant() -> tuple[Column[int], Column[int]]:
    return (
        Column("installation", BigInteger, nullable=False, autoincrement=False),
        Column("repo", BigInteger, nullable=False, autoincrement=False),
    )


def of_repo() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["installation", "repo"], ["repos.installation", "repos.repo"])


def of_item() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["installation", "repo", "number"], ["items.installation", "items.repo", "items.number"]
    )
