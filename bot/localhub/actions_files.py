"""Which workflow files a repository has, and which of them an event starts.

Promise: the file that runs is the one of the commit the event is about; the list and the names
come from the default branch; a workflow keeps its id for the life of the hub.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from bot.localhub.actions_model import Workflow, WorkflowState
from bot.localhub.emulated_actions import ACTION_INPUTS
from bot.localhub.git_model import EMPTY_TREE, ZERO_OID
from bot.localhub.http import ApiError
from bot.localhub.model import Repository
from bot.localhub.pulls import Pull
from bot.localhub.workflow_file import DEFAULT_PULL_REQUEST_TYPES, load_workflow
from bot.localhub.workflow_model import (
    InputSpec,
    InputType,
    TriggerEvent,
    WorkflowFile,
    paths_match,
    ref_matches,
)
from bot.localhub.yaml_nodes import WorkflowError

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

FOLDER: Final = ".github/workflows"
MAX_INPUT_CHARS: Final = 65_535  # of all inputs together, as GitHub documents
MAX_INPUTS: Final = 25
KEPT: Final = 128  # files read and checked, of all repositories; reading one takes milliseconds
# A commit message with one of these starts neither push nor pull request workflows.
SKIP_MARKS: Final = ("[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]")

InputValue = str | bool | float
Loaded = WorkflowFile | WorkflowError


class WorkflowFiles:
    """The workflow files of all repositories."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self._workflows: dict[tuple[int, str], Workflow] = {}

    def at(self, repo: Repository, commit: str) -> dict[str, Loaded]:
        """Path -> file (or what is wrong with it) of every workflow file of a commit."""
        bare, found = self.hub.git.bare(repo), {}
        folder = bare.entry(commit, FOLDER)
        for row in bare.tree(folder.sha) if folder and folder.type == "tree" else []:
            if row.type == "blob" and row.path.endswith((".yml", ".yaml")):
                path = f"{FOLDER}/{row.path}"
                found[path] = _load(path, bare.blob(row.sha))
        return found

    def record(self, repo: Repository, path: str) -> Workflow:
        """The workflow record of a path, made when it is first seen."""
        found = self._workflows.get((repo.id, path))
        if found is None:
            number = self.hub.new_id()
            node = self.hub.node_id("W", number)
            found = Workflow(number, node, repo, path, path, self.hub.now())
            self._workflows[repo.id, path] = found
        return found

    def all(self, repo: Repository) -> list[Workflow]:
        """The workflows of the default branch, in order of their paths."""
        tip = self.hub.git.bare(repo).resolve(f"refs/heads/{repo.default_branch}")
        rows = []
        for path, loaded in (self.at(repo, tip) if tip else {}).items():
            workflow = self.record(repo, path)
            workflow.name = loaded.name if isinstance(loaded, WorkflowFile) else path
            rows.append(workflow)
        return rows

    def find(self, repo: Repository, key: str) -> Workflow | None:
        """By id or by file name, among those of the default branch."""
        for workflow in self.all(repo):
            if key in {str(workflow.id), workflow.path.rsplit("/", 1)[-1]}:
                return workflow
        return None

    # --- events ---

    def for_push(self, repo: Repository, ref: str, before: str, after: str) -> Iterator[tuple[Workflow, Loaded]]:
        """The workflows a push starts; a broken file yields its error."""
        bare = self.hub.git.bare(repo)
        if after == ZERO_OID or not ref.startswith(("refs/heads/", "refs/tags/")):
            return
        commit = bare.resolve(after)
        if commit is None or self._skips(repo, commit):
            return
        files = self.at(repo, commit)
        changed: list[str] | None = None
        for path, loaded in files.items():
            workflow = self.record(repo, path)
            if not self._may_start(workflow):
                continue
            if isinstance(loaded, WorkflowError):
                yield workflow, loaded
                continue
            trigger = loaded.triggers.get(TriggerEvent.PUSH)
            if trigger is None or not ref_matches(trigger, ref):
                continue
            if changed is None:
                changed = self._changed(repo, before, commit)
            if paths_match(trigger, changed):
                yield workflow, loaded

    def for_pull(self, pull: Pull, action: str) -> Iterator[tuple[Workflow, Loaded, str]]:
        """The workflows a pull request event starts, with the trial merge they run on."""
        if pull.issue.state != "open" and action != "closed":
            return
        merge = pull.merge_commit_sha or self._trial(pull)
        if merge is None or self._skips(pull.repo, pull.head_sha):
            return
        changed: list[str] | None = None
        for path, loaded in self.at(pull.repo, merge).items():
            workflow = self.record(pull.repo, path)
            if isinstance(loaded, WorkflowError) or not self._may_start(workflow):
                continue
            trigger = loaded.triggers.get(TriggerEvent.PULL_REQUEST)
            if trigger is None or action not in (trigger.types or DEFAULT_PULL_REQUEST_TYPES):
                continue
            if changed is None:
                changed = [f.path for f in self.hub.pulls.files(pull)]
            base = f"refs/heads/{pull.base_ref}"
            if ref_matches(trigger, base) and paths_match(trigger, changed):
                yield workflow, loaded, merge

    def _trial(self, pull: Pull) -> str | None:
        # The trial merge for CI must not answer `mergeable` before anybody has asked for it.
        known = pull.mergeable
        sha = self.hub.pulls.test_merge(pull)
        pull.mergeable = known
        return sha

    def _may_start(self, workflow: Workflow) -> bool:
        enabled = self.hub.actions.settings(workflow.repo).enabled
        return enabled and workflow.state is WorkflowState.ACTIVE

    def _skips(self, repo: Repository, commit: str) -> bool:
        message = self.hub.git.bare(repo).commit(commit).message
        return any(mark in message for mark in SKIP_MARKS)

    def _changed(self, repo: Repository, before: str, after: str) -> list[str]:
        bare = self.hub.git.bare(repo)
        base = before
        if before == ZERO_OID:
            tip = bare.resolve(repo.default_branch)
            base = (bare.merge_base(tip, after) if tip and tip != after else None) or EMPTY_TREE
        return [change.path for change in bare.diff(base, after, patches=False)]

    def default_title(self, workflow: Workflow, event: TriggerEvent, head_sha: str, pull: Pull | None) -> str:
        """`display_title` of a run without `run-name`."""
        if pull is not None:
            return pull.issue.title
        if event is TriggerEvent.WORKFLOW_DISPATCH:
            return workflow.name
        lines = self.hub.git.bare(workflow.repo).commit(head_sha).message.splitlines()
        return lines[0] if lines else workflow.name

    # --- dispatch ---

    def check_dispatch(
        self, workflow: Workflow, ref: str, inputs: Mapping[str, object]
    ) -> tuple[str, str, WorkflowFile, dict[str, InputValue]]:
        """(full ref, commit, file, input values). Raises ApiError 422."""
        bare = self.hub.git.bare(workflow.repo)
        if workflow.state is not WorkflowState.ACTIVE:
            raise ApiError(422, "Cannot trigger a 'workflow_dispatch' on a disabled workflow")
        names = [ref] if ref.startswith("refs/") else [f"refs/heads/{ref}", f"refs/tags/{ref}"]
        full = next((name for name in names if bare.ref(name)), None)
        sha = bare.resolve(full) if full else None
        if full is None or sha is None:
            raise ApiError(422, f"No ref found for: {ref}")
        loaded = self.at(workflow.repo, sha).get(workflow.path)
        if loaded is None:
            raise ApiError(422, f"Workflow does not exist on {ref}: {workflow.path}")
        if isinstance(loaded, WorkflowError):
            raise ApiError(422, f"failed to parse workflow: {loaded}")
        trigger = loaded.triggers.get(TriggerEvent.WORKFLOW_DISPATCH)
        if trigger is None:
            raise ApiError(422, "Workflow does not have 'workflow_dispatch' trigger")
        return full, sha, loaded, check_inputs(trigger.inputs, inputs)


