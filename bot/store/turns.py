"""Turns at what one process of several should do: who has it, until when, and when it was last done."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, or_, select

from bot.store.dialect import insert_for
from bot.store.tables import turns
from bot.store.verbs import Verbs


class TurnVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about turns."""

    def take_turn(self, name: str, holder: str, until: datetime) -> bool:
        """Whether it is this holder's turn now; then it is until `until`, unless another one is in the middle."""
        values = {"name": name, "holder": holder, "until": until}
        statement = insert_for(self.connection.dialect, turns).values(**values)
        statement = statement.on_conflict_do_update(
            index_elements=["name"],
            set_={"holder": holder, "until": statement.excluded.until},
            where=or_(turns.c.holder == holder, turns.c.until <= self.clock.now()),
        )
        return self.connection.execute(statement).rowcount == 1

    def turn_done(self, name: str, at: datetime) -> None:
        """Notes that it was done, by whomever."""
        statement = insert_for(self.connection.dialect, turns).values(name=name, holder="", until=at, done_at=at)
        self.connection.execute(
            statement.on_conflict_do_update(index_elements=["name"], set_={"done_at": statement.excluded.done_at})
        )

    def turn_last_done(self, name: str) -> datetime | None:
        """When it was last done; None: never."""
        query = select(func.max(turns.c.done_at)).where(turns.c.name == name)
        return self.connection.execute(query).scalar_one_or_none()
