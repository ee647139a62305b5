"""The life of runs and jobs: queued, in progress, completed; needs, groups, cancelling, re-running.

Promise: each move happens once, with its webhook and the job's check run on the head commit. Jobs
come into being when what they need has ended and their `if` says yes (or as skipped ones), never
before.

Known race: a cancel and the end of a job may cross; the first to reach the hub decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from bot.localhub import present_actions
from bot.localhub.actions_context import job_scope, run_contexts
from bot.localhub.actions_model import Conclusion, Environment, Job, Run, Settings, Status, Step
from bot.localhub.actor import Actor
from bot.localhub.concurrency import Groups
from bot.localhub.expression_values import ExpressionError, truthy
from bot.localhub.expressions import Scope
from bot.localhub.http import ApiError
from bot.localhub.model import Json, Repository
from bot.localhub.workflow_model import JobSpec

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

# Permissions of GITHUB_TOKEN where the file says nothing and the settings are the default ones.
RESTRICTED: Final[Mapping[str, str]] = {"contents": "read", "packages": "read"}
PERMISSIVE: Final[Mapping[str, str]] = dict.fromkeys(
    (
        "actions",
        "attestations",
        "checks",
        "contents",
        "deployments",
        "discussions",
        "issues",
        "packages",
        "pages",
        "pull_requests",
        "security_events",
        "statuses",
    ),
    "write",
)


class Runner(Protocol):
    """Who executes jobs. It reports through `job_started`, `job_finished` and the job's steps."""

    def queue(self, job: Job) -> None:
        """A job may start."""

    def cancel(self, job: Job, *, force: bool) -> None:
        """End a job that is in progress: politely, or at once."""


