"""REST of Actions: workflows, dispatches, runs, jobs, logs, environments.

Promise: codes and words of the real service. `dispatches` answers 200 with the run id when asked
(`return_run_details`) or always with API version 2026-03-10, else 204 without a body, so that a
caller who loses the answer has to look for its run by name.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from operator import ge, gt, le, lt
from typing import TYPE_CHECKING, Final

from bot.localhub import present_actions
from bot.localhub.actions_model import Conclusion, Job, Run, Workflow, WorkflowState
from bot.localhub.artifacts import zip_files
from bot.localhub.http import Need, Reply, Request, Route, invalid, not_found
from bot.localhub.model import Json

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

ALWAYS_DETAILS: Final = "2026-03-10"  # from this API version on dispatches name their run
_READ = (Need("actions", "read"),)
_WRITE = (Need("actions", "write"),)
_ACTIONS = "/repos/{owner}/{repo}/actions"


def routes(hub: Hub) -> list[Route]:
    """All Actions routes but those of artifacts."""
    return [*_workflow_routes(hub), *_run_routes(hub), *_job_routes(hub), *_setting_routes(hub)]


def _workflow_routes(hub: Hub) -> list[Route]:
    def find(request: Request) -> Workflow:
        found = hub.actions.files.find(request.repo, request.params["workflow_id"])
        if found is None:
            raise not_found()
        return found

    async def list_all(request: Request) -> Reply:
        rows = hub.actions.files.all(request.repo)
        return request.paginate([present_actions.workflow(hub, w) for w in rows], "workflows")

    async def get(request: Request) -> Reply:
        return Reply(200, present_actions.workflow(hub, find(request)))

    async def dispatch(request: Request) -> Reply:
        workflow, body = find(request), request.body()
        ref, inputs = body.get("ref"), body.get("inputs") or {}
        if not isinstance(ref, str):
            raise invalid("WorkflowDispatch", "ref", "missing_field")
        if not isinstance(inputs, dict):
            raise invalid("WorkflowDispatch", "inputs")
        run = hub.actions.dispatch(workflow, ref, inputs, request.actor)
        newest = request.headers.get("x-github-api-version") == ALWAYS_DETAILS
        if body.get("return_run_details") is not True and not newest:
            return Reply(204)
        shown = present_actions.run(hub, run)
        return Reply(
            200,
            {
                "workflow_run_id": run.id,
                "run_url": shown["url"],
                "html_url": shown["html_url"],
            },
        )

    async def enable(request: Request) -> Reply:
        find(request).state = WorkflowState.ACTIVE
        return Reply(204)

    async def disable(request: Request) -> Reply:
        find(request).state = WorkflowState.DISABLED_MANUALLY
        return Reply(204)

    async def runs(request: Request) -> Reply:
        workflow = find(request)
        rows = [r for r in hub.actions.runs_of(request.repo) if r.workflow is workflow]
        return _runs(hub, request, rows)

    one = f"{_ACTIONS}/workflows/{{workflow_id}}"
    return [
        Route("GET", f"{_ACTIONS}/workflows", list_all, _READ),
        Route("GET", one, get, _READ),
        Route("POST", f"{one}/dispatches", dispatch, _WRITE),
        Route("PUT", f"{one}/enable", enable, _WRITE),
        Route("PUT", f"{one}/disable", disable, _WRITE),
        Route("GET", f"{one}/runs", runs, _READ),
    ]


def _runs(hub: Hub, request: Request, rows: list[Run]) -> Reply:
    query = request.query
    if event := query.get("event"):
        rows = [r for r in rows if r.event.value == event]
    if branch := query.get("branch"):
        rows = [r for r in rows if r.head_branch == branch]
    if sha := query.get("head_sha"):
        rows = [r for r in rows if r.head_sha == sha]
    if actor := query.get("actor"):
        rows = [r for r in rows if r.actor.login.lower() == actor.lower()]
    if status := query.get("status"):
        rows = [r for r in rows if status in {r.status.value, _word(r)}]
    if suite := query.get("check_suite_id"):
        rows = [r for r in rows if str(r.suite.id) == suite]
    if created := query.get("created"):
        rows = [r for r in rows if _created_matches(r, created)]
    return request.paginate([present_actions.run(hub, r) for r in rows], "workflow_runs")


def _word(run: Run) -> str:
    return run.conclusion.value if run.conclusion else ""


def _created_matches(run: Run, wanted: str) -> bool:
    """GitHub's date search: `>=T`, `<=T`, `>T`, `<T`, `A..B`, or a day."""

    def moment(text: str) -> datetime:
        try:
            parsed = datetime.fromisoformat(text)
        except ValueError:
            raise invalid("WorkflowRun", "created") from None
        return parsed if parsed.tzinfo else parsed.replace(tzinfo=run.created_at.tzinfo)

    at = run.created_at.replace(microsecond=0)
    if ".." in wanted:
        first, last = wanted.split("..", 1)
        return (first == "*" or at >= moment(first)) and (last == "*" or at <= moment(last))
    compare: dict[str, Callable[[datetime, datetime], bool]] = {">=": ge, "<=": le, ">": gt, "<": lt}
    for sign, test in compare.items():
        if wanted.startswith(sign):
            return test(at, moment(wanted.removeprefix(sign)))
    return at.date() == moment(wanted).date()


