"""At most once: write the act down, act, write down what came of it; after a crash look before repeating.

`Once.perform` is the only way by which acts that must not be repeated reach GitHub (dispatch, pull request, merge,
new issue, new comment). Races it knows: a crash or a lost answer between the act and the second write (then `find`
looks for the act's marker on GitHub), and two passes at once (the second sees the first one's row).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from bot.domain.facts import IssueFacts
from bot.domain.model import IssueKey, RepoKey
from bot.errors import GitHubError
from bot.protocols.clock import Clock
from bot.protocols.github import GitHub
from bot.protocols.ledger import Ledger, OutboxRow, Store
from bot.texts import markers

R = TypeVar("R")

LOOK_FOR = timedelta(minutes=2)
"""GitHub's lists may lag behind a write; for this long an act that is not found may still turn up."""


CLOCKS_DIFFER = timedelta(minutes=1)
"""GitHub's clock and ours may differ by this much."""


class Result(StrEnum):
    """What `perform` knows."""

    ACTED = "acted"
    FOUND = "found"
    KNOWN = "known"
    UNSURE = "unsure"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Performed(Generic[R]):
    """`value` is None unless the act was carried out or found in this call."""

    result: Result
    value: R | None = None


def own_issue(github: GitHub, repo: RepoKey, marker: str) -> Callable[[OutboxRow], Awaitable[IssueFacts | None]]:
    """Looks for an issue that we opened since the act was planned and that carries this marker."""

    async def find(row: OutboxRow) -> IssueFacts | None:
        for issue in await github.issues_by_bot(repo, row.planned_at - CLOCKS_DIFFER):
            if markers.carries(issue.body, marker):
                return issue
        return None

    return find


class Once:
    """The write-ahead discipline over the store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def perform(
        self,
        key: str,
        kind: str,
        *,
        repo: RepoKey,
        issue: IssueKey | None,
        fence: int | None,
        may: Callable[[Ledger], bool],
        act: Callable[[], Awaitable[R]],
        find: Callable[[OutboxRow], Awaitable[R | None]],
        record: Callable[[Ledger, R], str],
    ) -> Performed[R]:
        """Carry out an act at most once.

        `may` runs in the transaction that writes the row ahead and again before a repetition: False means the
        attempt is no longer current and nothing is done. `record` runs in the transaction that marks the row done.
        Raises what `act` raises; then the row is gone if the act certainly did not happen, and stays otherwise.
        """
        now = self._clock.now()
        row = OutboxRow(key, kind, issue, repo, fence, now, None, None, 0)

        def plan(tx: Ledger) -> OutboxRow | Result | None:
            known = tx.outbox(key)
            if known is not None and known.done_at is not None:
                return Result.KNOWN
            if not may(tx):
                return Result.STALE
            if known is None:
                tx.plan(row)
                return None
            if known.tries < 0:
                tx.outbox_retry(key)
                return None
            return known

        planned = await self._store.write(plan)
        if isinstance(planned, Result):
            return Performed(planned)
        if planned is not None:
            found = await find(planned)
            if found is not None:
                await self._done(key, found, record)
                return Performed(Result.FOUND, found)
            if now - planned.planned_at < LOOK_FOR:
                return Performed(Result.UNSURE)
            await self._store.write(lambda tx: tx.outbox_retry(key))
        try:
            value = await act()
        except GitHubError as error:
            if not error.uncertain:
                await self._store.write(lambda tx: tx.outbox_drop(key))
            raise
        await self._done(key, value, record)
        return Performed(Result.ACTED, value)

    async def _done(self, key: str, value: R, record: Callable[[Ledger, R], str]) -> None:
        def write(tx: Ledger) -> None:
            tx.outbox_done(key, record(tx, value), self._clock.now())

        await self._store.write(write)
