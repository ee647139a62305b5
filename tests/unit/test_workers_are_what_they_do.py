"""What a worker is doing is derived from facts: signs of life, live attempts, open questions, its own word."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bot.domain.attempt import Attempt, AttemptPhase, Worker, WorkerKind
from bot.domain.model import AttemptId, InstallationId, IssueKey, ItemState, RepoId
from bot.domain.workers import MISSED_HEARTBEATS, WorkerRecord, WorkerStatus, status_of

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
WORKER = WorkerRecord("w1", InstallationId(1), "wt1", "box", NOW - timedelta(hours=2), NOW - timedelta(seconds=30))


def attempt(phase: AttemptPhase = AttemptPhase.RUNNING, of: str = "w1") -> Attempt:
    key = IssueKey(InstallationId(1), RepoId(2), 3)
    return Attempt(AttemptId("a1"), key, 1, 1, phase, Worker(WorkerKind.PULL, "box", of, "wt1"), "tgs/3", NOW)


W = WorkerStatus
TABLE = {
    "it has nothing to do": (WORKER, [], W.IDLE),
    "it works": (WORKER, [(attempt(), ItemState.IN_PROGRESS)], W.BUSY),
    "its claim is not visible yet": (WORKER, [(attempt(AttemptPhase.CLAIMED), ItemState.IN_PROGRESS)], W.BUSY),
    "its attempt is over": (WORKER, [(attempt(AttemptPhase.ENDED), ItemState.IN_PROGRESS)], W.IDLE),
    "another one works": (WORKER, [(attempt(of="w2"), ItemState.IN_PROGRESS)], W.IDLE),
    "its question is open": (WORKER, [(attempt(), ItemState.NEEDS_INPUT)], W.WAITING),
    "one of two waits": (WORKER, [(attempt(), ItemState.IN_PROGRESS), (attempt(), ItemState.NEEDS_INPUT)], W.WAITING),
    "its attempt is silent": (WORKER, [(attempt(AttemptPhase.SUSPECT), ItemState.IN_PROGRESS)], W.ERROR),
    "it says that it cannot work": (replace(WORKER, last_error="disk full"), [], W.ERROR),
    "it complains and works": (
        replace(WORKER, last_error="disk nearly full"),
        [(attempt(), ItemState.IN_PROGRESS)],
        W.BUSY,
    ),
    "it missed two signs of life": (
        replace(WORKER, last_heartbeat_at=NOW - MISSED_HEARTBEATS + timedelta(seconds=1)),
        [],
        W.IDLE,
    ),
    "it missed three": (replace(WORKER, last_heartbeat_at=NOW - MISSED_HEARTBEATS), [], W.OFFLINE),
    "it missed three while it works": (
        replace(WORKER, last_heartbeat_at=NOW - MISSED_HEARTBEATS),
        [(attempt(), ItemState.IN_PROGRESS)],
        W.OFFLINE,
    ),
    "it was removed": (replace(WORKER, removed_at=NOW), [], W.OFFLINE),
}


@pytest.mark.parametrize(("worker", "attempts", "status"), TABLE.values(), ids=TABLE.keys())
def test_status(worker: WorkerRecord, attempts: list[tuple[Attempt, ItemState]], status: WorkerStatus) -> None:
    assert status_of(worker, attempts, NOW) is status
