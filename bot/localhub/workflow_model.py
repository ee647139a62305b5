"""What a workflow file says, after reading: triggers, jobs and steps. Plain data, no behaviour
beyond matching an event against a trigger.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from bot.localhub.expressions import Expression, Template


class TriggerEvent(Enum):
    """The events that start a workflow here; `schedule` is read and never fires."""

    PUSH = "push"
    PULL_REQUEST = "pull_request"
    WORKFLOW_DISPATCH = "workflow_dispatch"
    SCHEDULE = "schedule"


class InputType(Enum):
    """Kinds of workflow_dispatch inputs."""

    STRING = "string"
    BOOLEAN = "boolean"
    NUMBER = "number"
    CHOICE = "choice"
    ENVIRONMENT = "environment"


@dataclass(frozen=True)
class InputSpec:
    """One declared input; `default` is text, None when there is none."""

    name: str
    type: InputType
    required: bool
    default: str | None
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Trigger:
    """Under which circumstances one event starts the workflow."""

    event: TriggerEvent
    branches: tuple[str, ...] = ()
    branches_ignore: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    tags_ignore: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    paths_ignore: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    inputs: Mapping[str, InputSpec] = field(default_factory=dict)
    crons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Concurrency:
    """A concurrency group; `cancel` decides whether a newcomer cancels the running one."""

    group: Template
    cancel: Template
    queue_max: bool = False


@dataclass(frozen=True)
class StepSpec:
    """One step: either `run` or `uses`."""

    id: str | None
    name: Template | None
    condition: Expression
    env: Mapping[str, Template]
    continue_on_error: Template
    timeout_minutes: float | None
    run: Template | None = None
    shell: str | None = None
    working_directory: Template | None = None
    uses: str | None = None
    with_: Mapping[str, Template] = field(default_factory=dict)
    line: int = 0

    def title(self) -> str:
        """What GitHub shows for a step without a name."""
        if self.uses is not None:
            return f"Run {self.uses}"
        first = (self.run.source if self.run else "").strip().splitlines()
        return f"Run {first[0] if first else ''}"


@dataclass(frozen=True)
class JobSpec:
    """One job. `permissions` None means: those of the workflow."""

    id: str
    name: Template | None
    needs: tuple[str, ...]
    condition: Expression
    runs_on: tuple[str, ...]
    environment: Template | None
    permissions: Mapping[str, str] | None
    env: Mapping[str, Template]
    outputs: Mapping[str, Template]
    concurrency: Concurrency | None
    timeout_minutes: float
    continue_on_error: bool
    shell: str | None
    working_directory: Template | None
    steps: tuple[StepSpec, ...]


@dataclass(frozen=True)
class WorkflowFile:
    """A whole file; `jobs` is in the order of the file."""

    path: str
    name: str
    run_name: Template | None
    triggers: Mapping[TriggerEvent, Trigger]
    permissions: Mapping[str, str] | None
    env: Mapping[str, Template]
    concurrency: Concurrency | None
    jobs: Mapping[str, JobSpec]


def glob_matches(pattern: str, name: str) -> bool:
    """GitHub's filter patterns: `*` stops at a slash, `**` does not, `?` and `+` repeat."""
    out, at = [], 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            out.append("(?:.*/)?")
            at += 3
        elif pattern.startswith("**", at):
            out.append(".*")
            at += 2
        elif pattern[at] == "*":
            out.append("[^/]*")
            at += 1
        elif pattern[at] == "[" and "]" in pattern[at:]:
            end = pattern.index("]", at) + 1
            out.append(pattern[at:end])  # a character class means the same in both languages
            at = end
        elif pattern[at] in "?+":
            out.append(pattern[at])
            at += 1
        else:
            out.append(re.escape(pattern[at]))
            at += 1
    return re.fullmatch("".join(out), name) is not None


def _selected(patterns: tuple[str, ...], name: str) -> bool:
    chosen = False
    for pattern in patterns:
        if pattern.startswith("!"):
            chosen = chosen and not glob_matches(pattern[1:], name)
        else:
            chosen = chosen or glob_matches(pattern, name)
    return chosen


def ref_matches(trigger: Trigger, ref: str) -> bool:
    """Whether a pushed ref (full name) or a pull request's base branch passes the filters."""
    if ref.startswith("refs/tags/"):
        name, wanted, ignored = ref[10:], trigger.tags, trigger.tags_ignore
        other = trigger.branches or trigger.branches_ignore
    else:
        name = ref.removeprefix("refs/heads/")
        wanted, ignored = trigger.branches, trigger.branches_ignore
        other = trigger.tags or trigger.tags_ignore
    if wanted:
        return _selected(wanted, name)
    if ignored:
        return not _selected(ignored, name)
    return not other  # filters for the other kind of ref exclude this kind altogether


def paths_match(trigger: Trigger, changed: list[str]) -> bool:
    """Whether the changed paths pass the filters; no filter takes everything."""
    if trigger.paths:
        return any(_selected(trigger.paths, path) for path in changed)
    if trigger.paths_ignore:
        return any(not _selected(trigger.paths_ignore, path) for path in changed)
    return True
