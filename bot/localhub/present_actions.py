"""JSON of workflows, runs, jobs, artifacts and environments, as GitHub's description requires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.localhub import present, present_checks, present_git
from bot.localhub.actions_model import (
    Artifact,
    Environment,
    Job,
    Run,
    Status,
    Workflow,
)
from bot.localhub.model import Json

if TYPE_CHECKING:
    from bot.localhub.hub import Hub


def workflow(hub: Hub, item: Workflow) -> Json:
    """A `workflow`."""
    api = f"{hub.api_url}/repos/{item.repo.full_name}/actions/workflows/{item.id}"
    web = f"{hub.html_url}/{item.repo.full_name}"
    at = present.time(item.created_at)
    return {
        "id": item.id,
        "node_id": item.node_id,
        "name": item.name,
        "path": item.path,
        "state": item.state.value,
        "created_at": at,
        "updated_at": at,
        "url": api,
        "html_url": f"{web}/blob/{item.repo.default_branch}/{item.path}",
        "badge_url": f"{web}/actions/workflows/{item.path.rsplit('/', 1)[-1]}/badge.svg",
    }


def run(hub: Hub, item: Run) -> Json:
    """A `workflow-run`."""
    root = f"{hub.api_url}/repos/{item.repo.full_name}"
    api = f"{root}/actions/runs/{item.id}"
    commit = hub.git.bare(item.repo).commit(item.head_sha)
    previous = f"{api}/attempts/{item.attempt - 1}" if item.attempt > 1 else None
    return {
        "id": item.id,
        "name": item.file.name if item.file else item.workflow.path,
        "node_id": item.node_id,
        "head_branch": item.head_branch,
        "head_sha": item.head_sha,
        "path": item.workflow.path,
        "display_title": item.title,
        "run_number": item.number,
        "event": item.event.value,
        "status": item.status.value,
        "conclusion": item.conclusion.value if item.conclusion else None,
        "workflow_id": item.workflow.id,
        "check_suite_id": item.suite.id,
        "check_suite_node_id": item.suite.node_id,
        "url": api,
        "html_url": f"{hub.html_url}/{item.repo.full_name}/actions/runs/{item.id}",
        "pull_requests": present_checks.pull_requests(hub, item.repo, item.head_sha),
        "created_at": present.time(item.created_at),
        "updated_at": present.time(item.updated_at),
        "actor": present.simple_user(hub, item.actor),
        "run_attempt": item.attempt,
        "referenced_workflows": [],
        "run_started_at": present.time(item.started_at),
        "triggering_actor": present.simple_user(hub, item.triggering_actor),
        "jobs_url": f"{api}/jobs",
        "logs_url": f"{api}/logs",
        "check_suite_url": f"{root}/check-suites/{item.suite.id}",
        "artifacts_url": f"{api}/artifacts",
        "cancel_url": f"{api}/cancel",
        "rerun_url": f"{api}/rerun",
        "previous_attempt_url": previous,
        "workflow_url": f"{root}/actions/workflows/{item.workflow.id}",
        "head_commit": present_git.simple_commit(commit),
        "repository": present.repository(hub, item.repo),
        "head_repository": present.repository(hub, item.repo),
        "head_repository_id": item.repo.id,
    }


def job(hub: Hub, item: Job) -> Json:
    """A `job`."""
    root = f"{hub.api_url}/repos/{item.run.repo.full_name}"
    taken = item.started_at is not None and item.runner_name is not None
    web = f"{hub.html_url}/{item.run.repo.full_name}/actions/runs/{item.run.id}"
    return {
        "id": item.id,
        "run_id": item.run.id,
        "run_url": f"{root}/actions/runs/{item.run.id}",
        "run_attempt": item.attempt,
        "node_id": item.node_id,
        "head_sha": item.run.head_sha,
        "head_branch": item.run.head_branch,
        "url": f"{root}/actions/jobs/{item.id}",
        "html_url": f"{web}/job/{item.id}",
        # Jobs know no "pending": one that a concurrency group holds back is queued to the API.
        "status": "queued" if item.status is Status.PENDING else item.status.value,
        "conclusion": item.conclusion.value if item.conclusion else None,
        "created_at": present.time(item.created_at),
        "started_at": present.time(item.started_at or item.created_at),
        "completed_at": present.maybe_time(item.completed_at),
        "name": item.name,
        "steps": [
            {
                "name": step.name,
                "status": step.status.value,
                "conclusion": step.conclusion.value if step.conclusion else None,
                "number": step.number,
                "started_at": present.maybe_time(step.started_at),
                "completed_at": present.maybe_time(step.completed_at),
            }
            for step in item.steps
        ],
        "check_run_url": f"{root}/check-runs/{item.check.id}",
        "labels": list(item.spec.runs_on),
        "runner_id": 1 if taken else None,
        "runner_name": item.runner_name if taken else None,
        "runner_group_id": 1 if taken else None,
        "runner_group_name": "GitHub Actions" if taken else None,
        "workflow_name": item.run.file.name if item.run.file else None,
    }


def artifact(hub: Hub, item: Artifact) -> Json:
    """An `artifact`."""
    url = f"{hub.api_url}/repos/{item.run.repo.full_name}/actions/artifacts/{item.id}"
    return {
        "id": item.id,
        "node_id": item.node_id,
        "name": item.name,
        "size_in_bytes": len(item.data),
        "url": url,
        "archive_download_url": f"{url}/zip",
        "expired": item.expires_at <= hub.now(),
        "created_at": present.time(item.created_at),
        "updated_at": present.time(item.created_at),
        "expires_at": present.time(item.expires_at),
        "digest": item.digest,
        "workflow_run": {
            "id": item.run.id,
            "repository_id": item.run.repo.id,
            "head_repository_id": item.run.repo.id,
            "head_branch": item.run.head_branch,
            "head_sha": item.run.head_sha,
        },
    }


def environment(hub: Hub, item: Environment, full_name: str) -> Json:
    """An `environment`."""
    at = present.time(item.created_at)
    rules: list[Json] = []
    policy: Json | None = None
    if item.branches:
        policy = {"protected_branches": False, "custom_branch_policies": True}
        rules.append({"id": item.id, "node_id": item.node_id, "type": "branch_policy"})
    name = item.name
    return {
        "id": item.id,
        "node_id": item.node_id,
        "name": name,
        "url": f"{hub.api_url}/repos/{full_name}/environments/{name}",
        "html_url": f"{hub.html_url}/{full_name}/deployments/activity_log?environments_filter={name}",
        "created_at": at,
        "updated_at": at,
        "protection_rules": rules,
        "deployment_branch_policy": policy,
    }
