"""Who a run is, as its verified OIDC token said, and the secrets that its jobs choose themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class RunSecret(StrEnum):
    """The prefix of each secret that a job makes and the bot keeps as a sum.

    The side that asks makes it, so the bot's answer holds no secret and may get lost: whoever repeats the call with the
    same secret is the same caller.
    """

    HANDOFF = "tgh_"
    ATTEMPT = "tga_"
    PUBLISHER = "tgp_"


RANDOM_PART: Final = "[A-Za-z0-9_-]{40,100}"
"""What follows the prefix: at least 160 bits also when it is hexadecimal."""


def secret_pattern(kind: RunSecret) -> str:
    """The form that the bot accepts, as a regular expression of the whole text."""
    return f"^{kind.value}{RANDOM_PART}$"


@dataclass(frozen=True, slots=True)
class RunIdentity:
    """The claims of a verified token that decisions use. Ids are numbers, as GitHub's database has them.

    `check_run_id` is the job that asked for the token: GitHub gives a job and its check run the same id.
    """

    repository_id: int
    owner_id: int
    run_id: int
    run_attempt: int
    event: str
    workflow_ref: str
    job_workflow_ref: str
    environment: str | None
    check_run_id: int
    runner: str
    actor_id: int
    actor: str
    jti: str
    expires_at: datetime
