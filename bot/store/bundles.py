"""Uploaded bundles: which bytes belong to an attempt. The bytes themselves are files, see `bot/bundles.py`."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, or_, select, update
from sqlalchemy.engine import Row

from bot.domain.attempt import AttemptPhase
from bot.domain.model import AttemptId
from bot.protocols.worker_ledger import BundleRow
from bot.store.dialect import insert_new
from bot.store.tables import attempts, bundles, items
from bot.store.verbs import Verbs


class BundleVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about bundles."""

    def bundle(self, attempt: AttemptId) -> BundleRow | None:
        row = self.connection.execute(select(bundles).where(bundles.c.attempt == attempt)).one_or_none()
        return None if row is None else _bundle_of(row)

    def bundles(self) -> list[BundleRow]:
        """All of them; there are at most as many as attempts under way, and a few that wait for the pruning."""
        return [_bundle_of(row) for row in self.connection.execute(select(bundles))]

    def put_bundle(self, row: BundleRow) -> bool:
        """Notes what belongs to the attempt now; False when it had other bytes before, which are replaced."""
        values = {"sha256": row.sha256, "size": row.size, "uploaded_at": row.uploaded_at}
        if insert_new(self.connection, bundles, {"attempt": row.attempt, **values}):
            return True
        self.connection.execute(update(bundles).where(bundles.c.attempt == row.attempt).values(**values))
        return False

    def spent_bundles(self) -> list[AttemptId]:
        """Attempts that are over, or gone, and whose bundle is still noted though no item waits with it."""
        joined = bundles.outerjoin(attempts, attempts.c.id == bundles.c.attempt)
        over = or_(attempts.c.id.is_(None), attempts.c.phase == AttemptPhase.ENDED)
        waits = select(items.c.withheld_attempt).where(items.c.withheld_attempt == bundles.c.attempt).exists()
        query = select(bundles.c.attempt).select_from(joined).where(over, ~waits)
        return [AttemptId(found) for found in self.connection.execute(query).scalars()]

    def drop_bundles(self, of: Sequence[AttemptId]) -> None:
        self.connection.execute(delete(bundles).where(bundles.c.attempt.in_(of)))


def _bundle_of(row: Row[tuple[object, ...]]) -> BundleRow:
    return BundleRow(AttemptId(row.attempt), row.sha256, row.size, row.uploaded_at)
