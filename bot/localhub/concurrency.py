"""Concurrency groups of workflow runs and jobs.

Promise: one holder a group; by default one waits and a newer one takes its place (the older is
cancelled); with `queue: max` up to 100 wait in order; `cancel-in-progress` cancels the holder and
the newcomer starts when it has really ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

QUEUE_MAX: Final = 100  # GitHub's limit of waiting runs under `queue: max`

T = TypeVar("T")


@dataclass
class _Group(Generic[T]):
    holder: T | None = None
    waiting: list[T] = field(default_factory=list)


class Groups(Generic[T]):
    """The groups of one kind of thing, by (repository id, lower-cased group name)."""

    def __init__(self, start: Callable[[T], None], cancel: Callable[[T], None]) -> None:
        self._start = start
        self._cancel = cancel
        self._groups: dict[tuple[int, str], _Group[T]] = {}

    def enter(self, repo_id: int, name: str, item: T, *, cancel_holder: bool, queue_max: bool) -> bool:
        """Join a group; True when the item holds it now, False when it has to wait."""
        group = self._groups.setdefault((repo_id, name.lower()), _Group())
        if group.holder is None:
            group.holder = item
            return True
        room = QUEUE_MAX if queue_max else 1
        while len(group.waiting) >= room:
            self._cancel(group.waiting.pop(0))
        group.waiting.append(item)
        if cancel_holder:
            self._cancel(group.holder)
        return False

    def leave(self, repo_id: int, name: str, item: T) -> None:
        """Leave a group, as its holder or from the queue; the next one starts."""
        key = (repo_id, name.lower())
        group = self._groups.get(key)
        if group is None:
            return
        if item in group.waiting:
            group.waiting.remove(item)
        if group.holder != item:
            return
        group.holder = group.waiting.pop(0) if group.waiting else None
        if group.holder is None:
            del self._groups[key]
        else:
            self._start(group.holder)

    def members(self, repo_id: int, name: str) -> list[T]:
        """Holder first, then who waits."""
        group = self._groups.get((repo_id, name.lower()))
        return [] if group is None or group.holder is None else [group.holder, *group.waiting]
