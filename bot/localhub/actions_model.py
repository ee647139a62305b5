"""The records of Actions: workflows, runs, jobs, steps, artifacts and a repository's settings.

Promise: plain data, changed only by the `Actions` service and the runner through it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from bot.localhub.checks import CheckRun, CheckSuite
from bot.localhub.model import Account, Json, Repository
from bot.localhub.workflow_model import JobSpec, TriggerEvent, WorkflowFile


class Status(Enum):
    """Where a run, job or step stands. PENDING: held back by a concurrency group. WAITING: for a person's approval of
    an environment; the model itself never asks for one."""

    QUEUED = "queued"
    PENDING = "pending"
    WAITING = "waiting"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"


class Conclusion(Enum):
    """How it ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class WorkflowState(Enum):
    """Whether a workflow may be started."""

    ACTIVE = "active"
    DISABLED_MANUALLY = "disabled_manually"
    DELETED = "deleted"


@dataclass(eq=False)
class Workflow:
    """A workflow file as the API lists it; `name` follows the default branch."""

    id: int
    node_id: str
    repo: Repository
    path: str
    name: str
    created_at: datetime
    state: WorkflowState = WorkflowState.ACTIVE
    next_number: int = 1


@dataclass(eq=False)
class Step:
    """One step of a job, with its log (already masked)."""

    number: int
    name: str
    status: Status = Status.QUEUED
    conclusion: Conclusion | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    log: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Job:
    """One attempt at one job. Its id is that of its check run, as on GitHub."""

    id: int
    node_id: str
    run: Run
    spec: JobSpec
    name: str
    attempt: int
    check: CheckRun
    created_at: datetime
    status: Status = Status.QUEUED
    conclusion: Conclusion | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    environment: str | None = None
    permissions: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    group: str | None = None
    runner_name: str | None = None

    @property
    def done(self) -> bool:
        return self.status is Status.COMPLETED

    @property
    def self_hosted(self) -> bool:
        return "self-hosted" in self.spec.runs_on


@dataclass(eq=False)
class Run:
    """One workflow run; a re-run keeps the id and counts `attempt` up."""

    id: int
    node_id: str
    repo: Repository
    workflow: Workflow
    file: WorkflowFile | None
    number: int
    event: TriggerEvent
    ref: str
    sha: str
    head_branch: str | None
    head_sha: str
    title: str
    actor: Account
    triggering_actor: Account
    suite: CheckSuite
    created_at: datetime
    updated_at: datetime
    started_at: datetime
    inputs: dict[str, str | bool | float] = field(default_factory=dict)
    payload: Json = field(default_factory=dict)
    attempt: int = 1
    status: Status = Status.QUEUED
    conclusion: Conclusion | None = None
    jobs: dict[str, Job] = field(default_factory=dict)
    """By job id of the file; the jobs of the present attempt."""
    earlier: list[list[Job]] = field(default_factory=list)
    cancel_requested: bool = False
    force_cancelled: bool = False
    group: str | None = None
    message: str | None = None
    """Why the run failed before it had jobs (bad file, policy)."""
    base_ref: str = ""
    head_ref: str = ""
    pull_number: int | None = None

    @property
    def done(self) -> bool:
        return self.status is Status.COMPLETED

    @property
    def all_jobs(self) -> list[Job]:
        """The jobs of every attempt."""
        return [*(job for batch in self.earlier for job in batch), *self.jobs.values()]


@dataclass(eq=False)
class Artifact:
    """An uploaded zip; `digest` is `sha256:` and hex digits of exactly these bytes."""

    id: int
    node_id: str
    run: Run
    name: str
    data: bytes = field(repr=False)
    digest: str
    created_at: datetime
    expires_at: datetime


@dataclass(eq=False)
class Environment:
    """A deployment environment. `branches` empty: every branch may use it."""

    id: int
    node_id: str
    name: str
    created_at: datetime
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    variables: dict[str, str] = field(default_factory=dict)
    branches: tuple[str, ...] = ()


@dataclass(eq=False)
class Settings:
    """What a repository's Actions settings say."""

    enabled: bool = True
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    variables: dict[str, str] = field(default_factory=dict)
    environments: dict[str, Environment] = field(default_factory=dict)
    blocked_events: set[TriggerEvent] = field(default_factory=set)
    """Execution policy: these events give a run that fails at once."""
    blocked_actors: set[int] = field(default_factory=set)
    """Execution policy: account ids whose events give a run that fails at once."""
    write_by_default: bool = False
    """Permissions of GITHUB_TOKEN where the file says nothing: read contents, or write all."""
