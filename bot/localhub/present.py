"""JSON objects as GitHub's REST API and webhooks show them.

Promise: every object has all members that GitHub's OpenAPI description requires; times are UTC
with whole seconds and a `Z`. Pure functions of the records.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bot.localhub.model import (
    Account,
    App,
    Comment,
    Installation,
    Issue,
    IssueEvent,
    Json,
    Label,
    Reaction,
    Repository,
)
from bot.localhub.present_base import (
    full_repository,
    full_user,
    maybe_time,
    maybe_user,
    repository,
    simple_user,
    time,
)

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

__all__ = [
    "REACTIONS",
    "app",
    "association",
    "comment",
    "comment_url",
    "full_repository",
    "full_user",
    "installation",
    "issue",
    "issue_event",
    "issue_html_url",
    "issue_url",
    "label",
    "maybe_time",
    "maybe_user",
    "reaction",
    "reactions",
    "relations",
    "repository",
    "short_repositories",
    "simple_user",
    "time",
]

REACTIONS = ("+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes")
"""The closed set of reaction contents."""


def label(hub: Hub, repo: Repository, item: Label) -> Json:
    """A `label`."""
    return {
        "id": item.id,
        "node_id": item.node_id,
        "url": f"{hub.api_url}/repos/{repo.full_name}/labels/{item.name}",
        "name": item.name,
        "color": item.color,
        "default": item.default,
        "description": item.description,
    }


def reactions(url: str, items: Sequence[Reaction]) -> Json:
    """A `reaction-rollup`."""
    counts: Json = {name: sum(1 for x in items if x.content == name) for name in REACTIONS}
    return {"url": f"{url}/reactions", "total_count": len(items), **counts}


def reaction(hub: Hub, item: Reaction) -> Json:
    """A `reaction`."""
    return {
        "id": item.id,
        "node_id": item.node_id,
        "user": simple_user(hub, item.user),
        "content": item.content,
        "created_at": time(item.created_at),
    }


def association(repo: Repository, account: Account) -> str:
    """`author_association`; never good enough to authorise anybody."""
    if account.id == repo.owner.id:
        return "OWNER"
    if account.id in repo.owner.members:
        return "MEMBER"
    if account.id in repo.collaborators:
        return "COLLABORATOR"
    return "NONE"


def issue_url(hub: Hub, item: Issue) -> str:
    """The API address of an issue."""
    return f"{hub.api_url}/repos/{item.repo.full_name}/issues/{item.number}"


def issue_html_url(hub: Hub, item: Issue) -> str:
    """The page of an issue or pull request."""
    kind = "pull" if item.is_pull else "issues"
    return f"{hub.html_url}/{item.repo.full_name}/{kind}/{item.number}"


def issue(hub: Hub, item: Issue) -> Json:
    """An `issue`; for a pull request with the `pull_request` member."""
    url, web = issue_url(hub, item), issue_html_url(hub, item)
    out: Json = {
        "url": url,
        "repository_url": f"{hub.api_url}/repos/{item.repo.full_name}",
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "html_url": web,
        "id": item.id,
        "node_id": item.node_id,
        "number": item.number,
        "title": item.title,
        "user": simple_user(hub, item.user),
        "labels": [label(hub, item.repo, x) for x in item.labels],
        "state": item.state,
        "locked": item.locked,
        "assignee": maybe_user(hub, item.assignees[0] if item.assignees else None),
        "assignees": [simple_user(hub, x) for x in item.assignees],
        "milestone": None,
        "comments": len(item.comments),
        "created_at": time(item.created_at),
        "updated_at": time(item.updated_at),
        "closed_at": maybe_time(item.closed_at),
        "author_association": association(item.repo, item.user),
        "active_lock_reason": item.lock_reason,
        "body": item.body,
        "closed_by": maybe_user(hub, item.closed_by),
        "reactions": reactions(url, item.reactions),
        "timeline_url": f"{url}/timeline",
        "performed_via_github_app": None if item.app is None else app(hub, item.app),
        "state_reason": item.state_reason,
    }
    if not item.is_pull:
        return out | relations(item)
    if item.is_pull:
        pull = f"{hub.api_url}/repos/{item.repo.full_name}/pulls/{item.number}"
        out["draft"] = item.draft
        out["pull_request"] = {
            "url": pull,
            "html_url": web,
            "diff_url": f"{web}.diff",
            "patch_url": f"{web}.patch",
            "merged_at": maybe_time(item.merged_at),
        }
    return out


def relations(item: Issue) -> Json:
    """The two summaries an issue carries: what blocks it, what it consists of."""
    done = sum(1 for x in item.sub_issues if x.state == "closed")
    total = len(item.sub_issues)
    return {
        "issue_dependencies_summary": {
            "blocked_by": sum(1 for x in item.blocked_by if x.state == "open"),
            "blocking": sum(1 for x in item.blocking if x.state == "open"),
            "total_blocked_by": len(item.blocked_by),
            "total_blocking": len(item.blocking),
        },
        "sub_issues_summary": {
            "total": total,
            "completed": done,
            "percent_completed": 100 * done // total if total else 0,
        },
    }


def comment_url(hub: Hub, item: Comment) -> str:
    """The API address of a comment."""
    return f"{hub.api_url}/repos/{item.issue.repo.full_name}/issues/comments/{item.id}"


def comment(hub: Hub, item: Comment) -> Json:
    """An `issue-comment`."""
    url = comment_url(hub, item)
    return {
        "url": url,
        "html_url": f"{issue_html_url(hub, item.issue)}#issuecomment-{item.id}",
        "issue_url": issue_url(hub, item.issue),
        "id": item.id,
        "node_id": item.node_id,
        "user": simple_user(hub, item.user),
        "created_at": time(item.created_at),
        "updated_at": time(item.updated_at),
        "author_association": association(item.issue.repo, item.user),
        "body": item.body,
        "reactions": reactions(url, item.reactions),
        "performed_via_github_app": None if item.app is None else app(hub, item.app),
    }


def issue_event(hub: Hub, item: Issue, event: IssueEvent) -> Json:
    """An event of `GET issues/{n}/events`."""
    return {
        "id": event.id,
        "node_id": event.node_id,
        "url": f"{hub.api_url}/repos/{item.repo.full_name}/issues/events/{event.id}",
        "actor": simple_user(hub, event.actor),
        "event": event.event,
        "commit_id": event.commit_id,
        "commit_url": None
        if event.commit_id is None
        else f"{hub.api_url}/repos/{item.repo.full_name}/commits/{event.commit_id}",
        "created_at": time(event.created_at),
        "performed_via_github_app": None if event.app is None else app(hub, event.app),
        **event.data,
    }


def app(hub: Hub, item: App) -> Json:
    """An `integration`, without anything secret."""
    at = time(item.created_at)
    return {
        "id": item.id,
        "client_id": item.client_id,
        "slug": item.slug,
        "node_id": item.node_id,
        "owner": simple_user(hub, item.owner),
        "name": item.name,
        "description": "",
        "external_url": f"{hub.html_url}/apps/{item.slug}",
        "html_url": f"{hub.html_url}/apps/{item.slug}",
        "created_at": at,
        "updated_at": at,
        "permissions": dict(item.permissions),
        "events": list(item.events),
    }


def installation(hub: Hub, item: Installation) -> Json:
    """An `installation`."""
    return {
        "id": item.id,
        "node_id": item.node_id,
        "account": simple_user(hub, item.account),
        "repository_selection": "selected",
        "access_tokens_url": f"{hub.api_url}/app/installations/{item.id}/access_tokens",
        "repositories_url": f"{hub.api_url}/installation/repositories",
        "html_url": f"{hub.html_url}/settings/installations/{item.id}",
        "app_id": item.app.id,
        "client_id": item.app.client_id,
        "app_slug": item.app.slug,
        "target_id": item.account.id,
        "target_type": item.account.type.value,
        "permissions": dict(item.permissions),
        "events": list(item.events),
        "created_at": time(item.created_at),
        "updated_at": time(item.updated_at),
        "single_file_name": None,
        "has_multiple_single_files": False,
        "single_file_paths": [],
        "suspended_by": maybe_user(hub, item.suspended_by),
        "suspended_at": maybe_time(item.suspended_at),
    }


def short_repositories(repos: Iterable[Repository]) -> list[Json]:
    """The five members that installation webhooks list of each repository."""
    return [
        {
            "id": x.id,
            "node_id": x.node_id,
            "name": x.name,
            "full_name": x.full_name,
            "private": x.private,
        }
        for x in repos
    ]