class RunLife:
    """Runs and jobs of a hub, from the moment a run exists."""

    def __init__(self, hub: Hub, runner: Runner) -> None:
        self.hub = hub
        self.runner = runner
        self.runs: dict[int, Run] = {}
        self.jobs: dict[int, Job] = {}
        self._settings: dict[int, Settings] = {}
        self._written = asyncio.Event()
        self._run_groups: Groups[Run] = Groups(self._begin, self._evict_run)
        self._job_groups: Groups[Job] = Groups(self._start_job, self._evict_job)

    # --- settings ---

    def settings(self, repo: Repository) -> Settings:
        """The Actions settings of a repository, for reading and changing."""
        return self._settings.setdefault(repo.id, Settings())

    def environment(self, repo: Repository, name: str) -> Environment:
        """The environment with this name, made when there is none (as a run would)."""
        environments = self.settings(repo).environments
        found = environments.get(name.lower())
        if found is None:
            number = self.hub.new_id()
            node = self.hub.node_id("EN", number)
            found = Environment(number, node, name, self.hub.now())
            environments[name.lower()] = found
        return found

    def runs_of(self, repo: Repository) -> list[Run]:
        """The runs of a repository, newest first."""
        return sorted((r for r in self.runs.values() if r.repo is repo), key=lambda r: -r.id)

    def group_members(self, repo: Repository, name: str) -> list[Run]:
        """The runs in a concurrency group: holder first, then who waits."""
        return self._run_groups.members(repo.id, name)

    def enter(self, run: Run) -> None:
        """Begin a run, or let it wait for its concurrency group."""
        assert run.file is not None
        rule = run.file.concurrency
        if run.group and rule is not None:
            scope = Scope(run_contexts(self.hub, run, self.settings(run.repo)))
            cancel = rule.cancel.flag(scope)
            run.status = Status.PENDING
            if not self._run_groups.enter(run.repo.id, run.group, run, cancel_holder=cancel, queue_max=rule.queue_max):
                return
        self._begin(run)

    def _begin(self, run: Run) -> None:
        run.status = Status.QUEUED
        self.advance(run)

    # --- the life of a run ---

    def advance(self, run: Run) -> None:
        """Create the jobs whose turn has come; complete the run when nothing is left."""
        assert run.file is not None
        again = True
        while again and not run.done:
            again = False
            for spec in run.file.jobs.values():
                if spec.id in run.jobs or run.force_cancelled:
                    continue
                if all(name in run.jobs and run.jobs[name].done for name in spec.needs):
                    again = self._make_job(run, spec) or again
        if run.done or any(not job.done for job in run.jobs.values()):
            return
        if len(run.jobs) == len(run.file.jobs) or run.force_cancelled:
            self.complete(run, self._outcome(run))

    def _outcome(self, run: Run) -> Conclusion:
        jobs = list(run.jobs.values())
        ends = {j.conclusion for j in jobs if not j.spec.continue_on_error}
        if run.cancel_requested or Conclusion.CANCELLED in ends:
            return Conclusion.CANCELLED
        if Conclusion.FAILURE in ends:
            return Conclusion.FAILURE
        return Conclusion.SKIPPED if ends == {Conclusion.SKIPPED} else Conclusion.SUCCESS

    def _make_job(self, run: Run, spec: JobSpec) -> bool:
        """Create one job; True when it ended at once, so that others may follow."""
        settings = self.settings(run.repo)
        scope = job_scope(self.hub, run, spec, settings)
        problem: str | None = None
        wanted = False
        name, environment, group, cancel = spec.id, None, None, False
        try:
            wanted = truthy(spec.condition.evaluate(scope))
            if spec.name is not None:
                name = spec.name.text(scope) or spec.id
            if wanted and spec.environment is not None:
                environment = spec.environment.text(scope) or None
            if wanted and spec.concurrency is not None:
                group = spec.concurrency.group.text(scope) or None
                cancel = spec.concurrency.cancel.flag(scope)
        except ExpressionError as error:
            problem = str(error)
        check = self.hub.checks.create(run.repo, self.hub.actions_app, run.head_sha, name, suite=run.suite)
        job = Job(
            id=check.id,
            node_id=check.node_id,
            run=run,
            spec=spec,
            name=name,
            attempt=run.attempt,
            check=check,
            created_at=self.hub.now(),
            environment=environment,
            group=group,
            permissions=self._permissions(run, spec),
        )
        web = f"{self.hub.html_url}/{run.repo.full_name}/actions/runs/{run.id}/job/{job.id}"
        check.details_url = web
        run.jobs[spec.id] = self.jobs[job.id] = job
        if problem is None and environment is not None:
            problem = self._environment_refuses(run, environment)
        if problem is not None or not wanted:
            self._emit_job(job, "queued")
            run.message = problem or run.message
            self._end_job(job, Conclusion.FAILURE if problem else Conclusion.SKIPPED)
            return True
        if group is not None:
            job.status = Status.PENDING
            queue_max = spec.concurrency is not None and spec.concurrency.queue_max
            if not self._job_groups.enter(run.repo.id, group, job, cancel_holder=cancel, queue_max=queue_max):
                return False
        self._start_job(job)
        return job.done

    def _environment_refuses(self, run: Run, name: str) -> str | None:
        allowed = self.environment(run.repo, name).branches
        branch = run.ref.removeprefix("refs/heads/")
        if allowed and branch not in allowed:
            return f'Branch "{branch}" is not allowed to deploy to {name} due to environment protection rules.'
        return None

    def _permissions(self, run: Run, spec: JobSpec) -> dict[str, str]:
        assert run.file is not None
        given = spec.permissions if spec.permissions is not None else run.file.permissions
        if given is None:
            given = PERMISSIVE if self.settings(run.repo).write_by_default else RESTRICTED
        if self.from_fork(run):
            given = {k: "read" for k, level in given.items() if level != "none" and k != "id_token"}
        return {name: level for name, level in given.items() if level != "none"}

    def from_fork(self, run: Run) -> bool:
        """Whether the code comes from another repository: no secrets, no writing token."""
        if run.pull_number is None:
            return False
        pull = self.hub.pulls.get(run.repo, run.pull_number)
        return pull is not None and pull.head_repo is not run.repo

    def _start_job(self, job: Job) -> None:
        job.status = Status.QUEUED
        self._emit_job(job, "queued")
        self.runner.queue(job)

    # --- reported by the runner ---

    def job_started(self, job: Job, runner_name: str = "GitHub Actions 1") -> None:
        """A runner took the job."""
        if job.status is not Status.QUEUED:
            return
        job.status, job.started_at = Status.IN_PROGRESS, self.hub.now()
        job.runner_name = runner_name
        run = job.run
        if run.status is not Status.IN_PROGRESS:
            run.status, run.updated_at = Status.IN_PROGRESS, self.hub.now()
            self.emit_run(run, "in_progress")
        self.hub.checks.change(job.check, status="in_progress")
        self._emit_job(job, "in_progress")

    def step_started(self, step: Step) -> None:
        """A step begins."""
        step.status, step.started_at = Status.IN_PROGRESS, self.hub.now()

    def step_finished(self, step: Step, conclusion: Conclusion) -> None:
        """A step has ended."""
        step.status, step.conclusion = Status.COMPLETED, conclusion
        step.completed_at = self.hub.now()

    def log_written(self) -> None:
        """A job has written to its log."""
        self._written.set()
        self._written = asyncio.Event()

    async def logged(self, run: Run, text: str) -> None:
        """Wait until a log line of the run holds the text."""
        while not any(text in line for job in run.all_jobs for step in job.steps for line in step.log):
            await self._written.wait()

    def job_finished(self, job: Job, conclusion: Conclusion, outputs: Mapping[str, str] | None = None) -> None:
        """The job has ended; a second report of the same job is ignored."""
        if job.done:
            return
        job.outputs = dict(outputs or {})
        self._end_job(job, conclusion)
        self.advance(job.run)

    def _end_job(self, job: Job, conclusion: Conclusion) -> None:
        job.status, job.conclusion = Status.COMPLETED, conclusion
        job.completed_at = self.hub.now()
        self.hub.checks.change(job.check, conclusion=conclusion.value)
        self._emit_job(job, "completed")
        if job.group is not None:
            self._job_groups.leave(job.run.repo.id, job.group, job)

    def complete(self, run: Run, conclusion: Conclusion) -> None:
        """The run has ended."""
        run.status, run.conclusion = Status.COMPLETED, conclusion
        run.updated_at = self.hub.now()
        self.emit_run(run, "completed")
        if run.group is not None:
            self._run_groups.leave(run.repo.id, run.group, run)

    # --- by people, by tests ---

    def cancel(self, run: Run, *, force: bool = False) -> None:
        """Cancel: jobs whose `if` still holds (`always()`) go on, unless by force. Raises 409."""
        if run.done:
            raise ApiError(409, "Cannot cancel a workflow run that is completed.")
        run.cancel_requested, run.force_cancelled = True, run.force_cancelled or force
        if run.file is None or (run.status is Status.PENDING and not run.jobs):
            self.complete(run, Conclusion.CANCELLED)
            return
        settings = self.settings(run.repo)
        for job in [j for j in run.jobs.values() if not j.done]:
            scope = job_scope(self.hub, run, job.spec, settings)
            if not force and truthy(job.spec.condition.evaluate(scope)):
                continue
            if job.status is Status.IN_PROGRESS:
                self.runner.cancel(job, force=force)
            if force or job.status is not Status.IN_PROGRESS:
                self._end_job(job, Conclusion.CANCELLED)
        self.advance(run)

    def _evict_run(self, run: Run) -> None:
        if not run.done:
            self.cancel(run)

    def _evict_job(self, job: Job) -> None:
        if job.status is Status.IN_PROGRESS:
            self.runner.cancel(job, force=False)
        elif not job.done:
            self._end_job(job, Conclusion.CANCELLED)
            self.advance(job.run)

    def rerun(self, run: Run, actor: Actor, *, keep: Callable[[Job], bool]) -> None:
        """Run again under the same id; jobs that `keep` accepts are taken over. Raises 403."""
        if not run.done:
            raise ApiError(403, "This workflow is already running")
        if run.file is None:
            raise ApiError(403, "This workflow run cannot be retried")
        run.earlier.append(list(run.jobs.values()))
        run.jobs = {name: job for name, job in run.jobs.items() if keep(job)}
        run.attempt += 1
        run.triggering_actor = actor.user
        run.status, run.conclusion = Status.QUEUED, None
        run.cancel_requested = run.force_cancelled = False
        run.started_at = run.updated_at = self.hub.now()
        self.emit_run(run, "requested")
        self.enter(run)

    def start(self, run: Run) -> None:
        """By hand: all queued jobs of the run are taken by a runner."""
        for job in list(run.jobs.values()):
            if job.status is Status.QUEUED:
                self.job_started(job)

    def finish(
        self,
        run: Run,
        conclusion: Conclusion = Conclusion.SUCCESS,
        outputs: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """By hand: every job ends like this until the run is completed; outputs by job id."""
        while not run.done:
            self.start(run)
            open_jobs = [j for j in run.jobs.values() if j.status is Status.IN_PROGRESS]
            if not open_jobs:
                raise ValueError(f"run {run.id} is held back by concurrency group {run.group!r}")
            for job in open_jobs:
                self.job_finished(job, conclusion, (outputs or {}).get(job.spec.id))

    # --- webhooks ---

    def emit_run(self, run: Run, action: str) -> None:
        """Send `workflow_run.<action>`."""
        payload: Json = {
            "workflow_run": present_actions.run(self.hub, run),
            "workflow": present_actions.workflow(self.hub, run.workflow),
        }
        self.hub.emit("workflow_run", action, run.repo, run.triggering_actor, payload)

    def _emit_job(self, job: Job, action: str) -> None:
        payload: Json = {"workflow_job": present_actions.job(self.hub, job)}
        self.hub.emit("workflow_job", action, job.run.repo, job.run.triggering_actor, payload)
