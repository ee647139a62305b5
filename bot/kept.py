"""Facts kept in memory between two looks at an item, so that progress and checks cost no reads of unchanged things.

A fact is used only if nothing pointed at the item's issue or pull request since it was read (the ledger notes every
such webhook), and never longer than `KEPT`. Commands, claims and merges always read anew. What our own writes changed
is taken over from their answers. Losing all of it costs a few conditional reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from bot.domain.facts import IssueFacts, PullFacts
from bot.domain.model import IssueKey
from bot.resync import LIST_LAG

F = TypeVar("F", IssueFacts, PullFacts)

KEPT = timedelta(minutes=10)
"""A lost webhook may go unnoticed for as long as the sweep takes to come round."""

SIZE = 2_000
"""Items whose facts are kept."""

LISTED = 32_000_000
"""Characters of issues that are kept from a list until their items are looked at: an ordinary queue of ten thousand,
and not the longest texts that people can write in each."""


class Kept:
    """The memory of one process."""

    def __init__(self) -> None:
        # In the order of reading, so that the oldest stand in front.
        self._issues: dict[IssueKey, tuple[IssueFacts, datetime]] = {}
        self._pulls: dict[IssueKey, tuple[PullFacts, datetime]] = {}
        self._listed: dict[IssueKey, tuple[IssueFacts, datetime]] = {}

    def issue(self, key: IssueKey, touched: datetime | None, now: datetime) -> IssueFacts | None:
        """The issue as it was read, if that is still good."""
        listed = self._listed.pop(key, None)
        if listed is not None and (key not in self._issues or now - self._issues[key][1] >= KEPT):
            self._issues.pop(key, None)
            self._issues[key] = listed
            _forget(self._issues, now)
        known = self._issues.get(key)
        return known[0] if known is not None and _good(known[1], touched, now) else None

    def unknown(self, keys: Iterable[IssueKey], now: datetime) -> int:
        """How many of these would have to be read."""
        return sum(key not in self._issues or now - self._issues[key][1] >= KEPT for key in keys)

    def read_list(self, issues: Iterable[IssueFacts], at: datetime) -> None:
        """A list of issues, to save reading them one by one when all are looked at soon.

        Lists lag: such facts count as that much older, and what was changed just before is not taken from here.
        """
        self._listed = {}
        room, good = LISTED, at - LIST_LAG
        for issue in issues:
            room -= len(issue.title) + len(issue.body)
            if room >= 0 and issue.updated_at <= good:
                self._listed[issue.key] = (issue, good)

    def pull(self, key: IssueKey, number: int, touched: datetime | None, now: datetime) -> PullFacts | None:
        """The item's pull request as it was read or opened, if that is still good."""
        known = self._pulls.get(key)
        if known is None or known[0].number != number:
            return None
        return known[0] if _good(known[1], touched, now) else None

    def read_issue(self, key: IssueKey, issue: IssueFacts | None, at: datetime) -> None:
        self._issues.pop(key, None)
        self._listed.pop(key, None)
        if issue is not None:
            self._issues[key] = (issue, at)
        _forget(self._issues, at)

    def read_pull(self, key: IssueKey, pull: PullFacts | None, at: datetime) -> None:
        self._pulls.pop(key, None)
        if pull is not None:
            self._pulls[key] = (pull, at)
        _forget(self._pulls, at)

    def shown(self, key: IssueKey, add: Iterable[str], remove: Iterable[str], *, ready: bool = False) -> None:
        """Our own change succeeded: labels added and removed, the pull request made ready for review."""
        known = self._issues.get(key)
        if known is not None:
            issue, at = known
            self._issues[key] = (replace(issue, labels=(issue.labels | set(add)) - set(remove)), at)
        pulled = self._pulls.get(key)
        if ready and pulled is not None:
            self._pulls[key] = (replace(pulled[0], draft=False), pulled[1])


def _forget(known: dict[IssueKey, tuple[F, datetime]], now: datetime) -> None:
    """What is too old to be used, and the oldest of too many."""
    while known:
        oldest = next(iter(known))
        if len(known) <= SIZE and now - known[oldest][1] < KEPT:
            return
        del known[oldest]


def _good(at: datetime, touched: datetime | None, now: datetime) -> bool:
    return now - at < KEPT and (touched is None or touched < at)
