"""Why an item is not started, or what it waits for: a closed set of reasons with named parameters.

Promise: every `Waiting` that the product stores was made by one of the functions here, so its code is known, its
parameters are known, and `bot/texts/reasons.py` has a sentence for it. Parameters are plain text; foreign text in
them is defused where the sentence is built.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from bot.domain.model import Waiting
from bot.domain.timestamps import iso


class ReasonCode(StrEnum):
    """Each with the parameters in `PARAMS`. The order is the order in which people read them: nearest cause first."""

    NOT_TRACKED = "not_tracked"
    UNREADABLE = "unreadable"
    ARCHIVED = "archived"
    DISABLED = "disabled"
    PREFLIGHT = "preflight"
    PAUSED = "paused"
    NOT_APPROVED = "not_approved"
    GATE = "gate"
    PLAN = "plan"
    HUMAN_OWNED = "human_owned"
    FUSE = "fuse"
    HELD = "held"
    TAKEN = "taken"
    WORKER = "worker"
    NOT_PULLED = "not_pulled"
    DEPENDS_ON = "depends_on"
    NOT_BEFORE = "not_before"
    LOCKS = "locks"
    UNREVIEWED = "unreviewed"
    SLOTS = "slots"
    RUNS_TODAY = "runs_today"
    BUDGET = "budget"
    RATE_LIMITED = "rate_limited"
    QUEUED = "queued"
    CANCELLING = "cancelling"
    SUSPECT = "suspect"
    EXTERNAL = "external"
    CLAIM_UNREADABLE = "claim_unreadable"
    CLAIMED = "claimed"
    STARTING = "starting"
    RUNNING = "running"
    AFRESH = "afresh"
    QUESTION = "question"
    LOOK = "look"
    CI_FAILED = "ci_failed"
    CI_PENDING = "ci_pending"
    CONFLICT = "conflict"
    REVIEW = "review"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DONE = "done"


PARAMS: Final = MappingProxyType(
    {
        ReasonCode.NOT_TRACKED: (),
        ReasonCode.UNREADABLE: (),
        ReasonCode.ARCHIVED: (),
        ReasonCode.DISABLED: (),
        ReasonCode.PREFLIGHT: ("what", "remedy"),
        ReasonCode.PAUSED: ("by", "reason", "until"),
        ReasonCode.NOT_APPROVED: ("state", "approver"),
        ReasonCode.GATE: ("role", "run"),
        ReasonCode.PLAN: ("what", "remedy"),
        ReasonCode.HUMAN_OWNED: (),
        ReasonCode.FUSE: ("since",),
        ReasonCode.HELD: ("by", "reason"),
        ReasonCode.TAKEN: ("worker", "attempt"),
        ReasonCode.WORKER: ("needs", "until"),
        ReasonCode.NOT_PULLED: (),
        ReasonCode.DEPENDS_ON: ("number",),
        ReasonCode.NOT_BEFORE: ("at", "why"),
        ReasonCode.LOCKS: ("path", "number"),
        ReasonCode.UNREVIEWED: ("count", "limit"),
        ReasonCode.SLOTS: ("count", "limit"),
        ReasonCode.RUNS_TODAY: ("limit",),
        ReasonCode.BUDGET: ("scope", "limit", "until"),
        ReasonCode.RATE_LIMITED: ("until",),
        ReasonCode.QUEUED: ("position", "place"),
        ReasonCode.CANCELLING: ("attempt", "by"),
        ReasonCode.SUSPECT: ("attempt", "since"),
        ReasonCode.EXTERNAL: ("owner", "since"),
        ReasonCode.CLAIM_UNREADABLE: ("ref",),
        ReasonCode.CLAIMED: ("attempt",),
        ReasonCode.STARTING: ("attempt", "run"),
        ReasonCode.RUNNING: ("attempt", "run"),
        ReasonCode.AFRESH: (),
        ReasonCode.QUESTION: ("number", "approver", "role", "until", "text", "expired"),
        ReasonCode.LOOK: ("approver", "role", "workflows"),
        ReasonCode.CI_FAILED: ("pull", "checks"),
        ReasonCode.CI_PENDING: ("pull",),
        ReasonCode.CONFLICT: ("pull",),
        ReasonCode.REVIEW: ("pull",),
        ReasonCode.FAILED: ("reason",),
        ReasonCode.CANCELLED: ("reason",),
        ReasonCode.DONE: ("pull",),
    }
)
"""The parameters of each reason, in order. Every one may be left out or empty; the sentence then says less."""

SAME: Final = 128
"""Reasons that are remembered. A queue waits for a few things; each run and time that is named makes one of its own,
and thousands of those would fill the memory over weeks."""


@lru_cache(maxsize=SAME, typed=True)
def waiting(code: ReasonCode, **params: object) -> Waiting:
    """A reason as the ledger stores it. Times become ISO 8601 in UTC. Raises ValueError for an unknown parameter.

    Remembered: most of a long queue waits for the same.
    """
    names = PARAMS[code]
    unknown = set(params) - set(names)
    if unknown:
        raise ValueError(f"{code.value} has no parameter {', '.join(sorted(unknown))}")
    return Waiting(code.value, tuple((name, _text(params[name])) for name in names if name in params))


def code_of(reason: Waiting) -> ReasonCode | None:
    """The reason's code; None for one that another version of the product stored."""
    try:
        return ReasonCode(reason.code)
    except ValueError:
        return None


_PLACES: Final = {code.value: place for place, code in enumerate(ReasonCode)}


def in_order(reasons: tuple[Waiting, ...]) -> tuple[Waiting, ...]:
    """Nearest cause first, as people read them; unknown ones last."""
    return tuple(sorted(reasons, key=lambda reason: (_PLACES.get(reason.code, len(_PLACES)), reason.params)))


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return iso(value)
    return "" if value is None else str(value)
