"""Attempts and locks. The unique indexes on live attempts and fences decide every race, no check before does."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, bindparam, delete, func, literal_column, select, update

from bot.domain.attempt import Attempt, AttemptPhase, Worker
from bot.domain.intake import Touch, TouchKind
from bot.domain.model import AttemptId, InstallationId, IssueKey, RepoId, RepoKey
from bot.protocols.ledger import DuplicateLiveAttempt, LockRow
from bot.store.dialect import insert_for, insert_new
from bot.store.items import issue_key_of
from bot.store.since import first_since
from bot.store.tables import attempts, deliveries, locks, logs
from bot.store.touched import part_of
from bot.store.verbs import Verbs, given, in_given_repo, in_repo, of_given_issue, of_issue, update_changed

# Written as a literal, as in the partial index, so that both databases can use that index.
LIVE: ColumnElement[bool] = attempts.c.phase != literal_column(f"'{AttemptPhase.ENDED.value}'")
_NEWEST = select(attempts).order_by(attempts.c.fence.desc(), attempts.c.claimed_at.desc()).limit(1)
_LAST = _NEWEST.where(of_given_issue(attempts))
_LIVE_ONE = _LAST.where(LIVE)
_LIVE_ALL = select(attempts).where(in_given_repo(attempts), LIVE).order_by(attempts.c.number)
_ALL = select(attempts).where(of_given_issue(attempts)).order_by(attempts.c.fence)
_BY_ID = _NEWEST.where(attempts.c.id == bindparam("id"))
_DISPATCHES = (
    select(func.count())
    .select_from(attempts)
    .where(in_given_repo(attempts), attempts.c.dispatched_at >= bindparam("since"))
)
_AT_WORK = (
    select(attempts.c.installation, attempts.c.repo)
    .where(LIVE)
    .distinct()
    .order_by(attempts.c.installation, attempts.c.repo)
)
_LOCKS = select(locks).where(in_given_repo(locks)).order_by(locks.c.path, locks.c.number)
_FREE = delete(locks).where(of_given_issue(locks))

# The word that a `workflow_run.completed` webhook leaves on its touch and on the attempt that owns the run.
RUN_COMPLETED = "completed"

# How far the clocks of two processes may be apart.
CLOCKS_APART = timedelta(minutes=10)

# A run does not end before its attempt began, so that only what arrived since then is looked at.
_COMPLETED = (
    select(deliveries.c.id)
    .where(
        deliveries.c.id >= bindparam("first"),
        deliveries.c.touches.contains(bindparam("touch")),
    )
    .limit(1)
)


def attempt_values(attempt: Attempt) -> dict[str, Any]:
    """The columns of a record, without its id, key, fence and revision (these never change, or count by themselves)."""
    return {
        "ordinal": attempt.number,
        "phase": attempt.phase,
        "worker_kind": attempt.worker.kind,
        "worker_name": attempt.worker.name,
        "worker_id": attempt.worker.id,
        "worker_token_id": attempt.worker.token_id,
        "branch": attempt.branch,
        "claimed_at": attempt.claimed_at,
        "kind": attempt.kind,
        "base_sha": attempt.base_sha,
        "policy_hash": attempt.policy_hash,
        "ready_removed": attempt.ready_removed,
        "shown": attempt.shown,
        "dispatched_at": attempt.dispatched_at,
        "run_id": attempt.run_id,
        "run_hint": attempt.run_hint,
        "started_at": attempt.started_at,
        "lease_until": attempt.lease_until,
        "progress": attempt.progress,
        "cancel_requested_at": attempt.cancel_requested_at,
        "cancel_reason": attempt.cancel_reason,
        "cancel_by": attempt.cancel_by,
        "forced_at": attempt.forced_at,
        "gate_report": attempt.gate_report,
        "report": attempt.report,
        "head_sha": None if attempt.report is None else attempt.report.head_sha,
        "write_token_until": attempt.write_token_until,
        "ended_at": attempt.ended_at,
        "outcome": attempt.outcome,
        "proof": attempt.proof,
        "failure": attempt.failure,
        "claim_mark": attempt.claim_mark,
        "claim_ref": attempt.claim_ref,
        "claim_oid": attempt.claim_oid,
        "resumes": attempt.resumes,
        "asking": attempt.asking,
        "recovered_at": attempt.recovered_at,
        "start_job": attempt.start_job,
    }


def attempt_of(row: Row[Any]) -> Attempt:
    """The record of a row."""
    return Attempt(
        id=AttemptId(row.id),
        key=issue_key_of(row),
        number=row.ordinal,
        fence=row.fence,
        phase=row.phase,
        worker=Worker(row.worker_kind, row.worker_name, row.worker_id, row.worker_token_id),
        branch=row.branch,
        claimed_at=row.claimed_at,
        revision=row.revision,
        kind=row.kind,
        base_sha=row.base_sha,
        policy_hash=row.policy_hash,
        ready_removed=row.ready_removed,
        shown=row.shown,
        dispatched_at=row.dispatched_at,
        run_id=row.run_id,
        run_hint=row.run_hint,
        started_at=row.started_at,
        lease_until=row.lease_until,
        progress=row.progress,
        cancel_requested_at=row.cancel_requested_at,
        cancel_reason=row.cancel_reason,
        cancel_by=row.cancel_by,
        forced_at=row.forced_at,
        gate_report=row.gate_report,
        report=row.report,
        write_token_until=row.write_token_until,
        ended_at=row.ended_at,
        outcome=row.outcome,
        proof=row.proof,
        failure=row.failure,
        claim_mark=row.claim_mark,
        claim_ref=row.claim_ref,
        claim_oid=row.claim_oid,
        resumes=None if row.resumes is None else AttemptId(row.resumes),
        asking=row.asking or (),
        recovered_at=row.recovered_at,
        start_job=row.start_job,
    )


class AttemptVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about attempts."""

    def _first(self, *where: ColumnElement[bool]) -> Attempt | None:
        """The newest attempt that meets the conditions."""
        return self._one(_NEWEST.where(*where), {})

    def _one(self, query: Select[Any], values: dict[str, Any]) -> Attempt | None:
        row = self.connection.execute(query, values).one_or_none()
        return None if row is None else attempt_of(row)

    def live_by_phase(self) -> dict[str, int]:
        """How many attempts are in each phase but the last, for metrics."""
        query = (
            select(attempts.c.phase, func.count())
            .where(attempts.c.phase != AttemptPhase.ENDED)
            .group_by(attempts.c.phase)
        )
        return {phase.value: count for phase, count in self.connection.execute(query)}

    def ended_since(self, since: datetime) -> list[Attempt]:
        """Attempts that ended after the time, oldest first, for metrics."""
        query = select(attempts).where(attempts.c.ended_at > since).order_by(attempts.c.ended_at)
        return [attempt_of(row) for row in self.connection.execute(query)]

    def attempt(self, id_: AttemptId) -> Attempt | None:
        return self._one(_BY_ID, {"id": id_})

    def live_attempt(self, key: IssueKey) -> Attempt | None:
        return self._one(_LIVE_ONE, given(key))

    def last_attempt(self, key: IssueKey) -> Attempt | None:
        """The attempt with the highest fence, live or not."""
        return self._one(_LAST, given(key))

    def live_attempts(self, repo: RepoKey) -> list[Attempt]:
        return [attempt_of(row) for row in self.connection.execute(_LIVE_ALL, given(repo))]

    def repos_at_work(self) -> list[RepoKey]:
        """The repositories in which an attempt is alive."""
        rows = self.connection.execute(_AT_WORK)
        return [RepoKey(InstallationId(row.installation), RepoId(row.repo)) for row in rows]

    def live_attempts_of(self, token: str) -> list[Attempt]:
        """What is held under a worker token, in whichever repository."""
        query = select(attempts).where(attempts.c.worker_token_id == token, LIVE).order_by(attempts.c.claimed_at)
        return [attempt_of(row) for row in self.connection.execute(query)]

    def attempts(self, key: IssueKey) -> list[Attempt]:
        """All attempts of an item, oldest first."""
        return [attempt_of(row) for row in self.connection.execute(_ALL, given(key))]

    def attempt_of_run(self, repo: RepoKey, run_id: int) -> Attempt | None:
        return self._first(in_repo(attempts, repo), attempts.c.run_id == run_id)

    def attempt_of_branch(self, repo: RepoKey, branch: str) -> Attempt | None:
        """The newest attempt that works on the branch; a retry reuses its item's branch."""
        return self._first(in_repo(attempts, repo), attempts.c.branch == branch)

    def count_dispatches(self, repo: RepoKey, since: datetime) -> int:
        """Attempts that were dispatched since then."""
        return self.connection.execute(_DISPATCHES, {**given(repo), "since": since}).scalar_one()

    def insert_attempt(self, attempt: Attempt) -> None:
        inserted = insert_new(
            self.connection,
            attempts,
            {
                "id": attempt.id,
                "installation": attempt.key.installation,
                "repo": attempt.key.repo,
                "number": attempt.key.number,
                "fence": attempt.fence,
                "revision": attempt.revision,
                **attempt_values(attempt),
            },
        )
        if not inserted:
            raise DuplicateLiveAttempt(f"{attempt.key} has a live attempt, or fence {attempt.fence} was used before")

    def save_attempt(self, before: Attempt, after: Attempt) -> bool:
        if (before.id, before.key, before.fence) != (after.id, after.key, after.fence):
            raise ValueError(f"attempt {before.id} cannot be saved under another id, item or fence")
        place = {**given(before.key), "id": before.id, "fence": before.fence}
        values = attempt_values(after)
        if after.run_id is not None and before.run_id is None and after.run_hint is None:
            values["run_hint"] = self._hint_that_came_early(after, after.run_id)
        return update_changed(self.connection, attempts, place, before.revision, attempt_values(before), values)

    def rehome_attempt(self, id_: AttemptId, key: IssueKey) -> None:
        """Moves an attempt to the same item under another installation of the App."""
        self.connection.execute(
            update(attempts)
            .where(attempts.c.id == id_, attempts.c.repo == key.repo, attempts.c.number == key.number)
            .values(installation=key.installation, revision=attempts.c.revision + 1)
        )

    def _hint_that_came_early(self, attempt: Attempt, run_id: int) -> str | None:
        """A quick run's webhook can be routed before its id is stored; its touch is still there."""
        key = attempt.key
        touch = Touch(TouchKind.RUN, key.installation, key.repo, str(run_id), RUN_COMPLETED)
        first = first_since(self.connection, attempt.claimed_at - CLOCKS_APART)
        which = {"first": first, "touch": part_of(touch)}
        found = self.connection.execute(_COMPLETED, which).one_or_none()
        return None if found is None else RUN_COMPLETED


