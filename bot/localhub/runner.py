"""Who executes jobs: real processes, or a test by hand.

Promise: `ProcessRunner` runs at most `max_jobs` at a time, each in folders of its own, and leaves
nothing behind, also when the hub stops in the middle. `ManualRunner` only remembers what is queued;
the test says what happens (`hub.actions.start(run)`, `finish(run, conclusion)`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bot.localhub.actions_model import Conclusion, Job, Status
from bot.localhub.job_execution import JobExecution
from bot.localhub.processes import Grace
from bot.localhub.runner_tools import write_tools

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

DEFAULT_MAX_JOBS: Final = 2  # a small machine stays usable while a demo runs


class ProcessRunner:
    """Runs jobs as processes of this machine."""

    def __init__(self, hub: Hub, *, max_jobs: int = DEFAULT_MAX_JOBS, grace: Grace | None = None) -> None:
        self.hub = hub
        self.grace = grace or Grace()
        self._slots = asyncio.Semaphore(max_jobs)
        self._active: dict[int, JobExecution] = {}

    def queue(self, job: Job) -> None:
        """Run the job as soon as there is a free place."""
        self.hub.spawn(self._run(job), f"job {job.name} of run {job.run.id}")

    def cancel(self, job: Job, *, force: bool) -> None:
        """End a running job: signals, or SIGKILL at once."""
        execution = self._active.get(job.id)
        if execution is not None:
            execution.cancel(force=force)

    async def _run(self, job: Job) -> None:
        async with self._slots:
            if job.status is not Status.QUEUED:
                return  # cancelled while it waited for a place
            root = self.hub.root / "runner"
            tools = write_tools(root / "tools")
            execution = JobExecution(self.hub, job, root / f"job-{job.id}", tools, self.grace)
            self._active[job.id] = execution
            try:
                self.hub.actions.job_started(job)
                conclusion, outputs = await execution.run()
            except Exception:
                # A fault of the runner itself: the run must not hang, and `settle` must report it.
                self.hub.actions.job_finished(job, Conclusion.FAILURE)
                raise
            finally:
                del self._active[job.id]
            self.hub.actions.job_finished(job, conclusion, outputs)


@dataclass
class ManualRunner:
    """Leaves every job to the test.

    With `obey_cancel` a cancelled job ends at once, as a well-behaved one does; without, it goes on
    until the test ends it.
    """

    hub: Hub
    obey_cancel: bool = True
    queued: list[Job] = field(default_factory=list)
    cancelled: list[Job] = field(default_factory=list)

    def queue(self, job: Job) -> None:
        """Remember the job."""
        self.queued.append(job)

    def cancel(self, job: Job, *, force: bool) -> None:
        """Remember the wish, and follow it when told to."""
        self.cancelled.append(job)
        if self.obey_cancel and not force:
            self.hub.actions.job_finished(job, Conclusion.CANCELLED)
