"""Ids, keys, people and the item. Attempts are in `attempt.py`, facts in `facts.py`, intake in `intake.py`.

Everything here is an immutable value. Records that the ledger stores (`Item`, `Attempt`, `Intent`, `RepoRecord`)
carry a `revision`; a write names the revision it was decided on and is refused when it is stale, so two deciders
can never overwrite each other. All times are aware UTC datetimes. Ids are GitHub's numeric ids; logins and names
are for display only, because they can be renamed and reused.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import NewType

InstallationId = NewType("InstallationId", int)
RepoId = NewType("RepoId", int)
AttemptId = NewType("AttemptId", str)


@dataclass(frozen=True, slots=True, order=True)
class RepoKey:
    """What to look at again: a repository's thoughts and its queue."""

    installation: InstallationId
    repo: RepoId

    def __str__(self) -> str:
        return f"repo/{self.installation}/{self.repo}"


@dataclass(frozen=True, slots=True, order=True)
class IssueKey:
    """What to look at again: the life of one item."""

    installation: InstallationId
    repo: RepoId
    number: int

    def __str__(self) -> str:
        return f"issue/{self.installation}/{self.repo}/{self.number}"

    @property
    def repo_key(self) -> RepoKey:
        return RepoKey(self.installation, self.repo)


Key = RepoKey | IssueKey


def parse_key(text: str) -> Key:
    """The key that `str(key)` wrote. Raises ValueError for anything else."""
    match text.split("/"):
        case ["repo", installation, repo]:
            return RepoKey(InstallationId(int(installation)), RepoId(int(repo)))
        case ["issue", installation, repo, number]:
            return IssueKey(InstallationId(int(installation)), RepoId(int(repo)), int(number))
        case _:
            raise ValueError(f"not a key: {text!r}")


# --- people


class Role(IntEnum):
    """A person's role in a repository, lowest first (`role_name` of the collaborator permission endpoint)."""

    NONE = 0
    READ = 1
    TRIAGE = 2
    WRITE = 3
    MAINTAIN = 4
    ADMIN = 5


@dataclass(frozen=True, slots=True)
class Person:
    """An account. `id` identifies; `login` is shown."""

    id: int
    login: str
    is_bot: bool = False


# --- item


class ItemState(StrEnum):
    """Exactly one per item, shown as one label (`bot/domain/labels.py`)."""

    PROPOSED = "proposed"
    READY = "ready"
    IN_PROGRESS = "in-progress"
    NEEDS_INPUT = "needs-input"
    IN_REVIEW = "in-review"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL_STATES = frozenset({ItemState.DONE, ItemState.FAILED, ItemState.CANCELLED})


@dataclass(frozen=True, slots=True)
class ThoughtRef:
    """The thought an item was mirrored from: its folder and the commit and blob that were read."""

    dir: str
    commit_sha: str
    plan_sha: str
    research_sha: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was approved, by whom and when. The run reads this, never the live issue.

    `approver` is None when policy approved by itself (automatic readiness of thoughts). `confirmed`: somebody gave
    `/tgs approve` for this very text, which policy may want before anything runs.
    """

    title: str
    body: str
    approved_at: datetime
    approver: Person | None
    plan_sha: str | None = None
    contains_outsider_text: bool = False
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class WorkSpec:
    """The effective wishes for one item, already limited by policy. `second_opinion`: the plan wants one in any case;
    otherwise policy says where."""

    type: str = "feature"
    locks: tuple[str, ...] = ()
    depends_on: tuple[int, ...] = ()
    acceptance: tuple[str, ...] = ()
    automerge: bool = False
    model: str | None = None
    agent: str | None = None
    base_branch: str | None = None
    max_attempts: int | None = None
    budget_usd: float | None = None
    needs: tuple[str, ...] = ()
    second_opinion: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """What people asked for by commands, in the place of what the text of the issue or plan says; None: nothing."""

    locks: tuple[str, ...] | None = None
    depends_on: tuple[int, ...] | None = None
    budget_usd: float | None = None

    def over(self, spec: WorkSpec) -> WorkSpec:
        """The wishes with these in front."""
        locks = spec.locks if self.locks is None else self.locks
        depends_on = spec.depends_on if self.depends_on is None else self.depends_on
        budget_usd = spec.budget_usd if self.budget_usd is None else self.budget_usd
        return replace(spec, locks=locks, depends_on=depends_on, budget_usd=budget_usd)


@dataclass(frozen=True, slots=True)
class PullLink:
    """The pull request of an item, for the SHA published under `fence`: opened by the bot, or by the account `author`
    that had the item by a claim of its own."""

    number: int
    node_id: str
    branch: str
    head_sha: str
    fence: int
    opened_at: datetime
    author: int | None = None


@dataclass(frozen=True, slots=True)
class Projection:
    """What the bot last showed on GitHub; a difference to what is observed is a person's doing."""

    state_label: str | None = None
    status_comment_id: int | None = None
    status_comment_node: str | None = None
    status_hash: str | None = None
    status_edited_at: datetime | None = None
    assignee: str | None = None
    put_backs: int = 0
    status_generation: int = 0
    hour: datetime | None = None
    """When the present hour of the fuse began, and how much was written in it."""
    writes: int = 0
    blown_at: datetime | None = None


