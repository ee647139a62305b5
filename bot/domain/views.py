"""Our items in the words of older tools: the one place where their states are translated.

Promise: every state has a word in each vocabulary, so nothing disappears from a list that is read through a view; ids
made here are the same every time. Views only show: nobody decides by these words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, TypedDict

from bot.domain.attempt import Attempt, AttemptPhase, Outcome
from bot.domain.labels import PRIORITIES
from bot.domain.model import IssueKey, Item, ItemState
from bot.domain.timestamps import iso

TGS_STATUS: Final = MappingProxyType(
    {
        ItemState.PROPOSED: "proposed",
        ItemState.READY: "queued",
        ItemState.IN_PROGRESS: "in_progress",
        ItemState.NEEDS_INPUT: "in_progress",
        ItemState.IN_REVIEW: "in_progress",
        ItemState.DONE: "completed",
        ItemState.FAILED: "failed",
        ItemState.CANCELLED: "cancelled",
    }
)
"""The words of the backlog file, and two for what is not in it: not added yet, and taken out."""

TASK_STATUS: Final = MappingProxyType(
    {
        ItemState.PROPOSED: "queued",
        ItemState.READY: "queued",
        ItemState.IN_PROGRESS: "in_progress",
        ItemState.NEEDS_INPUT: "in_progress",
        ItemState.IN_REVIEW: "in_progress",
        ItemState.DONE: "completed",
        ItemState.FAILED: "failed",
        ItemState.CANCELLED: "failed",
    }
)
"""The words of a task queue, which knows four."""

PROTOCOL_STATUS: Final = MappingProxyType(
    {
        ItemState.PROPOSED: "pending",
        ItemState.READY: "planned",
        ItemState.IN_PROGRESS: "running",
        ItemState.NEEDS_INPUT: "blocked",
        ItemState.IN_REVIEW: "running",
        ItemState.DONE: "completed",
        ItemState.FAILED: "failed",
        ItemState.CANCELLED: "cancelled",
    }
)
"""The words of protocol runs. A planned one that is on hold, or in a paused repository, is `paused`."""

_STEP_NAMES: Final = MappingProxyType(
    {"claimed": "claim", **{f"attempt.{phase.value}": phase.value for phase in AttemptPhase}}
)
"""Kinds of history lines that are steps of an attempt, and how the step is called."""

_TASKS: Final = bytes.fromhex("6ba7b8119dad11d180b400c04fd430c8")
"""The name space of RFC 4122 for addresses, in which ids of tasks are made."""


class Task(TypedDict):
    """An item as a task. Times are ISO 8601 in UTC, or null."""

    id: str
    title: str
    description: str
    task_type: str
    status: str
    priority: str
    repository_url: str
    branch_name: str | None
    created_at: str
    updated_at: str
    completed_at: str | None


class ProtocolRun(TypedDict):
    """An item as a protocol run."""

    id: str
    project_id: int
    number: int
    name: str
    status: str
    branch: str | None
    created_at: str
    updated_at: str


class StepRun(TypedDict):
    """One phase of an attempt, as a step of its protocol run. `detail` is the worker's last word about it."""

    id: str
    protocol_id: str
    attempt: str
    name: str
    status: str
    started_at: str
    ended_at: str | None
    detail: str | None


def task_id(key: IssueKey) -> str:
    """The task's UUID: version 5, of repository and issue, so that it outlives an installation."""
    name = f"tgs/{key.repo}/{key.number}".encode()
    raw = bytearray(hashlib.sha1(_TASKS + name, usedforsecurity=False).digest()[:16])
    raw[6] = raw[6] & 0x0F | 0x50
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def priority_word(priority: int) -> str:
    """The nearest of the three words."""
    if priority > 0:
        return "high"
    return "low" if priority < 0 else "normal"


def priority_of(word: str) -> int:
    """The number of one of the three words. Raises KeyError for another."""
    return PRIORITIES[word]


