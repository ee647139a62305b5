"""Bookmarks: how far something was read that is not of one repository, such as the App's list of deliveries."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from bot.store.dialect import inserts
from bot.store.tables import meta
from bot.store.verbs import Verbs

_GET = select(meta.c.value).where(meta.c.name == bindparam("of"))
_SET = inserts(meta, lambda new: new.on_conflict_do_update(index_elements=["name"], set_={"value": new.excluded.value}))


class BookmarkVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about bookmarks."""

    def bookmark(self, name: str) -> str | None:
        return self.connection.execute(_GET, {"of": f"bookmark:{name}"}).scalar_one_or_none()

    def set_bookmark(self, name: str, value: str) -> None:
        self.connection.execute(_SET[self.connection.dialect.name], {"name": f"bookmark:{name}", "value": value})