class FailureReason(StrEnum):
    """Why an attempt ended without a result. `bot/domain/failures.py` decides from it, nothing else does."""

    INFRA_DISPATCH = "infra.dispatch"
    INFRA_RUNNER_LOST = "infra.runner_lost"
    INFRA_NETWORK = "infra.network"
    INFRA_NOT_STARTED = "infra.not_started"
    INFRA_MODEL = "infra.model"
    QUOTA_PROVIDER = "quota.provider"
    QUOTA_GITHUB = "quota.github"
    CONFIG_PERMISSION = "config.permission"
    CONFIG_WORKFLOW_MISSING = "config.workflow_missing"
    CONFIG_SECRET_MISSING = "config.secret_missing"  # noqa: S105 - a reason's name, not a secret
    CONFIG_ACTOR_BLOCKED = "config.actor_blocked"
    CONFIG_AGENT = "config.agent"
    AGENT_CRASH = "agent.crash"
    AGENT_STALLED = "agent.stalled"
    AGENT_TIMEOUT = "agent.timeout"
    AGENT_TOO_LARGE = "agent.too_large"
    AGENT_ITERATION_LIMIT = "agent.iteration_limit"
    AGENT_CONTEXT_OVERFLOW = "agent.context_overflow"
    AGENT_GAVE_UP = "agent.gave_up"
    AGENT_EMPTY_OUTPUT = "agent.empty_output"
    AGENT_NO_EVIDENCE = "agent.no_evidence"
    MISSING_ARTIFACT = "agent.missing_artifact"
    QUALITY_CI = "quality.ci"
    QUALITY_GATE = "quality.gate"
    QUALITY_ACCEPTANCE = "quality.acceptance"
    POLICY_DENIED = "policy.denied"
    POLICY_PROTECTED_PATH = "policy.protected_path"
    SECURITY_SECRET_IN_DIFF = "security.secret_in_diff"  # noqa: S105 - a reason's name, not a secret
    SECURITY_BUNDLE = "security.bundle"
    BUDGET_EXCEEDED = "budget.exceeded"
    CANCELLED_BY_PERSON = "cancelled.person"
    CANCELLED_IN_ACTIONS = "cancelled.actions_ui"
    CANCELLED_CLOSED = "cancelled.closed"
    CANCELLED_WITHDRAWN = "cancelled.withdrawn"
    CANCELLED_SUPERSEDED = "cancelled.superseded"
    CONFLICT_MERGE = "conflict.merge"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure as people see it. `detail` is sanitised text, at most a few lines."""

    reason: FailureReason
    detail: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Problem:
    """Something a person must set right: the first-run checks and the policy file report these.

    `code` is stable; `what` names the thing (a permission, a file, a position); `remedy` says what to do.
    """

    code: str
    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """One reason why a ready item is not started, as the last scheduling pass saw it."""

    code: str
    params: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Withheld:
    """A result that is pushed only after a person has looked at it: the bundle of `attempt`, by its SHA-256.

    `workflows` are the files that make a look necessary. `seen_by` said that exactly these bytes may be pushed.
    """

    attempt: AttemptId
    digest: str
    since: datetime
    base_sha: str | None = None
    workflows: tuple[str, ...] = ()
    seen_by: Person | None = None
    reminded: int = 0
    reminded_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One issue in the backlog. `labels` are those of the issue that are not ours, sorted.

    `answered`: people have answered its agent and it goes on before others of its kind. `extensions`: how often its
    agent was interrupted at the end of its time and went on in another run, since the item was approved.
    """

    key: IssueKey
    node_id: str
    title: str
    state: ItemState
    since: datetime
    revision: int = 0
    priority: int = 0
    thought: ThoughtRef | None = None
    snapshot: Snapshot | None = None
    spec: WorkSpec = field(default_factory=WorkSpec)
    asked: Asked = field(default_factory=Asked)
    labels: tuple[str, ...] = ()
    findings: tuple[Problem, ...] = ()
    ready_since: datetime | None = None
    not_before: datetime | None = None
    expedited: bool = False
    held_by: str | None = None
    held_reason: str | None = None
    human_owned: bool = False
    fence: int = 0
    attempts_burnt: int = 0
    infra_failures: int = 0
    extensions: int = 0
    last_failure: Failure | None = None
    notes: str | None = None
    fresh: bool = False
    waiting: tuple[Waiting, ...] = ()
    position: int | None = None
    pull: PullLink | None = None
    branch_deleted: bool = False
    mirror_ready: bool = False
    thought_gone: bool = False
    implemented: bool = False
    noted: str | None = None
    projection: Projection = field(default_factory=Projection)
    accepted_labels: frozenset[str] = frozenset()
    refused_events: frozenset[int] = frozenset()
    answered: bool = False
    withheld: Withheld | None = None
    # Set by the ledger when the item is first written; no rule looks at it.
    created_at: datetime | None = field(default=None, compare=False)

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL_STATES

    @property
    def passed(self) -> Withheld | None:
        """The result that somebody looked at and let pass, until it is published."""
        return self.withheld if self.withheld is not None and self.withheld.seen_by is not None else None

    @property
    def approver(self) -> Person | None:
        """Who approved it; None also when the policy did."""
        return self.snapshot.approver if self.snapshot is not None else None