def task(item: Item, attempts: Sequence[Attempt], repository_url: str) -> Task:
    """The item as a task."""
    return Task(
        id=task_id(item.key),
        title=item.title,
        description=item.snapshot.body if item.snapshot is not None else "",
        task_type=item.spec.type,
        status=TASK_STATUS[item.state],
        priority=priority_word(item.priority),
        repository_url=repository_url,
        branch_name=_branch(item, attempts),
        created_at=iso(item.created_at or item.since),
        updated_at=iso(_changed(item, attempts)),
        completed_at=iso(item.since) if item.state is ItemState.DONE else None,
    )


def protocol_id(key: IssueKey) -> str:
    """The id of an item among all repositories."""
    return f"{key.repo}-{key.number}"


def parse_protocol_id(text: str) -> tuple[int, int] | None:
    """(repository, issue) of a protocol's id; None for anything else."""
    repo, dash, number = text.partition("-")
    ok = dash and all(part.isascii() and part.isdecimal() and len(part) < 16 for part in (repo, number))
    return (int(repo), int(number)) if ok else None


def protocol(item: Item, attempts: Sequence[Attempt], *, repo_paused: bool) -> ProtocolRun:
    """The item as a protocol run."""
    paused = item.state is ItemState.READY and (repo_paused or item.held_by is not None or item.human_owned)
    return ProtocolRun(
        id=protocol_id(item.key),
        project_id=item.key.repo,
        number=item.key.number,
        name=item.title,
        status="paused" if paused else PROTOCOL_STATUS[item.state],
        branch=_branch(item, attempts),
        created_at=iso(item.created_at or item.since),
        updated_at=iso(_changed(item, attempts)),
    )


def steps(attempt: Attempt, item: Item | None, lines: Sequence[tuple[datetime, str]]) -> list[StepRun]:
    """The phases of an attempt, from (time, kind) of its lines of history, oldest first.

    The end is no step of its own: it ends the last one.
    """
    begun = [(at, _STEP_NAMES[kind]) for at, kind in lines if kind in _STEP_NAMES]
    found: list[StepRun] = []
    for place, (at, name) in enumerate(begun):
        if name == AttemptPhase.ENDED.value:
            continue
        last = place + 1 >= len(begun) or begun[place + 1][1] == AttemptPhase.ENDED.value
        ended = begun[place + 1][0] if place + 1 < len(begun) else attempt.ended_at
        progress = attempt.progress.text if last and attempt.progress is not None else None
        failure = attempt.failure.detail if last and attempt.failure is not None else None
        found.append(
            StepRun(
                id=f"{attempt.id}-{place + 1}",
                protocol_id=protocol_id(attempt.key),
                attempt=attempt.id,
                name=name,
                status=_step_status(attempt, item) if last else "completed",
                started_at=iso(at),
                ended_at=iso(ended),
                detail=failure or progress,
            )
        )
    return found


def _step_status(attempt: Attempt, item: Item | None) -> str:
    """How the last step of an attempt stands."""
    if attempt.live:
        started = attempt.phase not in {AttemptPhase.CLAIMED, AttemptPhase.DISPATCHING}
        return "running" if started else "pending"
    if attempt.outcome is Outcome.PUBLISHED:
        return "needs_qa" if item is not None and item.state is ItemState.IN_REVIEW else "completed"
    return "cancelled" if attempt.outcome is Outcome.CANCELLED else "failed"


def _branch(item: Item, attempts: Sequence[Attempt]) -> str | None:
    if item.pull is not None:
        return item.pull.branch
    return attempts[-1].branch if attempts else None


def _changed(item: Item, attempts: Sequence[Attempt]) -> datetime:
    times = [item.since]
    for attempt in attempts:
        times += [at for at in (attempt.claimed_at, attempt.started_at, attempt.ended_at) if at is not None]
    return max(times)