class LogVerbs(Verbs):
    """The verbs about the logs that sessions and pull workers hand in."""

    def put_log(self, attempt: AttemptId, text: str, at: datetime) -> None:
        """The first log of an attempt stays: whoever repeats a call repeats its log."""
        insert_new(self.connection, logs, {"attempt": attempt, "text": text, "at": at})

    def log(self, attempt: AttemptId) -> tuple[str, datetime] | None:
        row = self.connection.execute(select(logs).where(logs.c.attempt == attempt)).one_or_none()
        return None if row is None else (row.text, row.at)


class LockVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about locks. Whether paths overlap is the domain's question."""

    def locks(self, repo: RepoKey) -> list[LockRow]:
        return [
            LockRow(
                repo=repo,
                path=row.path,
                issue=row.number,
                attempt=AttemptId(row.attempt),
                since=row.since,
                mode=row.mode,
            )
            for row in self.connection.execute(_LOCKS, given(repo))
        ]

    def take_locks(self, rows: Sequence[LockRow]) -> None:
        """Takes all of them. A path that the item holds already goes to the new attempt and keeps its `since`."""
        for row in rows:
            statement = insert_for(self.connection.dialect, locks).values(
                installation=row.repo.installation,
                repo=row.repo.repo,
                path=row.path,
                number=row.issue,
                attempt=row.attempt,
                since=row.since,
                mode=row.mode,
            )
            self.connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["installation", "repo", "path", "number"],
                    set_={"attempt": statement.excluded.attempt, "mode": statement.excluded.mode},
                )
            )

    def free_locks(self, key: IssueKey) -> int:
        """How many locks of the item were freed."""
        return self.connection.execute(_FREE, given(key)).rowcount

    def free_lock(self, key: IssueKey, path: str) -> bool:
        """False when the item does not hold it."""
        return self.connection.execute(delete(locks).where(of_issue(locks, key), locks.c.path == path)).rowcount == 1
