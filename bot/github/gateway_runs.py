"""Actions: dispatch a run, find it again, watch and cancel it.

Promises: a dispatch is sent once; when its answer is lost the error says `uncertain`, and `runs_named` finds the run
by its title. A status GitHub may add one day counts as running, because taking a living run for dead is the worse
mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from bot.domain.facts import RunFacts, RunStatus
from bot.domain.model import RepoKey
from bot.errors import Conflict, Invalid
from bot.github.answers import read
from bot.github.gateway_issues import IssueVerbs, stamp
from bot.github.gateway_repos import workflow_id
from bot.github.limits import Lane
from bot.github.shapes import DispatchShape, JobShape, RunShape

CLOCK_SKEW = timedelta(seconds=60)
"""How far GitHub's clock may be behind ours when runs are searched by the time of their creation."""

RUN_STATUS: Mapping[str | None, RunStatus] = {
    "queued": RunStatus.QUEUED,
    "requested": RunStatus.QUEUED,
    "waiting": RunStatus.WAITING,
    "pending": RunStatus.QUEUED,
    "in_progress": RunStatus.IN_PROGRESS,
    "completed": RunStatus.COMPLETED,
}
"""GitHub's statuses of a run in the product's words."""


class RunVerbs(IssueVerbs):
    """Verbs about workflow runs."""

    async def run(self, key: RepoKey, run_id: int) -> RunFacts | None:
        """The run now; None when GitHub has no such run in this repository."""
        path = "/actions/runs/{run_id}"
        answer = await self._find(key, path, {"run_id": run_id})
        if answer is None:
            return None
        return self._run_facts(key, self._read(RunShape, answer, f"GET {path}"), f"GET {path}")

    async def runs_named(self, key: RepoKey, workflow: str, text: str, since: datetime) -> list[RunFacts]:
        """Dispatched runs of the workflow created since then (less CLOCK_SKEW) whose title contains the text."""
        path = "/actions/workflows/{workflow_id}/runs"
        query = {"event": "workflow_dispatch", "created": f">={stamp(since - CLOCK_SKEW)}"}
        found = await self._pages(key, path, {"workflow_id": workflow_id(workflow)}, query=query, under="workflow_runs")
        shapes = [read(RunShape, raw, f"GET {path}") for raw in found]
        return [self._run_facts(key, shape, f"GET {path}") for shape in shapes if text in shape.display_title]

    async def jobs(self, key: RepoKey, run_id: int) -> list[tuple[int, str, str, str | None]]:
        """(job id, name, status, conclusion) of each job of the run's newest attempt."""
        path = "/actions/runs/{run_id}/jobs"
        found = await self._pages(key, path, {"run_id": run_id}, query={"filter": "latest"}, under="jobs")
        shapes = [read(JobShape, raw, f"GET {path}") for raw in found]
        return [(shape.id, shape.name, shape.status, shape.conclusion) for shape in shapes]

    async def dispatch(self, key: RepoKey, workflow: str, ref: str, inputs: Mapping[str, str]) -> int | None:
        """The run id; None when GitHub accepted but named no run (older servers)."""
        path = "/actions/workflows/{workflow_id}/dispatches"
        vars_ = {"workflow_id": workflow_id(workflow)}
        body: dict[str, object] = {"ref": ref, "inputs": dict(inputs), "return_run_details": True}
        try:
            answer = await self._send(key, "POST", path, vars_, body=body, lane=Lane.CLAIM)
        except Invalid as error:
            if "return_run_details" not in error.message:
                raise
            # Refused because of the field an older server does not know, so nothing was started.
            del body["return_run_details"]
            answer = await self._send(key, "POST", path, vars_, body=body, lane=Lane.CLAIM)
        return None if answer.data is None else self._read(DispatchShape, answer, f"POST {path}").workflow_run_id

    async def cancel_run(self, key: RepoKey, run_id: int, *, force: bool) -> bool:
        """False when GitHub says the run cannot be cancelled (it ended already). `force` ignores `always()` steps."""
        path = "/actions/runs/{run_id}/force-cancel" if force else "/actions/runs/{run_id}/cancel"
        try:
            await self._send(key, "POST", path, {"run_id": run_id}, lane=Lane.RELEASE)
        except Conflict:
            return False
        return True

    def _run_facts(self, key: RepoKey, shape: RunShape, request: str) -> RunFacts:
        self._check_repo(key, shape.repository.id if shape.repository is not None else None, request)
        return RunFacts(
            id=shape.id,
            status=RUN_STATUS.get(shape.status, RunStatus.IN_PROGRESS),
            conclusion=shape.conclusion,
            run_attempt=shape.run_attempt,
            html_url=shape.html_url,
            display_title=shape.display_title,
            head_sha=shape.head_sha,
            created_at=shape.created_at,
        )
