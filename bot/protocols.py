"""What the core needs from the world, as Protocols: the ledger, GitHub, the clock and ids.

Promises an implementation makes:

* `Store.write` runs one synchronous unit in one transaction; the unit may be run again after a rollback, so it has
  no side effects outside the ledger. Writes that name a revision return False when it is stale and change nothing.
* `GitHub` methods speak of our domain, not of URLs. They raise `bot.errors.GitHubError` kinds only; a write whose
  answer was lost raises `GitHubError` with `uncertain=True`, and the caller looks before it repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from bot.domain.facts import (
    CiFacts,
    ContentEdit,
    IssueFacts,
    LabelEvent,
    Presence,
    PullFacts,
    RunFacts,
)
from bot.domain.intake import Intake
from bot.domain.model import (
    Attempt,
    AttemptId,
    InstallationId,
    Intent,
    IssueKey,
    Item,
    Key,
    Person,
    RepoId,
    RepoKey,
    RepoRecord,
    Role,
)

T = TypeVar("T")


class Clock(Protocol):
    def now(self) -> datetime:
        """The current time, aware UTC."""
        ...


class Ids(Protocol):
    def new(self, prefix: str) -> str:
        """A fresh, unguessable, URL-safe id that starts with `prefix`."""
        ...


# --- ledger -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Audit:
    """One append-only line of history: who changed what, why, under which policy."""

    at: datetime
    key: Key
    kind: str
    actor: str
    cause: str
    from_state: str | None = None
    to_state: str | None = None
    attempt: AttemptId | None = None
    fence: int | None = None
    policy_hash: str = ""
    detail: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One act that must happen at most once. `done_at` None with a row present: it may have happened.

    A row with negative `tries` was planned together with a decision and never tried; its `result` holds the words.
    """

    key: str
    kind: str
    issue: IssueKey | None
    repo: RepoKey
    fence: int | None
    planned_at: datetime
    done_at: datetime | None
    result: str | None
    tries: int


@dataclass(frozen=True, slots=True)
class LockRow:
    """A path held by an item."""

    repo: RepoKey
    path: str
    issue: int
    attempt: AttemptId
    since: datetime
    mode: str = "write"


class DuplicateLiveAttempt(Exception):
    """The database refused a second live attempt of one item (unique index), or an attempt with a used fence."""


