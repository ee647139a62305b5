"""Reading a workflow file: exactly the part of GitHub's syntax that the hub can really run.

Promise: what loads is interpreted, nothing is silently ignored but `schedule` (nobody waits for
it) and `cache-mode` (there is no cache). Any other key, action, trigger or expression is a
`WorkflowError` that names file, line and key path, so a workflow cannot seem to work here and do
something else on GitHub. Pure: text in, data out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from bot.localhub.expression_values import ExpressionError
from bot.localhub.expressions import (
    STATUS_FUNCTIONS,
    Expression,
    Template,
    condition,
    template,
)
from bot.localhub.workflow_model import (
    Concurrency,
    InputSpec,
    InputType,
    JobSpec,
    StepSpec,
    Trigger,
    TriggerEvent,
    WorkflowFile,
)
from bot.localhub.yaml_nodes import Node, WorkflowError, load

DEFAULT_TIMEOUT_MINUTES: Final = 360.0  # GitHub's limit for a job that names none
MAX_INPUTS: Final = 25  # GitHub refuses a workflow_dispatch with more
SHELLS: Final = frozenset({"bash", "sh"})

PERMISSIONS: Final = frozenset(
    {
        "actions", "artifact-metadata", "attestations", "checks", "contents", "deployments",
        "discussions", "id-token", "issues", "models", "packages", "pages", "pull-requests",
        "security-events", "statuses",
    }
)  # fmt: skip

_TOP = frozenset({"name", "run-name", "on", "permissions", "env", "defaults", "concurrency", "jobs", "cache-mode"})
_JOB = frozenset(
    {
        "name", "needs", "if", "runs-on", "environment", "permissions", "env", "outputs",
        "concurrency", "timeout-minutes", "continue-on-error", "defaults", "steps", "cache-mode",
    }
)  # fmt: skip
_STEP = frozenset(
    {
        "id", "name", "if", "env", "run", "shell", "working-directory", "uses", "with",
        "continue-on-error", "timeout-minutes",
    }
)  # fmt: skip
_REF_FILTERS = frozenset({"branches", "branches-ignore", "paths", "paths-ignore"})
_PUSH = _REF_FILTERS | {"tags", "tags-ignore"}
_PULL = _REF_FILTERS | {"types"}
_INPUT = frozenset({"description", "type", "required", "default", "options", "deprecationMessage"})
_CACHE_MODES = frozenset({"read", "write", "write-only", "none"})

PULL_REQUEST_TYPES: Final = frozenset(
    {"opened", "synchronize", "reopened", "closed", "edited", "ready_for_review",
     "converted_to_draft", "labeled", "unlabeled", "assigned", "unassigned"}
)  # fmt: skip
DEFAULT_PULL_REQUEST_TYPES: Final = ("opened", "synchronize", "reopened")

# Which contexts GitHub offers where; using another one is a load error there and here.
_RUN: Final = frozenset({"github", "inputs", "vars"})
_WORKFLOW_ENV: Final = _RUN | {"secrets"}
_JOB_KEY: Final = _RUN | {"needs"}
_JOB_ENV: Final = _JOB_KEY | {"secrets"}
_DEFAULTS: Final = _JOB_KEY | {"env"}
_STEP_IF: Final = _JOB_KEY | {"env", "job", "runner", "steps"}
_STEP_KEY: Final = _STEP_IF | {"secrets"}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_USES = re.compile(r"([\w.-]+/[\w./-]+)@([0-9a-f]{40}|v[0-9]+(?:\.[0-9]+)*)\Z")


def load_workflow(path: str, text: str, actions: Mapping[str, frozenset[str]]) -> WorkflowFile:
    """Read one file. Raises WorkflowError.

    `actions` maps the `owner/name`s that steps may use to the inputs each of them takes.
    """
    root = load(path, text)
    top = root.mapping(_TOP)
    for needed in ("on", "jobs"):
        if needed not in top:
            raise root.fail(f"required key {needed!r} is missing")
    _cache_mode(top)
    shell, folder = _defaults(top.get("defaults"))
    jobs = {name: _job(name, node, actions, shell, folder) for name, node in top["jobs"].items()}
    if not jobs:
        raise top["jobs"].fail("a workflow needs at least one job")
    _check_needs(jobs, top["jobs"])
    return WorkflowFile(
        path=path,
        name=top["name"].text() if "name" in top else path,
        run_name=_template(top["run-name"], _RUN) if "run-name" in top else None,
        triggers=_triggers(top["on"]),
        permissions=_permissions(top.get("permissions")),
        env=_templates(top.get("env"), _WORKFLOW_ENV),
        concurrency=_concurrency(top.get("concurrency"), _RUN),
        jobs=jobs,
    )


def split_uses(uses: str) -> tuple[str, str]:
    """(owner/name, version) of a pinned action. Raises ValueError."""
    match = _USES.match(uses)
    if match is None:
        raise ValueError(uses)
    return match[1], match[2]


def _template(node: Node, contexts: frozenset[str]) -> Template:
    try:
        parsed = template(node.text())
    except ExpressionError as error:
        raise node.fail(str(error)) from error
    for expression in parsed.expressions:
        _available(node, expression, contexts)
        if status := expression.functions & STATUS_FUNCTIONS:
            raise node.fail(f"{min(status)}() is available in 'if' only")
    return parsed


def _condition(node: Node | None, contexts: frozenset[str]) -> Expression:
    if node is None:
        return condition("success()")
    try:
        parsed = condition(node.text())
    except ExpressionError as error:
        raise node.fail(str(error)) from error
    _available(node, parsed, contexts)
    return parsed


def _available(node: Node, expression: Expression, contexts: frozenset[str]) -> None:
    if unknown := expression.contexts - contexts:
        raise node.fail(f"context {min(unknown)!r} is not available here: {expression.text!r}")


def _templates(node: Node | None, contexts: frozenset[str]) -> Mapping[str, Template]:
    if node is None:
        return {}
    return {k: template("") if v.empty else _template(v, contexts) for k, v in node.items()}


def _cache_mode(keys: Mapping[str, Node]) -> None:
    node = keys.get("cache-mode")
    if node is not None and node.text() not in _CACHE_MODES:
        raise node.fail(f"expected one of {', '.join(sorted(_CACHE_MODES))}")


def _permissions(node: Node | None) -> Mapping[str, str] | None:
    if node is None:
        return None
    if isinstance(node.value, str):
        level = {"read-all": "read", "write-all": "write"}.get(node.value)
        if level is None:
            raise node.fail("expected read-all, write-all or a mapping")
        return {name.replace("-", "_"): level for name in PERMISSIONS if name != "id-token" or level == "write"}
    granted = {}
    for name, value in node.mapping(PERMISSIONS).items():
        allowed = ("write", "none") if name == "id-token" else ("read", "write", "none")
        if value.text() not in allowed:
            raise value.fail(f"expected {' or '.join(allowed)}")
        granted[name.replace("-", "_")] = value.text()
    return granted


def _concurrency(node: Node | None, contexts: frozenset[str]) -> Concurrency | None:
    if node is None:
        return None
    if not isinstance(node.value, dict):
        return Concurrency(_template(node, contexts), template("false"))
    keys = node.mapping(frozenset({"group", "cancel-in-progress", "queue"}))
    if "group" not in keys:
        raise node.fail("required key 'group' is missing")
    if "queue" in keys and keys["queue"].text() not in {"single", "max"}:
        raise keys["queue"].fail("expected single or max")
    node = keys.get("cancel-in-progress")
    cancel = _template(node, contexts) if node is not None else None
    return Concurrency(
        _template(keys["group"], contexts),
        cancel or template("false"),
        "queue" in keys and keys["queue"].text() == "max",
    )


def _defaults(node: Node | None) -> tuple[str | None, Template | None]:
    if node is None:
        return None, None
    run = node.mapping(frozenset({"run"})).get("run")
    if run is None:
        return None, None
    keys = run.mapping(frozenset({"shell", "working-directory"}))
    folder = None
    if "working-directory" in keys:
        folder = _template(keys["working-directory"], _DEFAULTS)
    return _shell(keys.get("shell")), folder


def _shell(node: Node | None) -> str | None:
    if node is None:
        return None
    if node.text() not in SHELLS:
        raise node.fail(f"shell {node.text()!r} is not available here, only {sorted(SHELLS)}")
    return node.text()


# --- triggers ---


def _triggers(node: Node) -> Mapping[TriggerEvent, Trigger]:
    if isinstance(node.value, dict):
        rows = [(name, value) for name, value in node.items()]
    else:
        rows = [(name, Node(node.file, f"on.{name}", node.line, None)) for name in node.strings()]
    triggers = {}
    for name, value in rows:
        try:
            event = TriggerEvent(name)
        except ValueError:
            known = ", ".join(e.value for e in TriggerEvent)
            raise value.fail(f"event {name!r} starts nothing here; known: {known}") from None
        triggers[event] = _trigger(event, value)
    return triggers


def _trigger(event: TriggerEvent, node: Node) -> Trigger:
    if event is TriggerEvent.SCHEDULE:
        rows = [row.mapping(frozenset({"cron", "timezone"})) for row in node.sequence()]
        return Trigger(event, crons=tuple(row["cron"].text() for row in rows if "cron" in row))
    if event is TriggerEvent.WORKFLOW_DISPATCH:
        declared = node.mapping(frozenset({"inputs"})).get("inputs")
        inputs = {n: _input(n, v) for n, v in declared.items()} if declared else {}
        if len(inputs) > MAX_INPUTS:
            raise node.fail(f"at most {MAX_INPUTS} inputs are allowed, there are {len(inputs)}")
        return Trigger(event, inputs=inputs)
    keys = node.mapping(_PUSH if event is TriggerEvent.PUSH else _PULL)

    def strings(name: str) -> tuple[str, ...]:
        return keys[name].strings() if name in keys else ()

    for kind in ("branches", "tags", "paths"):
        if kind in keys and f"{kind}-ignore" in keys:
            raise keys[kind].fail(f"give {kind} or {kind}-ignore, not both")
    for kind in strings("types"):
        if kind not in PULL_REQUEST_TYPES:
            raise keys["types"].fail(f"unknown activity type {kind!r}")
    return Trigger(
        event,
        branches=strings("branches"),
        branches_ignore=strings("branches-ignore"),
        tags=strings("tags"),
        tags_ignore=strings("tags-ignore"),
        paths=strings("paths"),
        paths_ignore=strings("paths-ignore"),
        types=strings("types"),
    )


def _input(name: str, node: Node) -> InputSpec:
    keys = node.mapping(_INPUT)
    try:
        kind = InputType(keys["type"].text() if "type" in keys else "string")
    except ValueError:
        raise keys["type"].fail(f"unknown input type {keys['type'].text()!r}") from None
    options = keys["options"].strings() if "options" in keys else ()
    if (kind is InputType.CHOICE) != bool(options):
        raise node.fail("an input of type choice needs options, and no other type takes them")
    default = keys["default"].text() if "default" in keys and not keys["default"].empty else None
    required = keys["required"].boolean() if "required" in keys else False
    return InputSpec(name, kind, required, default, options)


# --- jobs ---


def _check_needs(jobs: Mapping[str, JobSpec], node: Node) -> None:
    done: set[str] = set()
    for job in jobs.values():
        for need in job.needs:
            if need not in jobs:
                where = node.mapping()[job.id].mapping()["needs"]
                raise where.fail(f"job {need!r} does not exist")
    while len(done) < len(jobs):
        ready = [j.id for j in jobs.values() if j.id not in done and set(j.needs) <= done]
        if not ready:
            left = ", ".join(j for j in jobs if j not in done)
            raise node.fail(f"the jobs need each other in a circle: {left}")
        done.update(ready)


def _job(
    name: str, node: Node, actions: Mapping[str, frozenset[str]], shell: str | None, folder: Template | None
) -> JobSpec:
    if not _NAME.match(name):
        raise node.fail("a job id consists of letters, digits, '_' and '-'")
    keys = node.mapping(_JOB)
    for needed in ("runs-on", "steps"):
        if needed not in keys:
            raise node.fail(f"required key {needed!r} is missing")
    _cache_mode(keys)
    own_shell, own_folder = _defaults(keys.get("defaults"))
    steps = tuple(_step(item, actions) for item in keys["steps"].sequence())
    ids = [step.id for step in steps if step.id is not None]
    if len(ids) != len(set(ids)):
        raise keys["steps"].fail("two steps have the same id")
    if not steps:
        raise keys["steps"].fail("a job needs at least one step")
    environment = keys.get("environment")
    if environment is not None and isinstance(environment.value, dict):
        named = environment.mapping(frozenset({"name", "url"}))
        if "name" not in named:
            raise environment.fail("required key 'name' is missing")
        environment = named["name"]
    minutes = keys["timeout-minutes"].number() if "timeout-minutes" in keys else None
    carry_on = keys["continue-on-error"].boolean() if "continue-on-error" in keys else False
    return JobSpec(
        id=name,
        name=_template(keys["name"], _JOB_KEY) if "name" in keys else None,
        needs=keys["needs"].strings() if "needs" in keys else (),
        condition=_condition(keys.get("if"), _JOB_KEY),
        runs_on=keys["runs-on"].strings(),
        environment=_template(environment, _JOB_KEY) if environment is not None else None,
        permissions=_permissions(keys.get("permissions")),
        env=_templates(keys.get("env"), _JOB_ENV),
        outputs=_templates(keys.get("outputs"), _STEP_KEY),
        concurrency=_concurrency(keys.get("concurrency"), _JOB_KEY),
        timeout_minutes=DEFAULT_TIMEOUT_MINUTES if minutes is None else minutes,
        continue_on_error=carry_on,
        shell=own_shell or shell,
        working_directory=own_folder or folder,
        steps=steps,
    )


def _step(node: Node, actions: Mapping[str, frozenset[str]]) -> StepSpec:
    keys = node.mapping(_STEP)
    if ("run" in keys) == ("uses" in keys):
        raise node.fail("a step needs either run or uses")
    for only_run in ("shell", "working-directory"):
        if only_run in keys and "uses" in keys:
            raise keys[only_run].fail(f"{only_run!r} belongs to run steps")
    if "with" in keys and "run" in keys:
        raise keys["with"].fail("'with' belongs to uses steps")
    if "id" in keys and not _NAME.match(keys["id"].text()):
        raise keys["id"].fail("a step id consists of letters, digits, '_' and '-'")
    if "uses" in keys and "with" in keys:
        keys["with"].mapping(actions[split_uses(_uses(keys["uses"], actions))[0]])
    carry_on = keys.get("continue-on-error")
    return StepSpec(
        id=keys["id"].text() if "id" in keys else None,
        name=_template(keys["name"], _STEP_KEY) if "name" in keys else None,
        condition=_condition(keys.get("if"), _STEP_IF),
        env=_templates(keys.get("env"), _STEP_KEY),
        continue_on_error=_template(carry_on, _STEP_KEY) if carry_on is not None else template("false"),
        timeout_minutes=keys["timeout-minutes"].number() if "timeout-minutes" in keys else None,
        run=_template(keys["run"], _STEP_KEY) if "run" in keys else None,
        shell=_shell(keys.get("shell")),
        working_directory=_template(keys["working-directory"], _STEP_KEY) if "working-directory" in keys else None,
        uses=_uses(keys["uses"], actions) if "uses" in keys else None,
        with_=_templates(keys.get("with"), _STEP_KEY),
        line=node.line,
    )


def _uses(node: Node, actions: Mapping[str, frozenset[str]]) -> str:
    try:
        name, _ = split_uses(node.text())
    except ValueError:
        problem = f"{node.text()!r} is not pinned; write owner/name@<40 hex digits> or owner/name@vN"
        raise node.fail(problem) from None
    if name not in actions:
        known = ", ".join(sorted(actions))
        raise node.fail(f"action {name!r} is not emulated here; known: {known}")
    return node.text()


__all__ = ["WorkflowError", "load_workflow", "split_uses"]
