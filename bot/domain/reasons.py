"""Why something is or is not happening: a closed list of reasons with their parameters.

The scheduler, the item's rules, the status comment, `/tgs why`, the API and the command line all speak in these.
`bot/texts/reasons.py` has the words for each code; a test checks that none is missing.
"""

from __future__ import annotations

from enum import StrEnum

from bot.domain.model import Waiting


class ReasonCode(StrEnum):
    """Every reason; the comment names its parameters."""

    # why a start waits
    DISABLED = "disabled"
    ARCHIVED = "archived"
    PAUSED = "paused"  # by, reason, until (ISO or empty)
    PREFLIGHT = "preflight"  # what, remedy
    HUMAN_OWNED = "human_owned"
    HELD = "held"  # by ("label" or a login), reason
    NOT_BEFORE = "not_before"  # at (ISO), why (failure reason or empty)
    DEPENDS_ON = "depends_on"  # number
    LOCKS = "locks"  # path, number
    UNREVIEWED = "unreviewed"  # count, limit
    SLOTS = "slots"  # count, limit
    RUNS_TODAY = "runs_today"  # limit
    BUDGET = "budget"  # limit
    TAKEN = "taken"  # worker, attempt
    NOT_APPROVED = "not_approved"  # state
    QUEUED = "queued"  # position
    # what an item in work is doing
    CLAIMED = "claimed"  # attempt
    STARTING = "starting"  # attempt, run
    RUNNING = "running"  # attempt, run
    SUSPECT = "suspect"  # attempt, since (ISO)
    CANCELLING = "cancelling"  # attempt, by
    # what an item in review waits for
    CI_PENDING = "ci_pending"  # pull
    CI_FAILED = "ci_failed"  # pull, checks
    REVIEW = "review"  # pull
    CONFLICT = "conflict"  # pull
    # how an item ended
    DONE = "done"  # pull
    FAILED = "failed"  # reason
    CANCELLED = "cancelled"  # reason
    NOT_TRACKED = "not_tracked"


def waiting(code: ReasonCode, **params: object) -> Waiting:
    """A reason with its parameters as strings."""
    return Waiting(code.value, tuple((name, str(value)) for name, value in params.items()))
