"""Why an item is not started, or what it waits for: a closed set of reasons with named parameters.

Promise: every `Waiting` that the product stores was made by one of the functions here, so its code is known, its
parameters are complete, and `bot/texts/reasons.py` has a sentence for it. Parameters are plain text; foreign text in
them is defused where the sentence is built.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from bot.domain.model import Waiting


class ReasonCode(StrEnum):
    """Each with the parameters in `PARAMS`. The order is the order in which people read them: nearest cause first."""

    UNREADABLE = "unreadable"
    SUSPENDED = "suspended"
    ARCHIVED = "archived"
    DISABLED = "disabled"
    PREFLIGHT = "preflight"
    PAUSED = "paused"
    NOT_APPROVED = "not_approved"
    APPROVAL_VOID = "approval_void"
    HUMAN_OWNED = "human_owned"
    HELD = "held"
    DEPENDS_ON = "depends_on"
    NOT_BEFORE = "not_before"
    LIVE_ATTEMPT = "live_attempt"
    NEEDS_ANSWER = "needs_answer"
    LOCKS = "locks"
    SLOTS = "slots"
    UNREVIEWED = "unreviewed"
    BUDGET = "budget"
    DISPATCHES = "dispatches"
    RATE_LIMITED = "rate_limited"
    QUEUE = "queue"
    WAITING_WORKER = "waiting_worker"
    WAITING_CI = "waiting_ci"
    CI_FAILED = "ci_failed"
    WAITING_REVIEW = "waiting_review"
    NOT_MERGEABLE = "not_mergeable"
    OPERATOR_STOP = "operator_stop"


PARAMS: Final = MappingProxyType(
    {
        ReasonCode.UNREADABLE: (),
        ReasonCode.SUSPENDED: (),
        ReasonCode.ARCHIVED: (),
        ReasonCode.DISABLED: (),
        ReasonCode.PREFLIGHT: ("problem",),
        ReasonCode.PAUSED: ("by", "reason", "until"),
        ReasonCode.NOT_APPROVED: ("needs",),
        ReasonCode.APPROVAL_VOID: ("why",),
        ReasonCode.HUMAN_OWNED: (),
        ReasonCode.HELD: ("by", "reason"),
        ReasonCode.DEPENDS_ON: ("issues",),
        ReasonCode.NOT_BEFORE: ("at",),
        ReasonCode.LIVE_ATTEMPT: ("attempt",),
        ReasonCode.NEEDS_ANSWER: (),
        ReasonCode.LOCKS: ("issue", "path"),
        ReasonCode.SLOTS: ("used", "limit"),
        ReasonCode.UNREVIEWED: ("open", "limit"),
        ReasonCode.BUDGET: ("scope", "limit"),
        ReasonCode.DISPATCHES: ("limit",),
        ReasonCode.RATE_LIMITED: ("until",),
        ReasonCode.QUEUE: ("ahead",),
        ReasonCode.WAITING_WORKER: (),
        ReasonCode.WAITING_CI: ("pending",),
        ReasonCode.CI_FAILED: ("failed",),
        ReasonCode.WAITING_REVIEW: ("pull",),
        ReasonCode.NOT_MERGEABLE: ("state",),
        ReasonCode.OPERATOR_STOP: (),
    }
)
"""The parameters of each reason, in order. Absent optional ones are empty text."""


def waiting(code: ReasonCode, **params: object) -> Waiting:
    """A reason as the ledger stores it. Times become ISO 8601 in UTC. Raises ValueError for a wrong set of parameters."""
    names = PARAMS[code]
    if set(params) != set(names):
        raise ValueError(f"{code.value} takes {', '.join(names) or 'no parameters'}, not {', '.join(params) or 'none'}")
    return Waiting(code.value, tuple((name, _text(params[name])) for name in names))


def code_of(reason: Waiting) -> ReasonCode | None:
    """The reason's code; None for one that another version of the product stored."""
    try:
        return ReasonCode(reason.code)
    except ValueError:
        return None


def in_order(reasons: tuple[Waiting, ...]) -> tuple[Waiting, ...]:
    """Nearest cause first, as people read them; unknown ones last."""
    order = {code.value: index for index, code in enumerate(ReasonCode)}
    return tuple(sorted(reasons, key=lambda reason: (order.get(reason.code, len(order)), reason.params)))


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return "" if value is None else str(value)
