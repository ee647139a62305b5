"""What GitHub shows of one issue after its ledger was lost, and the reasons for what is made of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from bot.domain.claim_record import ClaimRef
from bot.domain.facts import IssueFacts, LabelEvent, PullFacts, RunFacts
from bot.domain.memory import ItemMemory
from bot.domain.model import (
    AttemptId,
    Problem,
    ThoughtRef,
    WorkSpec,
)
from bot.domain.question_memory import RoundMemory


class Because(StrEnum):
    """Why a record came back as it did."""

    LABEL = "label"
    MEMORY = "status comment"
    EVENTS = "label events"
    RUN_ALIVE = "its run is alive"
    RUN_ENDED = "its run has ended"
    PUBLISHED = "its branch was published"
    DISPATCH_OPEN = "its run may have been started"
    NO_RUN = "no run was found"
    SILENT = "its worker is not known to be alive"
    QUESTION = "its question"
    QUESTION_LOST = "its question was lost"
    RESULT_LOST = "its result that waited for a look was lost and is made again"
    NO_PULL = "its pull request was not found"
    NOTHING = "its plan's issue was closed without a label"
    NOT_APPROVED = "who approved it is not known"


@dataclass(frozen=True, slots=True)
class SeenRun:
    """A run of our workflow for the issue, with the claim in its name."""

    run: RunFacts
    claim: AttemptId


@dataclass(frozen=True, slots=True)
class StatusComment:
    """Our status comment: written and last edited by us."""

    id: int
    node_id: str
    digest: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class Sighting:
    """What GitHub shows of one issue. `pulls` are ours from the item's branch, newest first, `runs` newest first.

    `branch_head` is where the item's branch is now, if it has commits beyond the default branch. `rounds` are the
    questions in our comments, each with the comment's id and when it was written.
    """

    issue: IssueFacts
    memory: ItemMemory | None = None
    status: StatusComment | None = None
    thought: ThoughtRef | None = None
    spec: WorkSpec = field(default_factory=WorkSpec)
    findings: tuple[Problem, ...] = ()
    events: tuple[LabelEvent, ...] = ()
    pulls: tuple[PullFacts, ...] = ()
    runs: tuple[SeenRun, ...] = ()
    claims: tuple[ClaimRef, ...] = ()
    branch_head: str | None = None
    mirror_ready: bool = False
    rounds: tuple[tuple[RoundMemory, int, datetime], ...] = ()
