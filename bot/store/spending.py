"""What attempts may spend and have spent, in micro-dollars. A row is there as soon as money was reserved."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, select, update

from bot.domain.model import AttemptId, IssueKey, ItemState, RepoKey
from bot.protocols.ledger import Cost
from bot.store.tables import items, spending
from bot.store.verbs import Verbs, given, in_given_repo, of_given_issue

_AMOUNT: ColumnElement[int] = func.coalesce(spending.c.spent, spending.c.reserved)
_RESERVE = spending.insert()
_SETTLE = (
    update(spending)
    .where(spending.c.attempt == bindparam("of"), spending.c.spent.is_(None))
    .values(spent=bindparam("to_spent"))
)
_OF_ATTEMPT = select(spending).where(spending.c.attempt == bindparam("of"))
_SUM = select(func.coalesce(func.sum(_AMOUNT), 0))
_ON_ISSUE = _SUM.where(of_given_issue(spending))
_SINCE = _SUM.where(spending.c.at >= bindparam("since"))
_SINCE_IN_REPO = _SINCE.where(in_given_repo(spending))
_TO_START = [ItemState.READY, ItemState.IN_PROGRESS, ItemState.NEEDS_INPUT]
_ON_WAITING = (
    select(spending.c.number, func.sum(_AMOUNT))
    .select_from(
        spending.join(
            items,
            and_(
                items.c.installation == spending.c.installation,
                items.c.repo == spending.c.repo,
                items.c.number == spending.c.number,
            ),
        )
    )
    .where(in_given_repo(items), items.c.state.in_(_TO_START))
    .group_by(spending.c.number)
)


class SpendingVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about money."""

    def reserve(self, attempt: AttemptId, key: IssueKey, at: datetime, amount: int) -> None:
        self.connection.execute(
            _RESERVE, {**given(key), "attempt": attempt, "at": at, "reserved": amount, "spent": None}
        )

    def settle(self, attempt: AttemptId, amount: int) -> bool:
        return bool(self.connection.execute(_SETTLE, {"of": attempt, "to_spent": amount}).rowcount)

    def cost(self, attempt: AttemptId) -> Cost | None:
        row = self.connection.execute(_OF_ATTEMPT, {"of": attempt}).one_or_none()
        return None if row is None else Cost(row.reserved, row.spent)

    def spent_on(self, key: IssueKey) -> int:
        return self._sum(_ON_ISSUE, given(key))

    def spent_on_waiting(self, repo: RepoKey) -> dict[int, int]:
        """Only of items that may be started: sums over all history would grow for ever."""
        return {int(number): int(total) for number, total in self.connection.execute(_ON_WAITING, given(repo))}

    def spent_since(self, since: datetime, repo: RepoKey | None = None) -> int:
        if repo is None:
            return self._sum(_SINCE, {"since": since})
        return self._sum(_SINCE_IN_REPO, {"since": since, **given(repo)})

    def _sum(self, query: Select[int], values: dict[str, Any]) -> int:
        return int(self.connection.execute(query, values).scalar_one())