class Ledger(Protocol):
    """The verbs inside one transaction. Every method of a tenant's data takes the installation, inside the key."""

    # repositories
    def repo(self, key: RepoKey) -> RepoRecord | None: ...
    def repos(self, installation: InstallationId | None = None) -> list[RepoRecord]: ...
    def repo_by_name(self, full_name: str) -> RepoRecord | None: ...
    def put_repo(self, repo: RepoRecord) -> None:
        """Inserts a repository that is not there yet; an existing row is left alone."""
        ...

    def save_repo(self, before: RepoRecord, after: RepoRecord) -> bool:
        """Writes the changed columns, revision + 1; False when `before.revision` is stale."""
        ...

    # items
    def item(self, key: IssueKey) -> Item | None: ...
    def items(self, repo: RepoKey, *, states: Sequence[str] | None = None) -> list[Item]: ...
    def item_of_thought(self, repo: RepoKey, thought_dir: str) -> Item | None: ...
    def item_of_pull(self, repo: RepoKey, pull: int) -> IssueKey | None: ...
    def insert_item(self, item: Item) -> bool:
        """False when the issue (or its thought) has an item already."""
        ...

    def save_item(self, before: Item, after: Item) -> bool: ...
    def set_waiting(
        self, key: IssueKey, waiting: tuple[tuple[str, tuple[tuple[str, str], ...]], ...], position: int | None
    ) -> bool:
        """Stores what the scheduling pass saw (no revision; last pass wins). True when it differs from before."""
        ...

    # attempts
    def attempt(self, id_: AttemptId) -> Attempt | None: ...
    def live_attempt(self, key: IssueKey) -> Attempt | None: ...
    def last_attempt(self, key: IssueKey) -> Attempt | None: ...
    def live_attempts(self, repo: RepoKey) -> list[Attempt]: ...
    def attempts(self, key: IssueKey) -> list[Attempt]: ...
    def attempt_of_run(self, repo: RepoKey, run_id: int) -> Attempt | None: ...
    def attempt_of_branch(self, repo: RepoKey, branch: str) -> Attempt | None: ...
    def count_dispatches(self, repo: RepoKey, since: datetime) -> int: ...
    def insert_attempt(self, attempt: Attempt) -> None:
        """Raises DuplicateLiveAttempt; the unique partial index on live attempts decides, not a check before."""
        ...

    def save_attempt(self, before: Attempt, after: Attempt) -> bool:
        """Writes the changed columns, revision + 1, only while id, fence and `before.revision` still match."""
        ...

    # locks
    def locks(self, repo: RepoKey) -> list[LockRow]: ...
    def take_locks(self, rows: Sequence[LockRow]) -> None: ...
    def free_locks(self, key: IssueKey) -> int: ...

    # intents
    def put_intent(self, intent: Intent) -> bool:
        """False when the natural key is known already (a comment runs once)."""
        ...

    def open_intents(self, key: IssueKey) -> list[Intent]: ...
    def settle_intent(self, id_: str, outcome: str, at: datetime) -> bool: ...
    def retry_intent(self, id_: str) -> None: ...
    def has_replied(self, key: IssueKey, person_id: int, since: datetime) -> bool:
        """Whether a read-role command of this person got a worded reply on this item since then."""
        ...

    def note_reply(self, key: IssueKey, person_id: int, at: datetime) -> None: ...

    # outbox
    def outbox(self, key: str) -> OutboxRow | None: ...
    def plan(self, row: OutboxRow) -> bool:
        """Writes the row ahead of the act; False when the key exists (planned or done before)."""
        ...

    def outbox_done(self, key: str, result: str, at: datetime) -> None: ...
    def outbox_retry(self, key: str) -> None: ...
    def outbox_drop(self, key: str) -> None:
        """Forgets a planned act that provably did not happen; one planned with its words counts as never tried."""
        ...

    def unsaid(self, key: IssueKey) -> list[OutboxRow]:
        """Comments on this issue or pull request that were planned with their words and are not written yet."""
        ...

    # history
    def audit(self, line: Audit) -> None: ...
    def history(self, key: Key, limit: int = 100) -> list[Audit]: ...

    # queue rows
    def mark(self, key: Key, *, priority: int = 0, at: datetime | None = None) -> None:
        """Raises the wanted revision of the key in this transaction (and due time: now, or `at` if sooner)."""
        ...

    def touch(self, key: Key) -> None:
        """As `mark`, and notes that GitHub may show something new there: facts read before are void."""
        ...

    def touched_at(self, key: Key) -> datetime | None: ...

    # once-only secrets and tokens of workers: hashes only
    def put_token(self, sha256: str, purpose: str, attempt: AttemptId, fence: int, expires_at: datetime) -> None: ...
    def token(self, sha256: str) -> tuple[str, AttemptId, int, datetime] | None: ...
    def use_token(self, sha256: str) -> bool:
        """Consumes a single-use token; False when it was used before or never existed."""
        ...

    def drop_tokens(self, attempt: AttemptId) -> None: ...
    def use_jti(self, jti: str, expires_at: datetime) -> bool:
        """True when this OIDC token id was never seen before."""
        ...

    # mirror
    def thought_blobs(self, repo: RepoKey) -> dict[str, str]:
        """Cached front-matter texts by blob SHA."""
        ...

    def put_thought_blob(self, repo: RepoKey, sha: str, text: str) -> None: ...
    def count_mirrored(self, repo: RepoKey, since: datetime) -> int: ...


class Store(Protocol):
    async def write(self, unit: Callable[[Ledger], T]) -> T:
        """Runs the unit in its own transaction (savepoint of a group commit); returns after the commit is on disk."""
        ...

    async def read(self, unit: Callable[[Ledger], T]) -> T:
        """Runs the unit on a read connection; it sees committed data only and must not write."""
        ...


