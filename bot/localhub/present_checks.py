"""JSON of check runs, check suites and commit statuses, as GitHub's description requires them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.localhub import present, present_git
from bot.localhub.model import Json, Repository

if TYPE_CHECKING:
    from bot.localhub.checks import CheckRun, CheckSuite, CommitStatus
    from bot.localhub.hub import Hub


def _pulls(hub: Hub, repo: Repository, sha: str) -> list[Json]:
    rows: list[Json] = []
    for pull in hub.pulls.all(repo):
        if pull.head_sha == sha and pull.issue.state == "open":
            url = f"{hub.api_url}/repos/{repo.full_name}"
            short = {"id": repo.id, "url": url, "name": repo.name}
            rows.append(
                {
                    "id": pull.issue.id,
                    "number": pull.number,
                    "url": f"{url}/pulls/{pull.number}",
                    "head": {"ref": pull.head_ref, "sha": pull.head_sha, "repo": short},
                    "base": {"ref": pull.base_ref, "sha": pull.base_sha, "repo": short},
                }
            )
    return rows


def pull_requests(hub: Hub, repo: Repository, sha: str) -> list[Json]:
    """The `pull_requests` member of runs and suites."""
    return _pulls(hub, repo, sha)


def run(hub: Hub, item: CheckRun) -> Json:
    """A `check-run`."""
    url = f"{hub.api_url}/repos/{item.repo.full_name}/check-runs/{item.id}"
    page = f"{hub.html_url}/{item.repo.full_name}/runs/{item.id}"
    return {
        "id": item.id,
        "name": item.name,
        "node_id": item.node_id,
        "head_sha": item.suite.head_sha,
        "external_id": item.external_id,
        "url": url,
        "html_url": page,
        "details_url": item.details_url or page,
        "status": item.status,
        "conclusion": item.conclusion,
        "started_at": present.maybe_time(item.started_at),
        "completed_at": present.maybe_time(item.completed_at),
        "output": {
            "title": item.title,
            "summary": item.summary,
            "text": item.text,
            "annotations_count": len(item.annotations),
            "annotations_url": f"{url}/annotations",
        },
        "check_suite": suite_short(hub, item.suite),
        "app": present.app(hub, item.suite.app),
        "pull_requests": _pulls(hub, item.repo, item.suite.head_sha),
        "actions": item.actions,
    }


def suite_short(hub: Hub, item: CheckSuite) -> Json:
    """The suite inside a check run; webhooks need more of it than REST does."""
    return {
        "id": item.id,
        "node_id": item.node_id,
        "head_branch": item.head_branch,
        "head_sha": item.head_sha,
        "status": item.status,
        "conclusion": item.conclusion,
        "url": f"{hub.api_url}/repos/{item.repo.full_name}/check-suites/{item.id}",
        "before": item.before,
        "after": item.head_sha,
        "pull_requests": _pulls(hub, item.repo, item.head_sha),
        "app": present.app(hub, item.app),
        "created_at": present.time(item.created_at),
        "updated_at": present.time(item.updated_at),
    }


def suite(hub: Hub, item: CheckSuite) -> Json:
    """A `check-suite`."""
    commit = hub.git.bare(item.repo).commit(item.head_sha)
    runs = [r for r in hub.checks.runs.values() if r.suite is item]
    out = suite_short(hub, item)
    return out | {
        "repository": present.repository(hub, item.repo),
        "latest_check_runs_count": len(runs),
        "check_runs_url": f"{out['url']}/check-runs",
        "rerequestable": True,
        "runs_rerequestable": True,
        "head_commit": present_git.simple_commit(commit),
    }


def status(hub: Hub, item: CommitStatus) -> Json:
    """A `status`."""
    creator = present.simple_user(hub, item.creator)
    return {
        "url": f"{hub.api_url}/repos/{item.repo.full_name}/statuses/{item.sha}",
        "avatar_url": creator["avatar_url"],
        "id": item.id,
        "node_id": item.node_id,
        "state": item.state,
        "description": item.description,
        "target_url": item.target_url,
        "context": item.context,
        "created_at": present.time(item.created_at),
        "updated_at": present.time(item.created_at),
        "creator": creator,
    }


def status_payload(hub: Hub, item: CommitStatus) -> Json:
    """The members of a `status` webhook."""
    bare = hub.git.bare(item.repo)
    root = f"{hub.api_url}/repos/{item.repo.full_name}"
    branches = [
        {
            "name": name[11:],
            "commit": {"sha": sha, "url": f"{root}/commits/{sha}"},
            "protected": hub.rules.of(item.repo, name[11:]) is not None,
        }
        for name, sha in bare.refs("refs/heads/").items()
        if sha == item.sha
    ]
    return {
        "id": item.id,
        "sha": item.sha,
        "name": item.repo.full_name,
        "target_url": item.target_url,
        "avatar_url": None,
        "context": item.context,
        "description": item.description,
        "state": item.state,
        "commit": present_git.commit(hub, item.repo, bare.commit(item.sha)),
        "branches": branches,
        "created_at": present.time(item.created_at),
        "updated_at": present.time(item.created_at),
    }
