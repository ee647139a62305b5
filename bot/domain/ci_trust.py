"""Whether pushing a result lets the repository's own workflows hand secrets, or a right to write, to unreviewed code.

Promise: a workflow counts as harmless only if its text shows it. What cannot be read, an unknown trigger and an
unusual filter all count as risky, because the mistake in that direction costs a look and the other one a secret.

What it does not see: secrets that an action fetches from elsewhere with no secret of GitHub's, and self-hosted machines
that hold something themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, assert_never

from bot.domain.policy_model import CiTrust
from bot.domain.yaml_source import Value, YamlText, read_yaml

WORKFLOWS_DIR: Final = ".github/workflows"
MAX_WORKFLOW: Final = 200_000
"""Characters of a workflow file that are read; GitHub's own limit for one is of that order."""

OURS: Final = frozenset({"tgs-server-run.yml", "tgs-server-scan.yml"})
"""Our own workflow files: they are not started by our branches, or run no code of them."""

_APART: Final = frozenset(
    {
        "branch_protection_rule",
        "discussion",
        "discussion_comment",
        "fork",
        "gollum",
        "issue_comment",
        "issues",
        "label",
        "milestone",
        "public",
        "release",
        "repository_dispatch",
        "schedule",
        "watch",
        "workflow_call",
        "workflow_dispatch",
    }
)
"""Triggers that neither a push of a branch nor its pull request sets off. What is called has its caller's."""

_SECRETS: Final = re.compile(r"\bsecrets\b(?!\s*\.\s*GITHUB_TOKEN\b)", re.IGNORECASE)
"""Any mention of secrets except the run's own token, whose rights the permissions say."""

_UNUSUAL: Final = re.compile(r"[?+\[\]!\\]")
"""Signs in a filter that are not evaluated here."""


def look_wanted(trust: CiTrust, *, outsider_text: bool) -> bool:
    """Whether the policy asks for a look at a result before it is pushed, where workflows are risky."""
    match trust:
        case CiTrust.ASK:
            return True
        case CiTrust.OUTSIDERS:
            return outsider_text
        case CiTrust.AUTO:
            return False
        case _:
            assert_never(trust)


def is_workflow(path: str) -> bool:
    """Whether a file of that folder is a workflow of the repository's own."""
    return "/" not in path and path.endswith((".yml", ".yaml")) and path not in OURS


def risky(text: str, branch: str) -> bool:
    """Whether a push of this branch, or its pull request, may start the workflow with secrets or a right to write."""
    found = read_yaml(text, max_chars=MAX_WORKFLOW)
    if not isinstance(found, YamlText) or not isinstance(found.value, Mapping):
        return True
    workflow = found.value
    return _starts(workflow.get("on"), branch) and (_mentions_secrets(workflow) or _may_write(workflow))


# --- triggers ---------------------------------------------------------------------------------------


def _starts(on: Value, branch: str) -> bool:
    match on:
        case str():
            return on not in _APART
        case tuple():
            return any(not isinstance(name, str) or name not in _APART for name in on)
        case Mapping():
            return any(_event(name, given, branch) for name, given in on.items())
        case _:
            return True


def _event(name: str, given: Value, branch: str) -> bool:
    if name in _APART:
        return False
    if name != "push" or not isinstance(given, Mapping):
        return True
    if "branches" in given:
        return any(_may_match(pattern, branch) for pattern in _patterns(given["branches"]))
    if "branches-ignore" in given:
        return not any(_surely_matches(pattern, branch) for pattern in _patterns(given["branches-ignore"]))
    # With a filter for tags alone, branches start nothing.
    return not ("tags" in given or "tags-ignore" in given)


def _patterns(value: Value) -> tuple[Value, ...]:
    return value if isinstance(value, tuple) else (value,)


def _may_match(pattern: Value, branch: str) -> bool:
    if isinstance(pattern, str) and pattern.startswith("!"):
        # Takes something away from what others match.
        return False
    return not isinstance(pattern, str) or bool(_UNUSUAL.search(pattern)) or _surely_matches(pattern, branch)


def _surely_matches(pattern: Value, branch: str) -> bool:
    if not isinstance(pattern, str) or _UNUSUAL.search(pattern):
        return False
    parts = re.split(r"(\*+)", pattern)
    shape = "".join(
        re.escape(part) if not part.startswith("*") else ("[^/]*" if part == "*" else ".*") for part in parts
    )
    return re.fullmatch(shape, branch) is not None


# --- what it holds ----------------------------------------------------------------------------------


def _mentions_secrets(workflow: Value) -> bool:
    return any(_SECRETS.search(text) for text in _texts(workflow))


def _texts(value: Value) -> Iterator[str]:
    match value:
        case str():
            yield value
        case tuple():
            for one in value:
                yield from _texts(one)
        case Mapping():
            for key, one in value.items():
                yield key
                yield from _texts(one)
        case _:
            return


def _may_write(workflow: Mapping[str, Value]) -> bool:
    jobs = workflow.get("jobs")
    if not isinstance(jobs, Mapping):
        return True
    common = workflow.get("permissions")
    return any(not isinstance(job, Mapping) or _writes(job.get("permissions", common)) for job in jobs.values())


def _writes(permissions: Value) -> bool:
    """Whether these rights hold one to write. Without any, the repository's setting decides, which may be all."""
    match permissions:
        case "read-all":
            return False
        case Mapping():
            return any(right not in {"read", "none"} for right in permissions.values())
        case _:
            return True


__all__ = ["OURS", "WORKFLOWS_DIR", "is_workflow", "look_wanted", "risky"]
