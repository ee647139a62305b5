"""JSON of pull requests and reviews, with every member GitHub's description requires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.localhub import present
from bot.localhub.model import Json, Repository

if TYPE_CHECKING:
    from bot.localhub.hub import Hub
    from bot.localhub.pulls import Pull, Review


def _side(hub: Hub, repo: Repository, ref: str, sha: str) -> Json:
    return {
        "label": f"{repo.owner.login}:{ref}",
        "ref": ref,
        "sha": sha,
        "user": present.simple_user(hub, repo.owner),
        "repo": present.repository(hub, repo),
    }


def simple(hub: Hub, item: Pull) -> Json:
    """A `pull-request-simple`, as lists show it."""
    issue, repo = item.issue, item.repo
    api = f"{hub.api_url}/repos/{repo.full_name}"
    url, web = f"{api}/pulls/{item.number}", present.issue_html_url(hub, issue)
    issue_url = f"{api}/issues/{item.number}"
    links = {
        "self": url,
        "html": web,
        "issue": issue_url,
        "comments": f"{issue_url}/comments",
        "review_comments": f"{url}/comments",
        "review_comment": f"{api}/pulls/comments{{/number}}",
        "commits": f"{url}/commits",
        "statuses": f"{api}/statuses/{item.head_sha}",
    }
    sha = item.merge_commit_sha if item.merged else item.test_merge_sha
    return {
        "url": url,
        "id": issue.id,
        "node_id": issue.node_id,
        "html_url": web,
        "diff_url": f"{web}.diff",
        "patch_url": f"{web}.patch",
        "issue_url": issue_url,
        "commits_url": links["commits"],
        "review_comments_url": links["review_comments"],
        "review_comment_url": links["review_comment"],
        "comments_url": links["comments"],
        "statuses_url": links["statuses"],
        "number": item.number,
        "state": issue.state,
        "locked": issue.locked,
        "active_lock_reason": issue.lock_reason,
        "title": issue.title,
        "user": present.simple_user(hub, issue.user),
        "body": issue.body,
        "labels": [present.label(hub, repo, x) for x in issue.labels],
        "milestone": None,
        "created_at": present.time(issue.created_at),
        "updated_at": present.time(issue.updated_at),
        "closed_at": present.maybe_time(issue.closed_at),
        "merged_at": present.maybe_time(issue.merged_at),
        "merge_commit_sha": sha,
        "assignee": present.maybe_user(hub, issue.assignees[0] if issue.assignees else None),
        "assignees": [present.simple_user(hub, x) for x in issue.assignees],
        "requested_reviewers": [present.simple_user(hub, x) for x in item.requested],
        "requested_teams": [],
        "head": _side(hub, item.head_repo, item.head_ref, item.head_sha),
        "base": _side(hub, repo, item.base_ref, item.base_sha),
        "_links": {name: {"href": href} for name, href in links.items()},
        "author_association": present.association(repo, issue.user),
        "auto_merge": None,
        "draft": issue.draft,
    }


def pull(hub: Hub, item: Pull) -> Json:
    """A `pull-request`."""
    files = hub.pulls.files(item)
    return simple(hub, item) | {
        "merged": item.merged,
        "mergeable": item.mergeable,
        "rebaseable": item.mergeable,
        "mergeable_state": hub.pulls.merge_state(item),
        "merged_by": present.maybe_user(hub, item.merged_by),
        "comments": len(item.issue.comments),
        "review_comments": 0,
        "maintainer_can_modify": False,
        "commits": len(hub.pulls.commits(item)),
        "additions": sum(f.additions for f in files),
        "deletions": sum(f.deletions for f in files),
        "changed_files": len(files),
    }


def review(hub: Hub, item: Pull, given: Review) -> Json:
    """A `pull-request-review`."""
    url = f"{hub.api_url}/repos/{item.repo.full_name}/pulls/{item.number}"
    web = f"{present.issue_html_url(hub, item.issue)}#pullrequestreview-{given.id}"
    return {
        "id": given.id,
        "node_id": given.node_id,
        "user": present.simple_user(hub, given.user),
        "body": given.body,
        "state": given.state,
        "html_url": web,
        "pull_request_url": url,
        "_links": {"html": {"href": web}, "pull_request": {"href": url}},
        "submitted_at": present.time(given.submitted_at),
        "commit_id": given.commit_id,
        "author_association": present.association(item.repo, given.user),
    }
