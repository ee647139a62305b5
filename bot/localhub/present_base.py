"""JSON objects of accounts and repositories, and how times are written.

Promise: every object has all members that GitHub's OpenAPI description requires; times are UTC
with whole seconds and a `Z`. Pure functions of the records.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from bot.localhub.actor import role_on
from bot.localhub.model import Account, AccountType, Json, Repository, Role

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

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


@lru_cache
def _user_links(api: str) -> Json:
    return {name: api + tail for name, tail in _USER_LINKS.items()}


@lru_cache
def _repo_links(api: str) -> Json:
    return {name: api + tail for name, tail in _REPO_LINKS.items()}


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
    out |= _user_links(api)
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
    out |= _repo_links(api)
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
        # GitHub rounds to kilobytes; what matters is that an empty repository has none.
        "size": 0 if hub.git.bare(repo).empty(repo.default_branch) else 1,
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
