"""The fields of GitHub's answers that we use, and nothing else.

Promise: an answer with more fields, or with nulls where GitHub documents them, is read; a missing field that a
decision needs is an error that names its place.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from bot.domain.model import Person

GHOST = Person(10137, "ghost")
"""The account GitHub shows in place of a deleted one (`user` is null in the API)."""


class Shape(msgspec.Struct):
    """Base of all shapes: unknown fields are ignored."""


class UserShape(Shape):
    id: int
    login: str
    type: str = "User"
    node_id: str = ""


class LabelShape(Shape):
    name: str
    node_id: str = ""


class InstallationShape(Shape):
    id: int
    account: UserShape | None = None
    permissions: dict[str, str] = {}
    suspended_at: datetime | None = None


class TokenShape(Shape):
    token: str
    expires_at: datetime
    permissions: dict[str, str] = {}


class AppShape(Shape):
    id: int
    slug: str
    owner: UserShape


class DeliveryShape(Shape):
    id: int
    guid: str
    delivered_at: datetime
    status: str
    status_code: int


class RepoShape(Shape):
    id: int
    node_id: str
    name: str
    full_name: str
    owner: UserShape
    html_url: str
    default_branch: str = "main"
    private: bool = False
    archived: bool = False
    size: int = 0


class RepoIdShape(Shape):
    id: int


class ObjectShape(Shape):
    sha: str


class RefShape(Shape):
    ref: str
    object: ObjectShape


class ComparisonShape(Shape):
    ahead_by: int


class TreeEntryShape(Shape):
    path: str
    mode: str
    type: str
    sha: str
    size: int | None = None


class TreeShape(Shape):
    sha: str
    tree: list[TreeEntryShape] = []
    truncated: bool = False


class CommitShape(Shape):
    sha: str
    tree: ObjectShape


class BlobShape(Shape):
    sha: str
    content: str
    encoding: str
    size: int = 0


class ContentShape(Shape):
    type: str
    path: str
    sha: str
    size: int = 0
    encoding: str = "none"
    content: str = ""


class IssueShape(Shape):
    number: int
    node_id: str
    title: str
    state: str
    created_at: datetime
    updated_at: datetime
    user: UserShape | None = None
    body: str | None = None
    state_reason: str | None = None
    labels: list[LabelShape | str] = []
    assignees: list[UserShape] | None = None
    locked: bool = False
    comments: int = 0
    pull_request: dict[str, Any] | None = None


class EventShape(Shape):
    id: int
    event: str
    created_at: datetime
    actor: UserShape | None = None
    label: LabelShape | None = None


class CommentShape(Shape):
    id: int
    node_id: str
    created_at: datetime
    updated_at: datetime
    html_url: str
    issue_url: str = ""
    reactions: dict[str, int | str] | None = None
    body: str | None = None
    user: UserShape | None = None


class PermissionShape(Shape):
    permission: str
    role_name: str = ""
    user: UserShape | None = None


class RunShape(Shape):
    id: int
    status: str | None
    conclusion: str | None
    html_url: str
    head_sha: str
    created_at: datetime
    run_attempt: int = 1
    display_title: str = ""
    repository: RepoIdShape | None = None


class JobShape(Shape):
    id: int
    name: str
    status: str
    conclusion: str | None = None


class DispatchShape(Shape):
    workflow_run_id: int


class WorkflowShape(Shape):
    id: int
    state: str


class PullSideShape(Shape):
    ref: str
    sha: str
    repo: RepoIdShape | None = None


class PullShape(Shape):
    number: int
    node_id: str
    state: str
    created_at: datetime
    html_url: str
    head: PullSideShape
    base: PullSideShape
    user: UserShape | None = None
    body: str | None = None
    draft: bool = False
    merged: bool | None = None
    merged_at: datetime | None = None
    merged_by: UserShape | None = None
    mergeable: bool | None = None
    mergeable_state: str = "unknown"
    merge_commit_sha: str | None = None


class MergeShape(Shape):
    merged: bool
    sha: str
    message: str = ""


class CheckRunShape(Shape):
    id: int
    name: str
    status: str
    conclusion: str | None = None
    html_url: str | None = None
    details_url: str | None = None
    app: RepoIdShape | None = None


class StatusShape(Shape):
    context: str
    state: str
    target_url: str | None = None


def person(user: UserShape | None) -> Person:
    """The account, or GitHub's ghost when it was deleted."""
    return GHOST if user is None else Person(user.id, user.login, user.type == "Bot")
