"""GitHub, in the verbs of our domain.

Promise of an implementation: methods speak of our domain, not of URLs. They raise `bot.errors.GitHubError` kinds only;
a write whose answer was lost raises `GitHubError` with `uncertain=True`, and the caller looks before it repeats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bot.domain.claim_record import ClaimRecord, ClaimRef
from bot.domain.commanded import Spoken
from bot.domain.facts import CiFacts, ContentEdit, IssueFacts, LabelEvent, Presence, PullFacts, RunFacts
from bot.domain.model import InstallationId, IssueKey, Person, RepoKey, Role
from bot.domain.redelivery import Delivery


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
    """`reacted`: somebody gave one of the reactions by which the bot answers."""

    id: int
    node_id: str
    body: str
    author: Person
    created_at: datetime
    updated_at: datetime
    html_url: str
    reacted: bool = False


@dataclass(frozen=True, slots=True)
class Remark:
    """A comment, and who changed its text last; None: nobody since it was written."""

    comment: Comment
    editor: Person | None


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
    async def deliveries(self, after: int, since: datetime) -> list[Delivery]:
        """The attempts to deliver webhooks to us with a larger id than `after`, not older than `since`."""
        ...

    async def redeliver(self, delivery: int) -> None: ...

    # reading
    async def repository(self, key: RepoKey) -> RepoView: ...
    async def head(self, key: RepoKey, branch: str) -> str | None:
        """The SHA of a branch, None when it does not exist or the repository is empty."""
        ...

    async def commits_beyond(self, key: RepoKey, base: str, head: str) -> int:
        """How many commits `head` has that `base` has not; 0 also when they have no common history."""
        ...

    async def tree(self, key: RepoKey, commit: str, path: str, *, recursive: bool) -> Tree | None:
        """The tree at `path` of a commit (empty path: the root), None when there is no such folder."""
        ...

    async def blob(self, key: RepoKey, sha: str) -> bytes: ...
    async def file(self, key: RepoKey, path: str, ref: str) -> tuple[str, bytes] | None:
        """(blob SHA, content) of a file, None when absent. Raises for folders, symlinks and submodules."""
        ...

    async def issue(self, key: IssueKey) -> tuple[Presence, IssueFacts | None]: ...
    async def issues_with_label(
        self, key: RepoKey, label: str, closed_since: datetime | None = None
    ) -> list[IssueFacts]:
        """Open and closed issues with the label; of the closed ones, those changed at or after `closed_since`."""
        ...

    async def issues_by_bot(self, key: RepoKey, since: datetime | None = None) -> list[IssueFacts]: ...
    async def label_events(self, key: IssueKey) -> list[LabelEvent]:
        """All label events, oldest first."""
        ...

    async def content_edits(self, key: IssueKey) -> list[ContentEdit]:
        """Edits of title and body after opening, oldest first, without roles."""
        ...

    async def comment(self, key: RepoKey, comment_id: int) -> Comment | None: ...
    async def comments(self, key: IssueKey, since: datetime | None = None) -> list[Comment]: ...
    async def comments_in(self, key: RepoKey, since: datetime) -> list[Spoken]:
        """Comments on all issues and pull requests that were written or edited at or after `since`, oldest change
        first."""
        ...

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

    # for whoever has lost the ledger
    async def labels_there(self, key: RepoKey) -> frozenset[str]:
        """The names of the labels that the repository has."""
        ...

    async def last_editors(self, key: RepoKey, nodes: Sequence[str]) -> dict[str, Person | None]:
        """By node id, who changed the text of an issue, pull request or comment last; None: nobody since it was
        written."""
        ...

    async def conversations(self, key: RepoKey, nodes: Sequence[str]) -> dict[str, list[Remark]]:
        """By node id of an issue or pull request of this repository, all its comments, oldest first. What cannot be
        read in one piece is left out."""
        ...

    async def histories(self, key: RepoKey, nodes: Sequence[str]) -> dict[str, list[LabelEvent]]:
        """By node id of an issue of this repository, its label events, oldest first; their ids number them. What
        cannot be read in one piece is left out."""
        ...

    async def pulls_of_branches(self, key: RepoKey, branches: Sequence[str]) -> dict[str, list[PullFacts]]:
        """By branch, what `pulls_of_branch` gives. What cannot be read in one piece is left out."""
        ...

    # claim refs
    async def claim_ref(self, key: IssueKey) -> tuple[ClaimRef, ...]:
        """The claim refs of an item: normally none or one."""
        ...

    async def claim_refs(self, key: RepoKey) -> list[ClaimRef]:
        """All claim refs of the repository."""
        ...

    async def publish_claim(self, key: IssueKey, record: ClaimRecord) -> ClaimRef:
        """Make the claim, or say who has the item: we have it only if the ref that comes back holds our claim id.

        Raises when it is not known who has it; asking again then is safe.
        """
        ...

    async def take_over_claim(self, key: IssueKey, record: ClaimRecord, known: ClaimRef) -> ClaimRef | None:
        """Put our claim in the place of the known one; None when that one is not there any more."""
        ...

    async def branches(self, key: RepoKey, prefix: str) -> dict[str, str]:
        """The branches whose names begin like this, with their heads."""
        ...

    async def delete_branch(self, key: RepoKey, branch: str, expected: str) -> bool:
        """Delete a branch that is where it is expected. False: it has moved."""
        ...

    async def release_claim(self, key: RepoKey, known: ClaimRef) -> bool:
        """Delete the claim if it is still the known one. False: somebody else's is in its place."""
        ...
