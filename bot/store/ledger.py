"""All verbs of `bot.protocols.ledger.Ledger` over one SQLAlchemy connection, composed from one file per noun.

The verbs are synchronous functions inside a transaction that the engine opened; they neither commit nor roll back.
The same class serves SQLite and PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from bot.store.attempts import AttemptVerbs, LockVerbs, LogVerbs
from bot.store.bookmarks import BookmarkVerbs
from bot.store.bundles import BundleVerbs
from bot.store.incidents import IncidentVerbs
from bot.store.intents import IntentVerbs
from bot.store.items import ItemVerbs
from bot.store.keyrows import KeyVerbs
from bot.store.messages import MessageVerbs
from bot.store.outbox import HistoryVerbs, OutboxVerbs
from bot.store.questions import CarriedVerbs, QuestionVerbs, SteerVerbs
from bot.store.queued import QueueVerbs
from bot.store.repos import RepoVerbs
from bot.store.sessions import SessionVerbs
from bot.store.spending import SpendingVerbs
from bot.store.stream import StreamVerbs
from bot.store.tokens import TokenVerbs
from bot.store.turns import TurnVerbs
from bot.store.workers import WorkerVerbs


class SqlLedger(
    RepoVerbs,
    ItemVerbs,
    QueueVerbs,
    AttemptVerbs,
    LockVerbs,
    SpendingVerbs,
    LogVerbs,
    IntentVerbs,
    OutboxVerbs,
    HistoryVerbs,
    StreamVerbs,
    MessageVerbs,
    KeyVerbs,
    TurnVerbs,
    TokenVerbs,
    WorkerVerbs,
    SessionVerbs,
    BundleVerbs,
    QuestionVerbs,
    IncidentVerbs,
    SteerVerbs,
    CarriedVerbs,
    BookmarkVerbs,
):
    """`bot.protocols.ledger.Ledger` in SQL."""


T = TypeVar("T")


class Writes(Protocol):
    """The part of a store that runs units; all that the inbox and the router need."""

    async def write(self, unit: Callable[[SqlLedger], T]) -> T:
        """As `SqlStore.write`."""
        ...

    async def put(self, unit: Callable[[SqlLedger], T], single: Callable[[], bool]) -> T:
        """As `SqlStore.put`."""
        ...
