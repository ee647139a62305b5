"""What `bot/observe.py` read from GitHub for one decision: immutable, complete, without behaviour.

A decision sees only these records and the ledger's, never GitHub itself; so every decision can be repeated in a
test from values alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bot.domain.attempt import Attempt
from bot.domain.budget import NOTHING_SPENT, Spent
from bot.domain.claim_record import ClaimRef
from bot.domain.intents import Intent
from bot.domain.line import Told
from bot.domain.model import AttemptId, IssueKey, Item, Person, Role
from bot.domain.questions import Question, Steer
from bot.domain.repository import RepoRecord
from bot.domain.sessions import SessionRecord


@dataclass(frozen=True, slots=True)
class IntentFacts:
    """An intent with what was read just before executing it. `role` None: it could not be read. `overtaken_by` is a
    newer one that was carried out already and wishes the opposite."""

    intent: Intent
    role: Role | None
    unchanged: bool = True
    replied_recently: bool = False
    overtaken_by: Intent | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A person's comment that was not considered yet, or was changed since. `digest` is that of its words."""

    id: int
    author: Person
    body: str
    digest: str
    at: datetime
    role: Role | None


@dataclass(frozen=True, slots=True)
class IssueFacts:
    """The issue as GitHub shows it now."""

    key: IssueKey
    node_id: str
    title: str
    body: str
    open: bool
    state_reason: str | None
    author: Person
    labels: frozenset[str]
    assignees: tuple[Person, ...]
    created_at: datetime
    updated_at: datetime
    locked: bool = False
    comments: int = 0


class Presence(StrEnum):
    """Whether the issue can be read at all."""

    HERE = "here"
    DELETED = "deleted"
    TRANSFERRED = "transferred"
    UNREADABLE = "unreadable"
    PULL = "pull"


@dataclass(frozen=True, slots=True)
class LabelEvent:
    """One `labeled` or `unlabeled` event of an issue; `actor` None when GitHub names nobody."""

    id: int
    label: str
    added: bool
    actor: Person | None
    at: datetime


@dataclass(frozen=True, slots=True)
class ContentEdit:
    """An edit of the issue's title or body after it was opened; `editor` None: unknown."""

    editor: Person | None
    at: datetime
    role: Role | None = None


class RunStatus(StrEnum):
    QUEUED = "queued"
    # For people: a job's environment wants somebody's approval in Actions.
    WAITING = "waiting"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """One Actions run as GitHub shows it now."""

    id: int
    status: RunStatus
    conclusion: str | None
    run_attempt: int
    html_url: str
    display_title: str
    head_sha: str
    created_at: datetime


class Ci(StrEnum):
    """The sum of the checks on a head SHA."""

    NONE = "none"
    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CiFacts:
    sha: str
    state: Ci
    failed: tuple[tuple[str, str], ...] = ()
    total: int = 0


@dataclass(frozen=True, slots=True)
class PullFacts:
    """A pull request as GitHub shows it now."""

    number: int
    node_id: str
    author: Person
    open: bool
    merged: bool
    draft: bool
    head_sha: str
    head_ref: str
    head_repo_id: int | None
    base_ref: str
    base_repo_id: int
    mergeable: bool | None
    mergeable_state: str
    merge_commit_sha: str | None
    merged_by: Person | None
    body: str
    html_url: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """Everything `advance` decides from, for one item at one moment.

    `claims` are the item's claim refs (None: not read), `own_claims` the ids of our attempts of the item, and
    `claimed_pull` the pull request of an external attempt's branch. `reserved` is what the attempt may spend, in
    micro-dollars; while it lives `spent` contains it. `questions` are all that the item ever had, `replies` what people
    wrote since the latest, and `resumable` the attempt whose conversation is kept for it. `steers` are
    the words of people to its attempts, `others_waiting` the other items of the repository whose agents wait for the
    same person, and when that person was reminded of each. `exact` is what an item far behind in the queue waits for
    and its place there, read only because somebody asked.
    """

    key: IssueKey
    repo: RepoRecord
    presence: Presence
    issue: IssueFacts | None
    item: Item | None
    attempt: Attempt | None
    intents: tuple[IntentFacts, ...] = ()
    label_events: tuple[LabelEvent, ...] | None = None
    actor_roles: tuple[tuple[int, Role | None], ...] = ()
    edits: tuple[ContentEdit, ...] | None = None
    run: RunFacts | None = None
    pull: PullFacts | None = None
    ci: CiFacts | None = None
    branch_head: str | None = None
    has_implementation: bool | None = None
    plan_sha: str | None = None
    queue: tuple[tuple[int, str], ...] = ()
    session: SessionRecord | None = None
    claims: tuple[ClaimRef, ...] | None = None
    own_claims: frozenset[str] = frozenset()
    claimed_pull: PullFacts | None = None
    incident: bool = False
    """The issue is that of an incident, which is no work."""
    spent: Spent = NOTHING_SPENT
    reserved: int = 0
    questions: tuple[Question, ...] = ()
    replies: tuple[Reply, ...] = ()
    resumable: AttemptId | None = None
    steers: tuple[Steer, ...] = ()
    others_waiting: tuple[tuple[int, datetime | None], ...] = ()
    exact: Told | None = None

    def role_of(self, person: Person | None) -> Role | None:
        """The role read for this person now; None when nobody is named or it could not be read."""
        if person is None:
            return None
        return dict(self.actor_roles).get(person.id)
