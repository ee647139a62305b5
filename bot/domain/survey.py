"""What a look at a repository tells: whether it is set up for work, which policy is in force, what to tell people.

Pure. The checks before the first claim: nothing is started in a repository in which the first run could only fail,
and what is missing is named with its remedy. An invalid policy file keeps the last good one and is reported once per
content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bot.domain.attempting import RUN_WORKFLOW
from bot.domain.model import Problem
from bot.domain.policy import parse_policy
from bot.domain.repository import RepoRecord

ENVIRONMENTS = ("tgs-agent", "tgs-publish")
"""Environments that the workflow's jobs name; they keep the model credential and the publish step apart."""

NEEDED_PERMISSIONS = ("actions", "contents", "issues", "pull_requests")
"""Permissions without which the loop cannot be closed; each must be `write`."""

CHECK_AGAIN = timedelta(minutes=10)
"""No webhook tells of a new environment or a re-enabled workflow; a failed check is repeated after this long."""


@dataclass(frozen=True, slots=True)
class RepoChecks:
    """What was read for the checks. `workflow`: its state, None when GitHub knows no such workflow."""

    empty: bool
    workflow: str | None
    environments: frozenset[str]
    permissions: Mapping[str, str]


def check(checks: RepoChecks, repo: RepoRecord, now: datetime) -> RepoRecord:
    """The repository with the outcome of the checks."""
    path = f".github/workflows/{RUN_WORKFLOW}"
    problems = [
        Problem(
            "config.permission",
            f"the App lacks the permission `{name}: write`",
            "An owner of the account accepts it under Settings → GitHub Apps → Configure.",
        )
        for name in NEEDED_PERMISSIONS
        if checks.permissions.get(name) != "write"
    ]
    if checks.empty:
        problems.append(Problem("config.empty", "the repository is empty", "Push a first commit."))
    elif checks.workflow is None:
        problems.append(
            Problem(
                "config.workflow_missing",
                f"`{path}` is not on `{repo.default_branch}`",
                "Run `tgs init` in a checkout, and merge the files it writes.",
            )
        )
    elif checks.workflow != "active":
        problems.append(
            Problem(
                "config.workflow_disabled",
                f"the workflow `{path}` is {checks.workflow.replace('_', ' ')}",
                "Enable it on the Actions page of the repository.",
            )
        )
    if not checks.empty:
        problems.extend(
            Problem(
                "config.environment_missing",
                f"the environment `{name}` does not exist",
                "Create it under Settings → Environments"
                + (", with the model credential as its secret." if name == "tgs-agent" else "."),
            )
            for name in ENVIRONMENTS
            if name not in checks.environments
        )
    return replace(
        repo,
        preflight_ok=not problems,
        preflight_problems=tuple(problems),
        preflight_at=now,
        preflight_head=repo.head_sha,
    )


def checks_due(repo: RepoRecord, head: str | None, now: datetime) -> bool:
    """Whether the checks must be made (again)."""
    if repo.preflight_at is None or repo.preflight_head != head:
        return True
    return not repo.preflight_ok and now >= repo.preflight_at + CHECK_AGAIN


def take_policy(repo: RepoRecord, file: tuple[str, str] | None) -> RepoRecord:
    """The repository with the policy file of its default branch taken over, if it is usable.

    `file` is (blob SHA, text), None when there is none: then the defaults are in force and nothing is mirrored.
    """
    if file is None:
        return replace(
            repo, policy_sha=None, policy_text=None, policy_hash="", policy_error_sha=None, policy_problems=()
        )
    sha, text = file
    if sha in {repo.policy_sha, repo.policy_error_sha}:
        return repo
    result = parse_policy(text)
    if result.policy is None:
        return replace(repo, policy_error_sha=sha, policy_problems=result.problems)
    return replace(
        repo,
        policy_sha=sha,
        policy_text=text,
        policy_hash=result.policy.hash,
        policy_error_sha=None,
        policy_problems=result.warnings,
    )
