"""JSON objects as GitHub's REST API and webhooks show them.

Promise: every object has all members that GitHub's OpenAPI description requires; times are UTC
with whole seconds and a `Z`. Pure functions of the records.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from bot.localhub.actor import role_on
from bot.localhub.model import (
    Account,
    AccountType,
    App,
    Comment,
    Installation,
    Issue,
    IssueEvent,
    Json,
    Label,
    Reaction,
    Repository,
    Role,
)

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

REACTIONS = ("+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes")
"""The closed set of reaction contents."""

_USER_LINKS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}
_REPO_LINKS = {
    "forks_url": "/forks",
    "keys_url": "/keys{/key_id}",
    "collaborators_url": "/collaborators{/collaborator}",
    "teams_url": "/teams",
    "hooks_url": "/hooks",
    "issue_events_url": "/issues/events{/number}",
    "events_url": "/events",
    "assignees_url": "/assignees{/user}",
    "branches_url": "/branches{/branch}",
    "tags_url": "/tags",
    "blobs_url": "/git/blobs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "trees_url": "/git/trees{/sha}",
    "statuses_url": "/statuses/{sha}",
    "languages_url": "/languages",
    "stargazers_url": "/stargazers",
    "contributors_url": "/contributors",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "commits_url": "/commits{/sha}",
    "git_commits_url": "/git/commits{/sha}",
    "comments_url": "/comments{/number}",
    "issue_comment_url": "/issues/comments{/number}",
    "contents_url": "/contents/{+path}",
    "compare_url": "/compare/{base}...{head}",
    "merges_url": "/merges",
    "archive_url": "/{archive_format}{/ref}",
    "downloads_url": "/downloads",
    "issues_url": "/issues{/number}",
    "pulls_url": "/pulls{/number}",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "labels_url": "/labels{/name}",
    "releases_url": "/releases{/id}",
    "deployments_url": "/deployments",
}


def time(moment: datetime) -> str:
    """`2026-11-20T23:55:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def maybe_time(moment: datetime | None) -> str | None:
    """The time, or null."""
    return None if moment is None else time(moment)


def simple_user(hub: Hub, account: Account) -> Json:
    """A `simple-user`."""
    api = f"{hub.api_url}/users/{account.login}"
    web = f"{hub.html_url}/{account.login}"
    if account.type is AccountType.BOT:
        web = f"{hub.html_url}/apps/{account.login.removesuffix('[bot]')}"
    out: Json = {
        "login": account.login,
        "id": account.id,
        "node_id": account.node_id,
        "avatar_url": f"{hub.html_url}/_hub/avatar/{account.id}.svg",
        "gravatar_id": "",
        "url": api,
        "html_url": web,
    }
    out |= {name: api + tail for name, tail in _USER_LINKS.items()}
    return out | {"type": account.type.value, "user_view_type": "public", "site_admin": False}


def maybe_user(hub: Hub, account: Account | None) -> Json | None:
    """The user, or null."""
    return None if account is None else simple_user(hub, account)


def full_user(hub: Hub, account: Account) -> Json:
    """A `public-user`, as `GET /users/{login}` answers."""
    at = time(account.created_at)
    return simple_user(hub, account) | {
        "name": account.name,
        "company": None,
        "blog": "",
        "location": None,
        "email": None,
        "hireable": None,
        "bio": None,
        "twitter_username": None,
        "public_repos": 0,
        "public_gists": 0,
        "followers": 0,
        "following": 0,
        "created_at": at,
        "updated_at": at,
    }


def repository(hub: Hub, repo: Repository, *, viewer: Account | None = None) -> Json:
    """A `full-repository`; a superset of the shorter forms, so it serves for all of them."""
    api = f"{hub.api_url}/repos/{repo.full_name}"
    web = f"{hub.html_url}/{repo.full_name}"
    out: Json = {
        "id": repo.id,
        "node_id": repo.node_id,
        "name": repo.name,
        "full_name": repo.full_name,
        "private": repo.private,
        "owner": simple_user(hub, repo.owner),
        "html_url": web,
        "description": repo.description,
        "fork": False,
        "url": api,
    }
    out |= {name: api + tail for name, tail in _REPO_LINKS.items()}
    open_issues = sum(1 for x in repo.issues.values() if x.state == "open" and not x.deleted)
    out |= {
        "created_at": time(repo.created_at),
        "updated_at": time(repo.updated_at),
        "pushed_at": time(repo.pushed_at),
        "git_url": f"git://{web.split('://', 1)[1]}.git",
        "ssh_url": f"git@{web.split('://', 1)[1].replace('/', ':', 1)}.git",
        "clone_url": f"{web}.git",
        "svn_url": web,
        "homepage": None,
        "size": 1,
        "stargazers_count": 0,
        "watchers_count": 0,
        "language": None,
        "has_issues": repo.has_issues,
        "has_projects": True,
        "has_downloads": True,
        "has_wiki": False,
        "has_pages": False,
        "has_discussions": False,
        "forks_count": 0,
        "mirror_url": None,
        "archived": repo.archived,
        "disabled": False,
        "open_issues_count": open_issues,
        "license": None,
        "allow_forking": True,
        "is_template": False,
        "web_commit_signoff_required": False,
        "topics": [],
        "visibility": "private" if repo.private else "public",
        "forks": 0,
        "open_issues": open_issues,
        "watchers": 0,
        "default_branch": repo.default_branch,
    }
    if viewer is not None:
        role = role_on(repo, viewer)
        out["permissions"] = {
            "admin": role >= Role.ADMIN,
            "maintain": role >= Role.MAINTAIN,
            "push": role >= Role.WRITE,
            "triage": role >= Role.TRIAGE,
            "pull": role >= Role.READ,
        }
    return out


def full_repository(hub: Hub, repo: Repository, *, viewer: Account | None = None) -> Json:
    """What `GET /repos/{owner}/{repo}` adds: counts and merge settings."""
    return repository(hub, repo, viewer=viewer) | {
        "network_count": 0,
        "subscribers_count": 0,
        "temp_clone_token": None,
        "allow_merge_commit": repo.allow_merge_commit,
        "allow_squash_merge": repo.allow_squash_merge,
        "allow_rebase_merge": repo.allow_rebase_merge,
        "allow_auto_merge": False,
        "allow_update_branch": True,
        "delete_branch_on_merge": repo.delete_branch_on_merge,
    }


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
