"""Bookmarks: how far something was read that is not of one repository, such as the App's list of deliveries."""

from __future__ import annotations

from sqlalchemy import select

from bot.store.dialect import insert_for
from bot.store.tables import meta
from bot.store.verbs import Verbs


class BookmarkVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about bookmarks."""

    def bookmark(self, name: str) -> str | None:
        return self.connection.execute(
            select(meta.c.value).where(meta.c.name == f"bookmark:{name}")
        ).scalar_one_or_none()

    def set_bookmark(self, name: str, value: str) -> None:
        statement = insert_for(self.connection.dialect, meta).values(name=f"bookmark:{name}", value=value)
        self.connection.execute(
            statement.on_conflict_do_update(index_elements=["name"], set_={"value": statement.excluded.value})
        )
