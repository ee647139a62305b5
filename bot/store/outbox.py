"""Acts that must happen at most once, written ahead; and the append-only history."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, select, update

from bot.domain.model import AttemptId, InstallationId, IssueKey, Key, RepoId, RepoKey
from bot.protocols.ledger import Audit, OutboxRow
from bot.store.chain import link
from bot.store.dialect import insert_new
from bot.store.tables import cuts, events, outbox
from bot.store.types import UtcTime
from bot.store.verbs import Verbs, given, in_given_repo, in_repo, of_given_issue

_OF = outbox.c.key == bindparam("of")
_ONE = select(outbox).where(_OF)
_UNSAID = (
    select(outbox)
    .where(
        of_given_issue(outbox),
        outbox.c.kind == "comment",
        outbox.c.done_at.is_(None),
        outbox.c.result.is_not(None),
    )
    .order_by(outbox.c.planned_at, outbox.c.key)
)
_PLANNED = select(outbox).where(
    in_given_repo(outbox), outbox.c.number.is_(None), outbox.c.done_at.is_(None), outbox.c.kind == bindparam("of_kind")
)
_DONE = (
    update(outbox)
    .where(_OF, outbox.c.done_at.is_(None))
    .values(done_at=bindparam("at", type_=UtcTime), result=bindparam("said"))
)
_RETRY = (
    update(outbox)
    .where(_OF, outbox.c.done_at.is_(None))
    .values(tries=outbox.c.tries + 1, planned_at=bindparam("at", type_=UtcTime))
)
_NEWEST = select(events.c.chain).order_by(events.c.id.desc()).limit(1)
_NEWEST_OF_ISSUE = _NEWEST.where(of_given_issue(events))
_NEWEST_OF_REPO = _NEWEST.where(in_given_repo(events), events.c.number.is_(None))
_LINE = events.insert()
_CUT = select(cuts).where(of_given_issue(cuts))


class OutboxVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about planned acts."""

    def outbox(self, key: str) -> OutboxRow | None:
        row = self.connection.execute(_ONE, {"of": key}).one_or_none()
        return None if row is None else _row(row)

    def unsaid(self, key: IssueKey) -> list[OutboxRow]:
        """Comments that were planned with their words and are not written yet, oldest first."""
        return [_row(row) for row in self.connection.execute(_UNSAID, given(key))]

    def planned(self, repo: RepoKey, kind: str) -> list[OutboxRow]:
        """Acts of this kind that belong to no issue and are not done, in no order."""
        return [_row(row) for row in self.connection.execute(_PLANNED, {**given(repo), "of_kind": kind})]

    def plan(self, row: OutboxRow) -> bool:
        return insert_new(
            self.connection,
            outbox,
            {
                "key": row.key,
                "kind": row.kind,
                "installation": row.repo.installation,
                "repo": row.repo.repo,
                "number": None if row.issue is None else row.issue.number,
                "fence": row.fence,
                "planned_at": row.planned_at,
                "done_at": row.done_at,
                "result": row.result,
                "tries": row.tries,
            },
        )

    def outbox_done(self, key: str, result: str, at: datetime) -> None:
        """Notes what came of it; the first result stays."""
        self.connection.execute(_DONE, {"of": key, "at": at, "said": result})

    def outbox_retry(self, key: str) -> None:
        """Counts one more try of an act that is not done; its trace may be late anew, so the wait begins again."""
        self.connection.execute(_RETRY, {"of": key, "at": self.clock.now()})

    def outbox_drop(self, key: str) -> None:
        """Forgets a planned act; one that is done is never forgotten, one with its words is kept as never tried."""
        open_ = (outbox.c.key == key, outbox.c.done_at.is_(None))
        self.connection.execute(update(outbox).where(*open_, outbox.c.result.is_not(None)).values(tries=-1))
        self.connection.execute(delete(outbox).where(*open_, outbox.c.result.is_(None)))


def _row(row: Row[Any]) -> OutboxRow:
    repo = RepoKey(InstallationId(row.installation), RepoId(row.repo))
    return OutboxRow(
        key=row.key,
        kind=row.kind,
        issue=None if row.number is None else IssueKey(repo.installation, repo.repo, row.number),
        repo=repo,
        fence=row.fence,
        planned_at=row.planned_at,
        done_at=row.done_at,
        result=row.result,
        tries=row.tries,
    )


class HistoryVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about history."""

    def audit(self, line: Audit) -> None:
        self.news.add(RepoKey(line.key.installation, line.key.repo))
        newest = _NEWEST_OF_ISSUE if isinstance(line.key, IssueKey) else _NEWEST_OF_REPO
        values = {
            "at": line.at,
            "installation": line.key.installation,
            "repo": line.key.repo,
            "number": line.key.number if isinstance(line.key, IssueKey) else None,
            "kind": line.kind,
            "actor": line.actor,
            "cause": line.cause,
            "from_state": line.from_state,
            "to_state": line.to_state,
            "attempt": line.attempt,
            "fence": line.fence,
            "policy_hash": line.policy_hash,
            "detail": None if line.detail is None else dict(line.detail),
        }
        found = self.connection.execute(newest, given(line.key)).one_or_none()
        before = found.chain if found is not None else self._cut_chain(line.key)
        self.connection.execute(_LINE, {**values, "chain": link(before, values)})

    def _cut_chain(self, key: Key) -> str | None:
        """The hash of the last line that was removed, if that was all of a history."""
        row = self._cut(key)
        return None if row is None else row.chain

    def history_removed(self, key: Key) -> int:
        row = self._cut(key)
        return 0 if row is None else row.lines

    def _cut(self, key: Key) -> Row[Any] | None:
        number = key.number if isinstance(key, IssueKey) else 0
        return self.connection.execute(_CUT, {**given(key), "number": number}).one_or_none()

    def history(self, key: Key, limit: int = 100) -> list[Audit]:
        """The newest `limit` lines written under exactly this key, oldest first."""
        number = events.c.number == key.number if isinstance(key, IssueKey) else events.c.number.is_(None)
        query = select(events).where(in_repo(events, key), number).order_by(events.c.id.desc()).limit(limit)
        lines = [audit_of(row, key) for row in self.connection.execute(query)]
        lines.reverse()
        return lines


def audit_of(row: Row[Any], key: Key) -> Audit:
    """The line of history in a row of `events`."""
    return Audit(
        at=row.at,
        key=key,
        kind=row.kind,
        actor=row.actor,
        cause=row.cause,
        from_state=row.from_state,
        to_state=row.to_state,
        attempt=None if row.attempt is None else AttemptId(row.attempt),
        fence=row.fence,
        policy_hash=row.policy_hash,
        detail=row.detail,
    )
