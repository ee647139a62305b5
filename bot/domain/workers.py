"""Pull workers: their tokens, what they can do, and how they are doing. Derived from facts, never stored as a state.

A worker token speaks for named repositories only, ends by itself, and may hold a limited number of claims; the ledger
keeps its SHA-256 sum. A worker that drains finishes what it has and gets nothing new.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from bot.domain.attempt import Attempt, AttemptPhase, WorkerKind
from bot.domain.model import InstallationId, ItemState, Person, RepoId, RepoKey

WORKER_PREFIX: Final = "tgw_"
"""How worker tokens begin, so that scanners and people recognise a leaked one."""

MISSED_HEARTBEATS = timedelta(minutes=3)
"""A worker that missed three heartbeats of a minute each counts as offline."""

DEFAULT_TOKEN_LIFE = timedelta(days=90)
"""A forgotten token ends within a quarter; a longer life has to be asked for."""

MAX_TOKEN_LIFE = timedelta(days=366)
"""No token lives longer: somebody looks at it once a year."""

DEFAULT_CLAIMS = 5
"""Claims that one token may hold at once; more than a machine usually works on."""


@dataclass(frozen=True, slots=True)
class WorkerToken:
    """The right to ask for work. The secret itself is known to its holder only."""

    id: str
    name: str
    installation: InstallationId
    repos: tuple[RepoId, ...]
    created_by: Person
    created_at: datetime
    expires_at: datetime
    max_claims: int = DEFAULT_CLAIMS
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def good(self, now: datetime) -> bool:
        """Whether it opens anything now."""
        return self.revoked_at is None and now < self.expires_at

    def opens(self, repo: RepoKey) -> bool:
        """Whether it speaks for this repository."""
        return repo.installation == self.installation and repo.repo in self.repos


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A registered worker. `local_path` is where it keeps its clones, for the people who run it."""

    id: str
    installation: InstallationId
    token_id: str
    name: str
    created_at: datetime
    last_heartbeat_at: datetime
    kind: WorkerKind = WorkerKind.PULL
    capabilities: tuple[str, ...] = ()
    slots: int = 1
    local_path: str | None = None
    last_error: str | None = None
    draining_since: datetime | None = None
    removed_at: datetime | None = None

    def heard(self, now: datetime) -> bool:
        """Whether it gave a sign of life lately."""
        return self.removed_at is None and now - self.last_heartbeat_at < MISSED_HEARTBEATS


class WorkerStatus(StrEnum):
    IDLE = "idle"
    BUSY = "busy"
    WAITING = "waiting"
    ERROR = "error"
    OFFLINE = "offline"


def status_of(worker: WorkerRecord, attempts: Iterable[tuple[Attempt, ItemState]], now: datetime) -> WorkerStatus:
    """What the worker is doing, from its live attempts and the states of their items."""
    if not worker.heard(now):
        return WorkerStatus.OFFLINE
    mine = [(attempt, state) for attempt, state in attempts if attempt.live and attempt.worker.id == worker.id]
    if any(state is ItemState.NEEDS_INPUT for _, state in mine):
        return WorkerStatus.WAITING
    if any(attempt.phase is AttemptPhase.SUSPECT for attempt, _ in mine):
        return WorkerStatus.ERROR
    if mine:
        return WorkerStatus.BUSY
    return WorkerStatus.ERROR if worker.last_error is not None else WorkerStatus.IDLE


def able(capabilities: Iterable[str], needs: Sequence[str]) -> bool:
    """Whether these capabilities cover what the item needs; letter case does not matter."""
    return {need.lower() for need in needs} <= {capability.lower() for capability in capabilities}


@dataclass(frozen=True, slots=True)
class Taker:
    """Who asks for an item: the dispatcher of Actions runs, a pull worker, or a person's session."""

    kind: WorkerKind
    capabilities: tuple[str, ...] = ()


DISPATCHER = Taker(WorkerKind.ACTIONS)
