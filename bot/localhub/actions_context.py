"""The contexts (`github`, `needs`, `env` …) that expressions of a run, job or step see.

Promise: the members GitHub documents that a workflow here can use; `secrets` holds those of the
repository and, in a job with an environment, those of that environment on top.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from bot.localhub.actions_model import Conclusion, Environment, Job, Run, Settings
from bot.localhub.expression_values import Value
from bot.localhub.expressions import Scope
from bot.localhub.workflow_model import JobSpec

if TYPE_CHECKING:
    from bot.localhub.hub import Hub


def ref_name(run: Run) -> str:
    """`main`, `v1` or `5/merge`."""
    for prefix in ("refs/heads/", "refs/tags/", "refs/pull/"):
        if run.ref.startswith(prefix):
            return run.ref.removeprefix(prefix)
    return run.ref


def workflow_ref(run: Run) -> str:
    """`owner/repo/path@ref` of the file that runs."""
    return f"{run.repo.full_name}/{run.workflow.path}@{run.ref}"


def github_context(hub: Hub, run: Run, job: Job | None = None, token: str = "") -> dict[str, Value]:
    """The `github` context."""
    protected = hub.rules.of(run.repo, ref_name(run)) is not None
    context: dict[str, Value] = {
        "action": "",
        "actor": run.actor.login,
        "actor_id": str(run.actor.id),
        "api_url": hub.api_url,
        "base_ref": run.base_ref,
        "event": cast("Mapping[str, Value]", run.payload),
        "event_name": run.event.value,
        "graphql_url": hub.graphql_url,
        "head_ref": run.head_ref,
        "job": job.spec.id if job else "",
        "ref": run.ref,
        "ref_name": ref_name(run),
        "ref_protected": protected,
        "ref_type": "tag" if run.ref.startswith("refs/tags/") else "branch",
        "repository": run.repo.full_name,
        "repository_id": str(run.repo.id),
        "repository_owner": run.repo.owner.login,
        "repository_owner_id": str(run.repo.owner.id),
        "repository_visibility": "private" if run.repo.private else "public",
        "run_attempt": str(run.attempt),
        "run_id": str(run.id),
        "run_number": str(run.number),
        "server_url": hub.html_url,
        "sha": run.sha,
        "token": token,
        "triggering_actor": run.triggering_actor.login,
        "workflow": run.file.name if run.file else run.workflow.path,
        "workflow_ref": workflow_ref(run),
        "workflow_sha": run.sha,
    }
    return context


def run_contexts(hub: Hub, run: Run, settings: Settings) -> dict[str, Value]:
    """What the file's top level sees: github, inputs, vars."""
    return {
        "github": github_context(hub, run),
        "inputs": dict(run.inputs),
        "vars": dict(settings.variables),
    }


def ancestors(run: Run, spec: JobSpec) -> list[Job]:
    """The jobs this one needs, directly or not, as far as they exist."""
    assert run.file is not None
    found: dict[str, Job] = {}
    todo = list(spec.needs)
    while todo:
        name = todo.pop()
        if name not in found and name in run.jobs:
            found[name] = run.jobs[name]
            todo += run.file.jobs[name].needs
    return list(found.values())


def needs_context(run: Run, spec: JobSpec) -> dict[str, Value]:
    """The `needs` context: result and outputs of the jobs named in `needs`."""
    found: dict[str, Value] = {}
    for name in spec.needs:
        job = run.jobs[name]
        result = job.conclusion.value if job.conclusion else ""
        if job.spec.continue_on_error and job.conclusion is Conclusion.FAILURE:
            result = "success"
        found[name] = {"result": result, "outputs": dict(job.outputs)}
    return found


def job_scope(hub: Hub, run: Run, spec: JobSpec, settings: Settings) -> Scope:
    """What a job's `if`, name, environment and concurrency see."""
    before = ancestors(run, spec)
    ends = {
        job.conclusion for job in before if not (job.spec.continue_on_error and job.conclusion is Conclusion.FAILURE)
    }
    return Scope(
        {**run_contexts(hub, run, settings), "needs": needs_context(run, spec)},
        failed=Conclusion.FAILURE in ends,
        cancelled=run.cancel_requested,
        skipped=Conclusion.SKIPPED in ends or Conclusion.CANCELLED in ends,
    )


def secrets_of(settings: Settings, environment: Environment | None) -> dict[str, str]:
    """The secrets a job may refer to."""
    return settings.secrets | (environment.secrets if environment else {})


def variables_of(settings: Settings, environment: Environment | None) -> dict[str, str]:
    """The variables a job may refer to."""
    return settings.variables | (environment.variables if environment else {})
