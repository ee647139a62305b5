"""Since when deliveries came, found by their numbers: an index of times would be written with each delivery and read
seldom.

Deliveries are numbered as they come. Processes whose clocks differ write times that are not quite in that order; what
is found is right but for as much as their clocks differ, and whoever asks leaves room for that.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Connection, bindparam, func, select

from bot.store.tables import deliveries

_ENDS = select(func.min(deliveries.c.id), func.max(deliveries.c.id))
_NEXT = (
    select(deliveries.c.id, deliveries.c.received_at)
    .where(deliveries.c.id >= bindparam("number", type_=BigInteger))
    .order_by(deliveries.c.id)
    .limit(1)
)


def first_since(connection: Connection, at: datetime) -> int:
    """The number from which on deliveries came at that time or later; that of the next one where none did. Twenty
    lookups among a million."""
    first, last = connection.execute(_ENDS).one()
    if last is None:
        return 0
    low, high = int(first), int(last) + 1
    while low < high:
        middle = (low + high) // 2
        found = connection.execute(_NEXT, {"number": middle}).one_or_none()
        if found is None or found.received_at >= at:
            high = middle
        else:
            low = found.id + 1
    return low
