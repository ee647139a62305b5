"""`workflow_job`: a job of a run moved; look at the attempt that owns the run. One job does not end a run."""

from __future__ import annotations

from bot.domain.intake import Intake, TouchKind
from bot.payloads import WorkflowJobPayload
from handlers.reading import NOTHING, scope_of


def handle(payload: WorkflowJobPayload, self_id: int | None) -> Intake:
    scope = scope_of(payload)
    if scope is None:
        return NOTHING
    return scope.intake(scope.touch(TouchKind.RUN, payload.workflow_job.run_id))