def _run_routes(hub: Hub) -> list[Route]:
    def find(request: Request) -> Run:
        run = hub.actions.runs.get(request.number("run_id"))
        if run is None or run.repo is not request.repo:
            raise not_found()
        return run

    async def list_all(request: Request) -> Reply:
        return _runs(hub, request, hub.actions.runs_of(request.repo))

    async def get(request: Request) -> Reply:
        return Reply(200, present_actions.run(hub, find(request)))

    async def attempt(request: Request) -> Reply:
        run, number = find(request), request.number("attempt_number")
        if not 1 <= number <= run.attempt:
            raise not_found()
        shown = present_actions.run(hub, run)
        if number < run.attempt:
            ends = {j.conclusion for j in run.earlier[number - 1]}
            order = (Conclusion.FAILURE, Conclusion.CANCELLED, Conclusion.SUCCESS)
            ended = next((c for c in order if c in ends), Conclusion.SKIPPED)
            shown |= {"run_attempt": number, "status": "completed", "conclusion": ended.value}
        return Reply(200, shown)

    async def jobs(request: Request) -> Reply:
        run = find(request)
        if "attempt_number" in request.params:
            number = request.number("attempt_number")
            if not 1 <= number <= run.attempt:
                raise not_found()
            batches = [*run.earlier, list(run.jobs.values())]
            rows = batches[number - 1]
        else:
            rows = run.all_jobs if request.query.get("filter") == "all" else list(run.jobs.values())
        return request.paginate([present_actions.job(hub, j) for j in rows], "jobs")

    async def cancel(request: Request) -> Reply:
        hub.actions.cancel(find(request))
        return Reply(202, {})

    async def force_cancel(request: Request) -> Reply:
        hub.actions.cancel(find(request), force=True)
        return Reply(202, {})

    async def rerun(request: Request) -> Reply:
        hub.actions.rerun(find(request), request.actor, keep=lambda _: False)
        return Reply(201, {})

    async def rerun_failed(request: Request) -> Reply:
        run = find(request)
        good = {Conclusion.SUCCESS}
        hub.actions.rerun(run, request.actor, keep=lambda job: job.conclusion in good)
        return Reply(201, {})

    async def logs(request: Request) -> Reply:
        run = find(request)
        name = f"logs-{run.id}-{run.attempt}.zip"

        def make() -> bytes:
            rows = enumerate(run.jobs.values())
            return zip_files({f"{i}_{job.name}.txt": job_log(job) for i, job in rows})

        return hub.downloads.redirect(name, "application/zip", make)

    one = f"{_ACTIONS}/runs/{{run_id}}"
    attempts = f"{one}/attempts/{{attempt_number}}"
    return [
        Route("GET", f"{_ACTIONS}/runs", list_all, _READ),
        Route("GET", one, get, _READ),
        Route("GET", f"{one}/jobs", jobs, _READ),
        Route("GET", attempts, attempt, _READ),
        Route("GET", f"{attempts}/jobs", jobs, _READ),
        Route("GET", f"{one}/logs", logs, _READ),
        Route("POST", f"{one}/cancel", cancel, _WRITE),
        Route("POST", f"{one}/force-cancel", force_cancel, _WRITE),
        Route("POST", f"{one}/rerun", rerun, _WRITE),
        Route("POST", f"{one}/rerun-failed-jobs", rerun_failed, _WRITE),
    ]


def job_log(job: Job) -> bytes:
    """The whole log of a job, steps in order."""
    return "".join(f"{line}\n" for step in job.steps for line in step.log).encode()


def _job_routes(hub: Hub) -> list[Route]:
    def find(request: Request) -> Job:
        job = hub.actions.jobs.get(request.number("job_id"))
        if job is None or job.run.repo is not request.repo:
            raise not_found()
        return job

    async def get(request: Request) -> Reply:
        return Reply(200, present_actions.job(hub, find(request)))

    async def logs(request: Request) -> Reply:
        job = find(request)
        return hub.downloads.redirect(f"job-{job.id}.txt", "text/plain; charset=utf-8", lambda: job_log(job))

    one = f"{_ACTIONS}/jobs/{{job_id}}"
    return [Route("GET", one, get, _READ), Route("GET", f"{one}/logs", logs, _READ)]


def _setting_routes(hub: Hub) -> list[Route]:
    async def environments(request: Request) -> Reply:
        rows = hub.actions.settings(request.repo).environments.values()
        name = request.repo.full_name
        shown = [present_actions.environment(hub, e, name) for e in rows]
        return request.paginate(shown, "environments")

    async def environment(request: Request) -> Reply:
        found = hub.actions.settings(request.repo).environments
        item = found.get(request.params["environment_name"].lower())
        if item is None:
            raise not_found()
        return Reply(200, present_actions.environment(hub, item, request.repo.full_name))

    async def permissions(request: Request) -> Reply:
        enabled = hub.actions.settings(request.repo).enabled
        return Reply(200, {"enabled": enabled, "allowed_actions": "all"})

    async def group(request: Request) -> Reply:
        name = request.params["name"]
        runs = hub.actions.group_members(request.repo, name)
        if not runs:
            raise not_found()
        rows: list[Json] = []
        for at, run in enumerate(runs):
            shown = present_actions.run(hub, run)
            rows.append(
                {
                    "run_id": run.id,
                    "run_name": shown["name"],
                    "run_url": shown["url"],
                    "run_html_url": shown["html_url"],
                    "status": "pending" if at else "in_progress",
                }
            )
        url = f"{hub.api_url}/repos/{request.repo.full_name}/actions/concurrency_groups/{name}"
        out: Json = {"group_name": name, "group_url": url, "total_count": len(rows), "group_members": rows}
        return Reply(200, out)

    base = "/repos/{owner}/{repo}"
    return [
        Route("GET", f"{base}/environments", environments, _READ),
        Route("GET", f"{base}/environments/{{environment_name+}}", environment, _READ),
        Route("GET", f"{_ACTIONS}/permissions", permissions, (Need("administration", "read"),)),
        Route("GET", f"{_ACTIONS}/concurrency_groups/{{name+}}", group, _READ),
    ]
