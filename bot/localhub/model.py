"""The records a local GitHub keeps: accounts, Apps, repositories, issues and what hangs on them.

Promise: plain mutable dataclasses without behaviour beyond look-ups on themselves. All changes are
made on the event loop without an `await` in between, so a reader never sees half a change. Times
keep the full resolution of the clock; presenters cut them to seconds, as GitHub does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum
from pathlib import Path

Json = dict[str, object]


class AccountType(Enum):
    """The `type` of an account, as the REST API spells it."""

    USER = "User"
    ORGANIZATION = "Organization"
    BOT = "Bot"


class Role(IntEnum):
    """Base roles of a repository, ordered so that a comparison means "at least"."""

    NONE = 0
    READ = 1
    TRIAGE = 2
    WRITE = 3
    MAINTAIN = 4
    ADMIN = 5

    @property
    def role_name(self) -> str:
        """The name in `role_name` of the collaborator API."""
        return self.name.lower()

    @property
    def permission(self) -> str:
        """The legacy base level: `maintain` reads as `write`, `triage` as `read`."""
        match self:
            case Role.MAINTAIN:
                return "write"
            case Role.TRIAGE:
                return "read"
            case _:
                return self.name.lower()


@dataclass(eq=False)
class Account:
    """A user, an organization or the bot user of an App."""

    id: int
    node_id: str
    login: str
    type: AccountType
    created_at: datetime
    name: str | None = None
    members: dict[int, Role] = field(default_factory=dict)
    """Organization only: member id to the role members have on every repository of it."""


@dataclass(eq=False)
class App:
    """A GitHub App. `private_key_pem` is generated per run and never leaves the process by itself."""

    id: int
    node_id: str
    client_id: str
    slug: str
    name: str
    owner: Account
    bot: Account
    private_key_pem: str = field(repr=False)
    public_key_pem: str = field(repr=False)
    permissions: dict[str, str]
    events: list[str]
    hook: Hook | None
    created_at: datetime
    client_secret: str = field(default="", repr=False)
    callback_urls: list[str] = field(default_factory=list)
    """Where signing in may return to; empty: any loopback address."""


@dataclass(eq=False)
class Hook:
    """Where webhooks go: one per App, and any number per repository."""

    id: int
    url: str
    secret: str = field(repr=False)
    events: list[str]
    target_id: int
    target_type: str
    """`integration` for an App, `repository` for a repository hook."""
    active: bool = True


@dataclass(eq=False)
class Installation:
    """An App installed on an account, for the listed repositories."""

    id: int
    node_id: str
    app: App
    account: Account
    repository_ids: set[int]
    permissions: dict[str, str]
    events: list[str]
    created_at: datetime
    updated_at: datetime
    suspended_at: datetime | None = None
    suspended_by: Account | None = None


@dataclass(eq=False)
class Label:
    """A label of a repository."""

    id: int
    node_id: str
    name: str
    color: str
    description: str | None = None
    default: bool = False


@dataclass(eq=False)
class Reaction:
    """One reaction of one account to an issue or a comment."""

    id: int
    node_id: str
    user: Account
    content: str
    created_at: datetime


@dataclass(eq=False)
class Comment:
    """A comment on an issue or a pull request's conversation."""

    id: int
    node_id: str
    issue: Issue
    user: Account
    app: App | None
    body: str
    created_at: datetime
    updated_at: datetime
    reactions: list[Reaction] = field(default_factory=list)
    minimized_reason: str | None = None
    edited: tuple[datetime, Account] | None = None
    """When and by whom the body was last changed."""


@dataclass(eq=False)
class IssueEvent:
    """One entry of the issue's event list (`labeled`, `assigned`, `closed` ...)."""

    id: int
    node_id: str
    event: str
    actor: Account
    app: App | None
    created_at: datetime
    data: Json = field(default_factory=dict)
    """Extra members of the JSON object: `label`, `assignee`, `assigner`, `rename`, `lock_reason`."""
    commit_id: str | None = None


@dataclass(eq=False)
class Issue:
    """An issue; with `is_pull` it is the issue side of a pull request (they share numbers)."""

    id: int
    node_id: str
    number: int
    repo: Repository
    title: str
    body: str | None
    user: Account
    app: App | None
    created_at: datetime
    updated_at: datetime
    state: str = "open"
    state_reason: str | None = None
    closed_at: datetime | None = None
    closed_by: Account | None = None
    labels: list[Label] = field(default_factory=list)
    assignees: list[Account] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    reactions: list[Reaction] = field(default_factory=list)
    events: list[IssueEvent] = field(default_factory=list)
    locked: bool = False
    lock_reason: str | None = None
    is_pull: bool = False
    draft: bool = False
    merged_at: datetime | None = None
    blocked_by: list[Issue] = field(default_factory=list)
    blocking: list[Issue] = field(default_factory=list)
    parent: Issue | None = None
    sub_issues: list[Issue] = field(default_factory=list)
    deleted: bool = False
    transferred_to: Issue | None = None
    body_edits: list[tuple[datetime, Account]] = field(default_factory=list)
    """When and by whom the body was changed after the issue was opened, oldest first."""

    def label(self, name: str) -> Label | None:
        """The label with that name on this issue; names are compared without case."""
        return next((x for x in self.labels if x.name.lower() == name.lower()), None)


@dataclass(eq=False)
class Repository:
    """A repository: settings, people, labels and issues. Its git data lives in `git_dir`."""

    id: int
    node_id: str
    owner: Account
    name: str
    private: bool
    default_branch: str
    git_dir: Path
    created_at: datetime
    updated_at: datetime
    pushed_at: datetime
    description: str | None = None
    archived: bool = False
    has_issues: bool = True
    delete_branch_on_merge: bool = False
    allow_merge_commit: bool = True
    allow_squash_merge: bool = True
    allow_rebase_merge: bool = True
    collaborators: dict[int, Role] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    """By lower-cased name."""
    issues: dict[int, Issue] = field(default_factory=dict)
    next_number: int = 1

    @property
    def full_name(self) -> str:
        """`owner/name`."""
        return f"{self.owner.login}/{self.name}"


@dataclass(eq=False)
class Delivery:
    """One attempt to deliver one webhook. A redelivery is a new record with the same `guid`."""

    id: int
    guid: str
    hook: Hook
    event: str
    action: str | None
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    installation_id: int | None
    repository_id: int | None
    queued_at: datetime
    redelivery: bool = False
    delivered_at: datetime | None = None
    duration: float = 0.0
    """Seconds until the receiver answered."""
    status: str = "pending"
    status_code: int = 0
    response_headers: dict[str, str] = field(default_factory=dict)
    response_body: str = ""