def check_inputs(declared: Mapping[str, InputSpec], given: Mapping[str, object]) -> dict[str, InputValue]:
    """The values a run sees, defaults filled in. Raises ApiError 422 as the dispatch API does."""
    if len(given) > MAX_INPUTS:
        raise ApiError(422, f"you may only define up to {MAX_INPUTS} `inputs` for a `workflow_dispatch` event")
    unexpected = [name for name in given if name not in declared]
    if unexpected:
        raise ApiError(422, f"Unexpected inputs provided: {json.dumps(unexpected)}")
    if sum(len(str(v)) for v in given.values()) > MAX_INPUT_CHARS:
        raise ApiError(422, "inputs are too large.")
    values: dict[str, InputValue] = {}
    for name, spec in declared.items():
        if name in given:
            value = given[name]
            if isinstance(value, bool):
                text = "true" if value else "false"
            elif isinstance(value, (str, int, float)):
                text = str(value)
            else:
                raise ApiError(422, f"Provided value for input '{name}' must be a string")
        else:
            if spec.required and spec.default is None:
                raise ApiError(422, f"Required input '{name}' not provided")
            text = spec.default or ""
        values[name] = _typed(spec, text)
    return values


def _typed(spec: InputSpec, text: str) -> InputValue:
    match spec.type:
        case InputType.BOOLEAN:
            if text not in {"true", "false", ""}:
                raise ApiError(422, f"Provided value '{text}' for input '{spec.name}' not a boolean")
            return text == "true"
        case InputType.NUMBER:
            try:
                return float(text) if text else ""
            except ValueError:
                message = f"Provided value '{text}' for input '{spec.name}' not a number"
                raise ApiError(422, message) from None
        case InputType.CHOICE:
            if text and text not in spec.options:
                raise ApiError(
                    422,
                    f"Provided value '{text}' for input '{spec.name}' not in the list of allowed values",
                )
            return text
        case InputType.STRING | InputType.ENVIRONMENT:
            return text


@lru_cache(maxsize=KEPT)
def _load(path: str, data: bytes) -> Loaded:
    try:
        return load_workflow(path, data.decode("utf-8"), ACTION_INPUTS)
    except UnicodeDecodeError:
        return WorkflowError(path, 1, "", "the file is not UTF-8")
    except WorkflowError as error:
        return error
