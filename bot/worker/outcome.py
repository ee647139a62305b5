"""How an attempt ended, and how that is said to the bot, within the limits of what the bot takes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from bot.domain.doubts import Doubt
from bot.domain.model import FailureReason
from bot.domain.opinion import MAX_SAYS, OpinionNote
from bot.domain.questions import MAX_ASKED_TEXT, MAX_CHOICES, MAX_DESCRIPTION, MAX_LABEL, AskedQuestion
from bot.domain.usage import Usage
from bot.worker.isolation import Isolation


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How the work ended. `bundle_digest` is there exactly when it succeeded; `asked` when people must answer first.

    `usage`, `not_before` (when a spent quota is filled again) and `prompt_version` are the agent's, however it ended.
    `opinion` is how the second opinion ended, None when none was wanted; what it doubts stands under `doubts`.
    """

    succeeded: bool
    reason: FailureReason | None = None
    detail: str = ""
    summary: str = ""
    bundle_digest: str | None = None
    isolation: Isolation | None = None
    asked: tuple[AskedQuestion, ...] = ()
    session_id: str | None = None
    usage: Usage | None = None
    not_before: datetime | None = None
    prompt_version: str = ""
    doubts: tuple[Doubt, ...] = ()
    opinion: OpinionNote | None = None


class AttemptFailed(Exception):
    """The attempt ends here, for a reason that the bot shall know. `session_id`: its conversation was left behind."""

    def __init__(self, reason: FailureReason, detail: str, summary: str = "", session_id: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.summary = summary
        self.session_id = session_id


def report_form(fence: int, outcome: RunOutcome) -> dict[str, object]:
    """The report of the agent's job."""
    report: dict[str, object] = {
        "fence": fence,
        "succeeded": outcome.succeeded,
        "reason": outcome.reason.value if outcome.reason is not None else None,
        "detail": outcome.detail,
        "summary": outcome.summary,
        "bundle_digest": outcome.bundle_digest,
        "isolation": outcome.isolation.value if outcome.isolation is not None else None,
    }
    if outcome.doubts:
        report["doubts"] = doubts_form(outcome.doubts)
    if outcome.opinion is not None:
        report["opinion"] = {name: value for name, value in asdict(outcome.opinion).items() if value}
    if outcome.asked:
        report["asked"] = [question_form(question) for question in outcome.asked]
    if outcome.prompt_version:
        report["prompt"] = outcome.prompt_version
    report |= counted_form(outcome)
    return report


def counted_form(outcome: RunOutcome) -> dict[str, object]:
    """What the agent used, what it left behind and when it can be asked again; only what is known."""
    found: dict[str, object] = {} if outcome.usage is None else {"usage": asdict(outcome.usage)}
    if outcome.session_id is not None:
        found["session_id"] = outcome.session_id
    return found if outcome.not_before is None else {**found, "retry_at": outcome.not_before.isoformat()}


def question_form(question: AskedQuestion) -> dict[str, object]:
    """A question as the bot takes it, within its limits."""
    return {
        "id": question.id[:64],
        "text": question.text[:MAX_ASKED_TEXT],
        "header": question.header[:MAX_LABEL],
        "choices": [
            {"label": choice.label[:MAX_LABEL], "description": choice.description[:MAX_DESCRIPTION]}
            for choice in question.choices[:MAX_CHOICES]
        ],
        "several": question.several,
        "default": None if question.default is None else question.default[:MAX_LABEL],
    }


def doubts_form(doubts: Sequence[Doubt]) -> list[dict[str, str]]:
    """The doubts as the bot takes them."""
    return [
        {
            "kind": doubt.kind.value,
            "where": doubt.where[:1_000],
            **({"says": doubt.says[:MAX_SAYS]} if doubt.says else {}),
        }
        for doubt in doubts
    ]
