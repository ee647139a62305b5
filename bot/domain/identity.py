"""Who a run is, as its verified OIDC token said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """The claims of a verified token that decisions use. Ids are numbers, as GitHub's database has them."""

    repository_id: int
    owner_id: int
    run_id: int
    run_attempt: int
    event: str
    workflow_ref: str
    job_workflow_ref: str
    environment: str | None
    check_run_id: int | None
    runner: str
    actor_id: int
    actor: str
    jti: str
    expires_at: datetime
