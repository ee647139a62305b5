"""Turns at what one process of several should do: who has it, until when, and when it was last done."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, func, or_, select

from bot.store.dialect import inserts
from bot.store.tables import turns
from bot.store.types import UtcTime
from bot.store.verbs import Verbs

_TAKE = inserts(
    turns,
    lambda new: new.on_conflict_do_update(
        index_elements=["name"],
        set_={"holder": new.excluded.holder, "until": new.excluded.until},
        where=or_(turns.c.holder == new.excluded.holder, turns.c.until <= bindparam("now", type_=UtcTime)),
    ),
)
_DONE = inserts(
    turns, lambda new: new.on_conflict_do_update(index_elements=["name"], set_={"done_at": new.excluded.done_at})
)
_LAST_DONE = select(func.max(turns.c.done_at)).where(turns.c.name == bindparam("of"))


class TurnVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about turns."""

    def take_turn(self, name: str, holder: str, until: datetime) -> bool:
        """Whether it is this holder's turn now; then it is until `until`, unless another one is in the middle."""
        values = {"name": name, "holder": holder, "until": until, "now": self.clock.now()}
        return self.connection.execute(_TAKE[self.connection.dialect.name], values).rowcount == 1

    def turn_done(self, name: str, at: datetime) -> None:
        """Notes that it was done, by whomever."""
        values = {"name": name, "holder": "", "until": at, "done_at": at}
        self.connection.execute(_DONE[self.connection.dialect.name], values)

    def turn_last_done(self, name: str) -> datetime | None:
        """When it was last done; None: never."""
        return self.connection.execute(_LAST_DONE, {"of": name}).scalar_one_or_none()
