"""Two versions of the backlog file become one: by folder, and for each the newest valid transition wins.

Promise: the result does not depend on which side is called ours; a version merged with itself, or with the one it grew
from, stays as it is; nothing that only one side changed is lost, keys that we do not know included. Used when people
merge branches that both changed the file; the backlog itself never needs it, because its writes follow each other.

Race it knows: two offline clones may both have claimed one thought. The newer claim stays, the other one's token is
not in the file any more, so its owner is told `LostClaim`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TypeVar

from pydantic import BaseModel

from bot.client.backlog import Status
from bot.client.backlog_file import EMPTY, File, Row, data_of, from_data

NEXT: Final[Mapping[Status, frozenset[Status]]] = {
    Status.PROPOSED: frozenset({Status.QUEUED, Status.COMPLETED, Status.CANCELLED}),
    Status.QUEUED: frozenset({Status.IN_PROGRESS, Status.COMPLETED, Status.CANCELLED}),
    Status.IN_PROGRESS: frozenset({Status.QUEUED, Status.COMPLETED, Status.FAILED, Status.CANCELLED}),
    Status.FAILED: frozenset({Status.QUEUED, Status.COMPLETED, Status.CANCELLED}),
    Status.COMPLETED: frozenset(),
    Status.CANCELLED: frozenset({Status.QUEUED}),
}
"""The transitions of the file. Completed is the end: what is built is not queued again under the same folder."""

_RANK: Final = (
    Status.PROPOSED,
    Status.QUEUED,
    Status.IN_PROGRESS,
    Status.CANCELLED,
    Status.FAILED,
    Status.COMPLETED,
)
"""Which of two changes of the same second wins: the one that is further."""
_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_TOGETHER: Final = ("status", "started_at", "completed_at", "claimed_by", "claimed_at")
"""What belongs to a transition comes from one side as a whole."""
_OURS_TOGETHER: Final = frozenset(
    {"attempt", "token_sha256", "base_sha", "branch", "changed_at", "not_before", "evidence", "burnt", "infra"}
    | {"failures", "fence"}
)
_Record = TypeVar("_Record", bound=BaseModel)


def reachable(start: Status | None, end: Status | None) -> bool:
    """Whether transitions lead from one status to the other. An unknown word is reached from nowhere but itself."""
    if start is end:
        return True
    if start is None or end is None:
        return start is None and end is not None
    seen = {start}
    todo = [start]
    while todo:
        for following in NEXT[todo.pop()] - seen:
            seen.add(following)
            todo.append(following)
    return end in seen


def merge(base: File | None, ours: File, theirs: File) -> File:
    """One file of two. `base` is the version both grew from; None when it is not known.

    A thought that one side removed stays away, unless the other side changed it meanwhile.
    """
    base = base or EMPTY
    old, mine, yours = ({row.dir: row for row in file.thoughts} for file in (base, ours, theirs))
    rows: list[Row] = []
    for folder in dict.fromkeys([*old, *sorted({*mine, *yours} - {*old})]):
        row = _row(old.get(folder), mine.get(folder), yours.get(folder))
        if row is not None:
            rows.append(row)
    added = [row for row in rows if row.dir not in old]
    kept = [row for row in rows if row.dir in old]
    added.sort(key=lambda row: (row.added_at or _NEVER, row.dir))
    top = _fields(base, ours, theirs, winner=_later(ours, theirs), skip={"thoughts", "tgs"})
    fences = {
        folder: max(ours.tgs.fences.get(folder, 0), theirs.tgs.fences.get(folder, 0))
        for folder in sorted({*ours.tgs.fences, *theirs.tgs.fences})
    }
    tgs = _fields(base.tgs, ours.tgs, theirs.tgs, winner=_later(ours.tgs, theirs.tgs))
    return top.model_copy(update={"thoughts": (*kept, *added), "tgs": tgs.model_copy(update={"fences": fences})})


def merge_data(
    base: Mapping[str, object] | None, ours: Mapping[str, object], theirs: Mapping[str, object]
) -> dict[str, object]:
    """`merge` of files given as plain values. Raises BrokenFile when one of them cannot be read."""
    return data_of(merge(from_data(base) if base is not None else None, from_data(ours), from_data(theirs)))


def newest(base: Row | None, a: Row, b: Row) -> Row:
    """Which of two rows of one folder holds the newest valid transition."""
    start = base.known if base is not None else None
    valid = [row for row in (a, b) if row.known is not None and (base is None or reachable(start, row.known))]
    if len(valid) == 1:
        return valid[0]
    return max(a, b, key=_age)


def last_change(row: Row) -> datetime:
    """When the status last changed, as far as the row tells."""
    times = (row.tgs.changed_at, row.completed_at, row.claimed_at, row.started_at, row.added_at)
    return max((time for time in times if time is not None), default=_NEVER)


def _age(row: Row) -> tuple[datetime, int, int, str]:
    rank = _RANK.index(row.known) if row.known is not None else -1
    return last_change(row), rank, row.tgs.fence, _canonical(row)


def _row(base: Row | None, a: Row | None, b: Row | None) -> Row | None:
    if a is None or b is None:
        left = a or b
        return None if left == base else left
    if a == b or b == base:
        return a
    if a == base:
        return b
    winner = newest(base, a, b)
    row = _fields(base, a, b, winner=winner, skip={"tgs", *_TOGETHER})
    tgs = _fields(base.tgs if base else None, a.tgs, b.tgs, winner=winner.tgs, skip=_OURS_TOGETHER)
    # A fence is used once, whichever claim stays.
    fence = max(a.tgs.fence, b.tgs.fence)
    return row.model_copy(update={"tgs": tgs.model_copy(update={"fence": fence})})


def _fields(
    base: _Record | None, a: _Record, b: _Record, *, winner: _Record, skip: set[str] | frozenset[str] = frozenset()
) -> _Record:
    """The winner with every field and unknown key of which only the other side changed the value."""
    absent = object()

    def value(record: _Record | None, name: str) -> object:
        if record is None:
            return absent
        known = type(record).model_fields
        return getattr(record, name) if name in known else (record.model_extra or {}).get(name, absent)

    names = {*type(a).model_fields, *(a.model_extra or {}), *(b.model_extra or {})} - set(skip)
    chosen: dict[str, object] = {}
    gone: set[str] = set()
    for name in sorted(names):
        was, mine, yours = value(base, name), value(a, name), value(b, name)
        if mine is yours or mine == yours or yours == was:
            result = mine
        elif mine == was:
            result = yours
        else:
            result = value(winner, name)
            if result is absent:
                result = yours if mine is absent else mine
        if result is absent:
            gone.add(name)
        else:
            chosen[name] = result
    data = {name: getattr(winner, name) for name in type(a).model_fields} | (winner.model_extra or {}) | chosen
    return type(a).model_construct(None, **{name: item for name, item in data.items() if name not in gone})


def _later(a: _Record, b: _Record) -> _Record:
    """Some fixed choice between two versions, for what has no time of its own."""
    return max(a, b, key=_canonical)


def _canonical(record: BaseModel) -> str:
    return json.dumps(record.model_dump(mode="json"), sort_keys=True)
