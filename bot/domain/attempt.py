"""The attempt: one claim of one item by one worker, and what the worker said.

A record of the ledger like the item: immutable, and written only on the revision it was decided on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from bot.domain.doubts import Doubt
from bot.domain.model import AttemptId, Failure, FailureReason, IssueKey, Person
from bot.domain.opinion import OpinionNote
from bot.domain.questions import AskedQuestion
from bot.domain.usage import Usage


class AttemptPhase(StrEnum):
    """Where an attempt stands; live means all but `ENDED`."""

    CLAIMED = "claimed"
    DISPATCHING = "dispatching"
    RUNNING = "running"
    SUSPECT = "suspect"
    CANCELLING = "cancelling"
    ENDED = "ended"


class AttemptKind(StrEnum):
    IMPLEMENT = "implement"
    FIX_CI = "fix_ci"
    ADDRESS_REVIEW = "address_review"
    REBASE = "rebase"


class WorkerKind(StrEnum):
    ACTIONS = "actions"
    PULL = "pull"
    INTERACTIVE = "interactive"
    EXTERNAL = "external"


class Outcome(StrEnum):
    """How an attempt ended. Published: with a result that counts, a branch or a person's word that none is needed.

    Asked: with something for people to say, questions or a result to look at; another attempt goes on when they have.
    """

    PUBLISHED = "published"
    ASKED = "asked"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    NOT_STARTED = "not_started"


class Proof(StrEnum):
    """Why releasing a silent attempt is safe. Silence alone never is."""

    RUN_ENDED = "run_ended"
    CANCEL_CONFIRMED = "cancel_confirmed"
    NEVER_STARTED = "never_started"
    WORKER_REPORTED = "worker_reported"
    HARMLESS = "harmless"


class ClaimMark(StrEnum):
    """How far the claim ref of an attempt is. `WANTED` is written before it is made: a crash cannot forget it.

    `CONTESTED`: it is made, and somebody else's claim of another item wants one of the same paths.
    """

    WANTED = "wanted"
    HELD = "held"
    CONTESTED = "contested"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Worker:
    """Who does the work. `id` is that of a registered worker, `token_id` that of the worker token it came with.

    A person's session has the number of the account as its `id`, and a name that begins with the login: `maria`, or
    `maria/laptop` when the session said how it is called.
    """

    kind: WorkerKind
    name: str
    id: str | None = None
    token_id: str | None = None

    @property
    def person(self) -> Person | None:
        """Whose session it is; None for everything that no person answers for."""
        if self.kind is not WorkerKind.INTERACTIVE or self.id is None:
            return None
        return Person(int(self.id), self.name.partition("/")[0])


def session_of(person: Person, name: str) -> Worker:
    """A person's session as a worker. `name` is how the session is called."""
    shown = person.login if name in {"", person.login} else f"{person.login}/{name}"
    return Worker(WorkerKind.INTERACTIVE, shown, str(person.id))


@dataclass(frozen=True, slots=True)
class Progress:
    """The worker's last word about how far it is."""

    step: int
    total: int
    text: str
    at: datetime


MAX_SHOWN_DIFF: Final = 40_000
"""Characters of a result's difference that are kept for people: several screens, and a comment holds no more."""


@dataclass(frozen=True, slots=True)
class ShownResult:
    """A result as people see it before it is pushed. `diff` is cut and redacted; `workflows` say why they look."""

    diff: str
    files: int
    insertions: int
    deletions: int
    workflows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What the worker said at its end: a hint that is checked against GitHub, never the truth itself.

    `retryable` overrides what the reason of a failure means. `no_code` is the word of the person `by`, who may merge,
    that the item is done without a change; only a call that has checked the person sets it. With `asked` it ends with
    questions; `session_id` is the agent's own name of the conversation. `usage` counts this attempt alone.
    `retry_at` is when a spent quota is filled again. `prompt` is the SHA-256 of the prompt that the agent began with.
    `doubts` are what a reviewer must see of the result, by the gate and by the second opinion, of which `opinion` says
    how it ended (None: it was not wanted). `shown` is set when the result was good
    and waits for somebody to look at it.
    """

    succeeded: bool
    at: datetime
    reason: FailureReason | None = None
    detail: str = ""
    summary: str = ""
    bundle_digest: str | None = None
    head_sha: str | None = None
    isolation: str | None = None
    retryable: bool | None = None
    no_code: str | None = None
    by: str | None = None
    asked: tuple[AskedQuestion, ...] = ()
    session_id: str | None = None
    usage: Usage | None = None
    retry_at: datetime | None = None
    prompt: str | None = None
    doubts: tuple[Doubt, ...] = ()
    opinion: OpinionNote | None = None
    shown: ShownResult | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One claim of one item. `id` doubles as the correlation id in the run's name.

    `resumes` is the earlier attempt whose conversation with the agent this one goes on with, `asking` what its agent
    asks while it runs and waits. `recovered_at`: it was found again after the ledger was lost, and its worker has not
    proved itself since. `start_job`: the job of the run that activated it, by its OIDC token.
    """

    id: AttemptId
    key: IssueKey
    number: int
    fence: int
    phase: AttemptPhase
    worker: Worker
    branch: str
    claimed_at: datetime
    revision: int = 0
    kind: AttemptKind = AttemptKind.IMPLEMENT
    base_sha: str | None = None
    policy_hash: str = ""
    ready_removed: bool = False
    shown: bool = False
    dispatched_at: datetime | None = None
    run_id: int | None = None
    run_hint: str | None = None
    started_at: datetime | None = None
    lease_until: datetime | None = None
    progress: Progress | None = None
    cancel_requested_at: datetime | None = None
    cancel_reason: FailureReason | None = None
    cancel_by: str | None = None
    forced_at: datetime | None = None
    gate_report: WorkerReport | None = None
    report: WorkerReport | None = None
    write_token_until: datetime | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None
    proof: Proof | None = None
    failure: Failure | None = None
    claim_mark: ClaimMark | None = None
    claim_ref: str | None = None
    claim_oid: str | None = None
    resumes: AttemptId | None = None
    asking: tuple[AskedQuestion, ...] = ()
    recovered_at: datetime | None = None
    start_job: int | None = None

    @property
    def external(self) -> bool:
        """Somebody else's claim, known by its ref: this bot neither steers nor ends it."""
        return self.worker.kind is WorkerKind.EXTERNAL

    @property
    def live(self) -> bool:
        return self.phase is not AttemptPhase.ENDED
