"""The queues of repositories in memory, so that a pass over a long one reads only what has changed.

An item is remembered by its revision, without the texts that were approved: they are compared at the start of the item,
which reads it anew. Nothing depends on what is remembered; a pass that finds nothing reads everything.

Race: two reader threads may read one repository at once. Each makes a list of its own; one of them is kept.
"""

from __future__ import annotations

import threading
from bisect import insort
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from bot.domain.line import Queued, Told, queued
from bot.domain.model import Item, RepoKey
from bot.protocols.ledger import Ledger

MOST = 20_000
"""Items remembered at most, about a kilobyte each; beyond it the repositories looked at longest ago are forgotten."""

_ORDER = attrgetter("order")

FEW = 100
"""So many new items are put where they belong one by one; more are sorted in with all others."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A queue as it was read last, in its order; never changed."""

    revisions: dict[int, int]
    line: list[Queued]


_NOTHING = _Known({}, [])


class Queues:
    """The memory of one process."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: OrderedDict[RepoKey, _Known] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def read(self, tx: Ledger, repo: RepoKey) -> tuple[Sequence[Queued], dict[int, Told]]:
        """The queued items in the order of the queue, and what each was told of its wait."""
        current, told = tx.queue_rows(repo)
        with self._lock:
            known = self._known.get(repo, _NOTHING)
        before = known.revisions
        read = {number for number, revision in current.items() if before.get(number) != revision}
        gone = before.keys() - current.keys()
        line = known.line
        if read or gone:
            line = [one for one in line if one.number not in read and one.number not in gone]
            _join(line, [queued(_without_texts(item)) for item in tx.items_numbered(repo, read)])
        self._keep(repo, _Known(current, line))
        return line, told

    def _keep(self, repo: RepoKey, known: _Known) -> None:
        with self._lock:
            self._size -= len(self._known.pop(repo, _NOTHING).line)
            self._known[repo] = known
            self._size += len(known.line)
            while self._size > self._most and len(self._known) > 1:
                _, forgotten = self._known.popitem(last=False)
                self._size -= len(forgotten.line)
            if self._size > self._most:
                # One queue that is longer than what may be remembered at all.
                self._known.clear()
                self._size = 0


def _join(line: list[Queued], new: list[Queued]) -> None:
    """Puts the new ones where they belong."""
    if len(new) <= FEW:
        for one in new:
            insort(line, one, key=_ORDER)
    else:
        line += new
        line.sort(key=_ORDER)


def _without_texts(item: Item) -> Item:
    if item.snapshot is None:
        return item
    return replace(item, notes=None, snapshot=replace(item.snapshot, title="", body=""))
