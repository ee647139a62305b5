"""Actions: what starts a run. What becomes of it then stands in `run_life`.

Promise: the same events start the same workflows as on GitHub: pushes and pull requests by the
filters of the files, dispatches by name with checked inputs. Events made with a job's token start
nothing but dispatches. A broken file, or an event that policy blocks, gives a run that fails at
once and says why in `message`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bot.localhub import actions_files, present
from bot.localhub.actions_context import run_contexts
from bot.localhub.actions_model import Artifact, Conclusion, Run, Workflow
from bot.localhub.actor import Actor, ActorKind
from bot.localhub.expression_values import ExpressionError
from bot.localhub.expressions import Scope
from bot.localhub.http import ApiError
from bot.localhub.model import Account, Json, Repository
from bot.localhub.pulls import Pull
from bot.localhub.run_life import RunLife, Runner
from bot.localhub.workflow_model import TriggerEvent, WorkflowFile
from bot.localhub.yaml_nodes import WorkflowError

if TYPE_CHECKING:
    from bot.localhub.hub import Hub


class Actions(RunLife):
    """The Actions service of a hub."""

    def __init__(self, hub: Hub, runner: Runner) -> None:
        super().__init__(hub, runner)
        self.files = actions_files.WorkflowFiles(hub)
        self.artifacts: dict[int, Artifact] = {}

    # --- what starts a run ---

    def on_push(self, repo: Repository, ref: str, before: str, after: str, actor: Actor, payload: Json) -> None:
        """Start the workflows of a pushed commit whose filters fit."""
        if actor.kind is ActorKind.JOB:
            return
        for workflow, file in self.files.for_push(repo, ref, before, after):
            branch = ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
            self.create(
                workflow,
                file,
                TriggerEvent.PUSH,
                ref=ref,
                sha=after,
                head_branch=branch,
                actor=actor.user,
                payload=payload,
            )

    def on_pull_request(self, pull: Pull, action: str, actor: Actor) -> None:
        """Start the workflows of a pull request's trial merge that want this action."""
        if actor.kind is ActorKind.JOB:
            return
        for workflow, file, merge_sha in self.files.for_pull(pull, action):
            payload: Json = {
                "action": action,
                "number": pull.number,
                "pull_request": self.hub.pulls.payload(pull.issue),
            }
            self.create(
                workflow,
                file,
                TriggerEvent.PULL_REQUEST,
                ref=f"refs/pull/{pull.number}/merge",
                sha=merge_sha,
                head_branch=pull.head_ref,
                head_sha=pull.head_sha,
                actor=actor.user,
                payload=payload,
                pull=pull,
            )

    def dispatch(self, workflow: Workflow, ref: str, inputs: Mapping[str, object], actor: Actor) -> Run:
        """Start a workflow by hand. Raises ApiError 404 or 422 with GitHub's words."""
        if not self.settings(workflow.repo).enabled:
            raise ApiError(422, "Actions has been disabled for this repository.")
        full, sha, file, values = self.files.check_dispatch(workflow, ref, inputs)
        payload: Json = {"inputs": dict(values), "ref": full, "workflow": workflow.path}
        self.hub.emit("workflow_dispatch", None, workflow.repo, actor.user, payload)
        return self.create(
            workflow,
            file,
            TriggerEvent.WORKFLOW_DISPATCH,
            ref=full,
            sha=sha,
            head_branch=full.split("/", 2)[2],
            actor=actor.user,
            payload=payload,
            inputs=values,
        )

    def create(
        self,
        workflow: Workflow,
        file: WorkflowFile | WorkflowError,
        event: TriggerEvent,
        *,
        ref: str,
        sha: str,
        head_branch: str,
        actor: Account,
        payload: Json,
        head_sha: str | None = None,
        inputs: Mapping[str, str | bool | float] | None = None,
        pull: Pull | None = None,
    ) -> Run:
        """A run; one whose file is broken or whose event policy blocks fails at once."""
        hub, repo, now = self.hub, workflow.repo, self.hub.now()
        number = hub.new_id()
        head = head_sha or sha
        run = Run(
            id=number,
            node_id=hub.node_id("WFR", number),
            repo=repo,
            workflow=workflow,
            file=None if isinstance(file, WorkflowError) else file,
            number=workflow.next_number,
            event=event,
            ref=ref,
            sha=sha,
            head_branch=head_branch,
            head_sha=head,
            title=self.files.default_title(workflow, event, head, pull),
            actor=actor,
            triggering_actor=actor,
            suite=hub.checks.new_suite(repo, hub.actions_app, head, head_branch),
            created_at=now,
            updated_at=now,
            started_at=now,
            inputs=dict(inputs or {}),
            payload={
                **payload,
                "repository": present.repository(hub, repo),
                "sender": present.simple_user(hub, actor),
            },
        )
        if pull is not None:
            run.pull_number, run.base_ref, run.head_ref = pull.number, pull.base_ref, pull.head_ref
        workflow.next_number += 1
        self.runs[number] = hub.nodes[run.node_id] = run
        problem = str(file) if isinstance(file, WorkflowError) else self._blocked(run)
        if problem is None:
            problem = self._name(run)
        self.emit_run(run, "requested")
        if problem is not None:
            run.message = problem
            self.complete(run, Conclusion.FAILURE)
        else:
            self.enter(run)
        return run

    def _blocked(self, run: Run) -> str | None:
        settings = self.settings(run.repo)
        if run.event in settings.blocked_events:
            return f"Event '{run.event.value}' is not allowed to trigger Actions workflows"
        if run.actor.id in settings.blocked_actors:
            return f"Actor '{run.actor.login}' is not allowed to trigger Actions workflows"
        return None

    def _name(self, run: Run) -> str | None:
        assert run.file is not None
        scope = Scope(run_contexts(self.hub, run, self.settings(run.repo)))
        try:
            if run.file.run_name is not None:
                run.title = run.file.run_name.text(scope) or run.title
            if run.file.concurrency is not None:
                run.group = run.file.concurrency.group.text(scope)
        except ExpressionError as error:
            return f"{run.workflow.path}: {error}"
        return None