class Inbox(Protocol):
    """The intake's door to the ledger."""

    async def accept(self, delivery: str, event: str, action: str | None, intake: Intake, body: bytes | None) -> bool:
        """Commits delivery, touches and intents together; returns after the commit. False: delivery known."""
        ...


# --- GitHub ------------------------------------------------------------------------------------------


class Secret(Protocol):
    """A credential that does not print itself (`pydantic.SecretStr` is one)."""

    def get_secret_value(self) -> str: ...


@dataclass(frozen=True, slots=True)
class RepoView:
    """A repository as GitHub shows it now."""

    key: RepoKey
    node_id: str
    full_name: str
    owner_id: int
    owner_login: str
    default_branch: str
    private: bool
    archived: bool
    empty: bool
    html_url: str


@dataclass(frozen=True, slots=True)
class TreeEntry:
    path: str
    mode: str
    type: str
    sha: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Tree:
    """`entries` are relative to the tree that was asked for; `truncated` means GitHub cut the list."""

    sha: str
    entries: tuple[TreeEntry, ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Comment:
    id: int
    node_id: str
    body: str
    author: Person
    created_at: datetime
    updated_at: datetime
    html_url: str


@dataclass(frozen=True, slots=True)
class Visible:
    """Changes of what people see, sent together in one request where GitHub allows it.

    Fields left at their default are not touched. `assign` is a login; GitHub drops people who cannot be assigned
    silently, so the outcome says who is assigned now. `delete_branch` is (branch, expected SHA).
    """

    issue_node: str
    number: int
    add_labels: tuple[str, ...] = ()
    remove_labels: tuple[str, ...] = ()
    assign: str | None = None
    unassign: str | None = None
    comment_node: str | None = None
    comment_body: str | None = None
    ready_pull_node: str | None = None
    delete_branch: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class VisibleOutcome:
    """What came back. `failed` maps the name of a field of `Visible` to GitHub's message."""

    assignees: tuple[str, ...] | None
    comment_body: str | None
    failed: tuple[tuple[str, str], ...] = ()


class GitHub(Protocol):
    """The verbs of our domain on GitHub. The repository is always named by its key (ids, not names)."""

    # the App and its installations
    async def installations(self) -> list[tuple[InstallationId, int, str, bool, tuple[tuple[str, str], ...]]]:
        """(installation, account id, account login, suspended, permissions) of each installation of the App."""
        ...

    async def installation_repos(self, installation: InstallationId) -> list[RepoView]: ...
    async def app_owner(self) -> int:
        """The account id of the App's owner."""
        ...

    async def bot_user(self, installation: InstallationId) -> Person: ...
    async def failed_deliveries(self, since: datetime) -> list[int]: ...
    async def redeliver(self, delivery: int) -> None: ...

    # reading
    async def repository(self, key: RepoKey) -> RepoView: ...
    async def head(self, key: RepoKey, branch: str) -> str | None:
        """The SHA of a branch, None when it does not exist or the repository is empty."""
        ...

    async def tree(self, key: RepoKey, commit: str, path: str, *, recursive: bool) -> Tree | None:
        """The tree at `path` of a commit (empty path: the root), None when there is no such folder."""
        ...

    async def blob(self, key: RepoKey, sha: str) -> bytes: ...
    async def file(self, key: RepoKey, path: str, ref: str) -> tuple[str, bytes] | None:
        """(blob SHA, content) of a file, None when absent. Raises for folders, symlinks and submodules."""
        ...

    async def issue(self, key: IssueKey) -> tuple[Presence, IssueFacts | None]: ...
    async def issues_with_label(self, key: RepoKey, label: str) -> list[IssueFacts]: ...
    async def issues_by_bot(self, key: RepoKey, since: datetime | None = None) -> list[IssueFacts]: ...
    async def label_events(self, key: IssueKey) -> list[LabelEvent]:
        """All label events, oldest first."""
        ...

    async def content_edits(self, key: IssueKey) -> list[ContentEdit]:
        """Edits of title and body after opening, oldest first, without roles."""
        ...

    async def comment(self, key: RepoKey, comment_id: int) -> Comment | None: ...
    async def comments(self, key: IssueKey, since: datetime | None = None) -> list[Comment]: ...
    async def role(self, key: RepoKey, person: Person) -> Role:
        """The person's role now. Bots have `Role.NONE`. Never cached for longer than a decision."""
        ...

    async def assignable(self, key: RepoKey, login: str) -> bool: ...
    async def run(self, key: RepoKey, run_id: int) -> RunFacts | None: ...
    async def runs_named(self, key: RepoKey, workflow: str, text: str, since: datetime) -> list[RunFacts]:
        """Dispatched runs of the workflow created since then whose display title contains the text."""
        ...

    async def jobs(self, key: RepoKey, run_id: int) -> list[tuple[int, str, str, str | None]]:
        """(job id, name, status, conclusion) of each job of the run's newest attempt."""
        ...

    async def pull(self, key: RepoKey, number: int) -> PullFacts | None: ...
    async def pulls_of_branch(self, key: RepoKey, branch: str) -> list[PullFacts]: ...
    async def ci(self, key: RepoKey, sha: str) -> CiFacts: ...
    async def workflow_state(self, key: RepoKey, file: str) -> str | None:
        """`active`, `disabled_…`, or None when GitHub knows no such workflow."""
        ...

    async def environment_exists(self, key: RepoKey, name: str) -> bool: ...
    async def permissions(self, installation: InstallationId, *, renew: bool = False) -> Mapping[str, str]:
        """What our token may do; with `renew` of a token made now."""
        ...

    # writing
    async def remove_label(self, key: IssueKey, label: str) -> bool:
        """True: removed by this call. False: it was not there (404 `Label does not exist`)."""
        ...

    async def add_labels(self, key: IssueKey, labels: Sequence[str]) -> None: ...
    async def show(self, repo: RepoKey, visible: Visible) -> VisibleOutcome: ...
    async def create_comment(self, key: IssueKey, body: str) -> Comment: ...
    async def react(self, key: RepoKey, comment_id: int, content: str) -> None: ...
    async def create_issue(self, key: RepoKey, title: str, body: str, labels: Sequence[str]) -> IssueFacts: ...
    async def edit_issue(
        self,
        key: IssueKey,
        *,
        title: str | None = None,
        body: str | None = None,
        open_: bool | None = None,
        reason: str | None = None,
    ) -> IssueFacts: ...
    async def dispatch(self, key: RepoKey, workflow: str, ref: str, inputs: Mapping[str, str]) -> int | None:
        """The run id; None when GitHub accepted but named no run."""
        ...

    async def cancel_run(self, key: RepoKey, run_id: int, *, force: bool) -> bool:
        """False when GitHub says the run cannot be cancelled (it ended already)."""
        ...

    async def open_pull(self, key: RepoKey, *, head: str, base: str, title: str, body: str) -> PullFacts:
        """Opens a draft."""
        ...

    async def merge_pull(self, key: RepoKey, number: int, *, expected_head: str, method: str, title: str) -> str:
        """The merge commit. Raises Conflict when the head moved or GitHub refuses to merge."""
        ...

    async def mint_write_token(self, key: RepoKey) -> tuple[Secret, datetime]:
        """A token for `contents: write` of this one repository, never cached, with its end of life."""
        ...

    async def revoke(self, token: Secret) -> None: ...
    async def put_file_pull(self, key: RepoKey, branch: str, files: Mapping[str, str], title: str, body: str) -> int:
        """Commits files on a new branch and opens a pull request (set-up); returns its number."""
        ...


__all__ = [
    "Audit",
    "Clock",
    "Comment",
    "DuplicateLiveAttempt",
    "GitHub",
    "Ids",
    "Inbox",
    "Ledger",
    "LockRow",
    "OutboxRow",
    "RepoId",
    "RepoView",
    "Secret",
    "Store",
    "Tree",
    "TreeEntry",
    "Visible",
    "VisibleOutcome",
]
