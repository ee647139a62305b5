"""The queues of repositories in memory, so that a pass over a long one reads only what has changed.

An item is remembered by its revision, without the texts that were approved: they are compared at the start of the item,
which reads it anew. Nothing depends on what is remembered; a pass that finds nothing reads everything.

Race: two reader threads may read one repository at once. Each makes a list of its own; one of them is kept.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from operator import itemgetter

from bot.domain.model import Item, RepoKey
from bot.domain.schedule import Told, order
from bot.protocols.ledger import Ledger

MOST = 20_000
"""Items remembered at most, about a kilobyte each; beyond it the repositories looked at longest ago are forgotten."""

_Entry = tuple[tuple[object, ...], Item]


class Queues:
    """The memory of one process."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: OrderedDict[RepoKey, list[_Entry]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def read(self, tx: Ledger, repo: RepoKey) -> tuple[list[Item], dict[int, Told]]:
        """The queued items in the order of the queue, and what each was told of its wait."""
        rows = tx.queue_rows(repo)
        told = {row.number: row.told for row in rows}
        current = {row.number: row.revision for row in rows}
        with self._lock:
            entries = self._known.get(repo, [])
        kept = [entry for entry in entries if current.get(entry[1].key.number) == entry[1].revision]
        if len(kept) < len(rows):
            missing = current.keys() - {item.key.number for _, item in kept}
            kept += [(order(item), _without_texts(item)) for item in tx.items_numbered(repo, missing)]
            kept.sort(key=itemgetter(0))
        self._keep(repo, kept)
        return [item for _, item in kept], told

    def _keep(self, repo: RepoKey, entries: list[_Entry]) -> None:
        with self._lock:
            self._size -= len(self._known.pop(repo, ()))
            self._known[repo] = entries
            self._size += len(entries)
            while self._size > self._most and len(self._known) > 1:
                _, forgotten = self._known.popitem(last=False)
                self._size -= len(forgotten)
            if self._size > self._most:
                # One queue that is longer than what may be remembered at all.
                self._known.clear()
                self._size = 0


def _without_texts(item: Item) -> Item:
    if item.snapshot is None:
        return item
    return replace(item, notes=None, snapshot=replace(item.snapshot, title="", body=""))
