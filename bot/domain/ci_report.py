"""A report of an outside CI, as GitHub or as GitLab words it: which repository, which commit, which branch.

Promise: only what points at something is read. What a report says about success is not believed: it is a reason to
look, and what GitHub shows then counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
MAX_BRANCH = 250
"""Characters of a branch's name; git allows about that many."""


@dataclass(frozen=True, slots=True)
class CiReport:
    """`full_name` is owner/name; `sha` or `branch` may be unknown, not both."""

    full_name: str
    sha: str | None
    branch: str | None


def read_report(data: object) -> CiReport | None:
    """What the report points at; None when it has neither form."""
    if not isinstance(data, Mapping):
        return None
    project = data.get("project")
    found = _gitlab(data, project) if isinstance(project, Mapping) else _github(data)
    return found if found is not None and (found.sha or found.branch) else None


def _github(data: Mapping[str, Any]) -> CiReport | None:
    """A commit status, or an event with a `workflow_run`, `check_suite` or `check_run` in it."""
    repository = data.get("repository")
    name = repository.get("full_name") if isinstance(repository, Mapping) else None
    if not isinstance(name, str):
        return None
    about = next((data[key] for key in ("workflow_run", "check_suite", "check_run") if key in data), data)
    if not isinstance(about, Mapping):
        return None
    branches = data.get("branches")
    first = branches[0] if isinstance(branches, list) and branches else None
    branch = about.get("head_branch") or (first.get("name") if isinstance(first, Mapping) else None)
    return CiReport(name, _sha(about.get("head_sha") or about.get("sha")), _branch(branch))


def _gitlab(data: Mapping[str, Any], project: Mapping[str, Any]) -> CiReport | None:
    """A pipeline or build event."""
    name = project.get("path_with_namespace")
    if not isinstance(name, str):
        return None
    about = data.get("object_attributes")
    about = about if isinstance(about, Mapping) else data
    return CiReport(name, _sha(about.get("sha")), _branch(about.get("ref")))


def _sha(value: object) -> str | None:
    return value if isinstance(value, str) and _SHA.fullmatch(value) else None


def _branch(value: object) -> str | None:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_BRANCH or not value.isprintable():
        return None
    return value.removeprefix("refs/heads/")
