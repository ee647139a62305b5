"""`workflow_run`: a run was requested, started or ended; look at the attempt that owns it and at its commit.

The hint is `completed` as soon as the payload says that the run is over, else the action. It is a hint: the end of
a run is read from GitHub before anything is released. Never dropped as our own: the bot dispatches the runs.
"""

from __future__ import annotations

from bot.domain.intake import Intake, TouchKind
from bot.payloads import WorkflowRunPayload
from handlers.reading import NOTHING, scope_of

COMPLETED = "completed"


def handle(payload: WorkflowRunPayload, self_id: int | None) -> Intake:
    scope = scope_of(payload)
    if scope is None:
        return NOTHING
    run = payload.workflow_run
    hint = COMPLETED if COMPLETED in (payload.action, run.status) else payload.action or ""
    return scope.intake(
        scope.touch(TouchKind.RUN, run.id, hint),
        scope.touch(TouchKind.HEAD, run.head_sha),
    )
