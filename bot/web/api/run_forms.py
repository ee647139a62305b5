"""The forms of the calls of runs: what each takes and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from bot.domain.attempt import MAX_SHOWN_DIFF
from bot.domain.bundle import ContextBundle
from bot.domain.doubts import MAX_DOUBTS, MAX_FINDINGS, DoubtKind
from bot.domain.identity import RunSecret, secret_pattern
from bot.domain.opinion import MAX_SAYS, OpinionOutcome
from bot.domain.questions import MAX_ASKED_TEXT, MAX_CHOICES, MAX_DESCRIPTION, MAX_LABEL, MAX_QUESTIONS

EXAMPLE_CODE = "tgh_" + "0" * 48
EXAMPLE_TOKEN = "tga_" + "0" * 48

HandoffCode = Annotated[str, msgspec.Meta(pattern=secret_pattern(RunSecret.HANDOFF))]
AttemptToken = Annotated[str, msgspec.Meta(pattern=secret_pattern(RunSecret.ATTEMPT))]
Asker = Annotated[str, msgspec.Meta(pattern=secret_pattern(RunSecret.PUBLISHER))]


class ActivateBody(msgspec.Struct, forbid_unknown_fields=True):
    handoff: HandoffCode
    claim_id: str | None = None
    issue: int | None = None


class HandoffBody(msgspec.Struct, forbid_unknown_fields=True):
    fence: int
    code: str
    token: AttemptToken


class ContextQuery(msgspec.Struct):
    fence: Annotated[int, msgspec.Meta(description="For the publishing job: the fence it was started with.")] = -1


class ProgressBody(msgspec.Struct, forbid_unknown_fields=True):
    step: int
    total: int
    text: str


class HeartbeatBody(msgspec.Struct, forbid_unknown_fields=True):
    """`heard` is the number of the last words of people that the agent has; without it each are given once."""

    fence: int
    progress: ProgressBody | None = None
    heard: Annotated[int, msgspec.Meta(ge=0)] | None = None


Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_LABEL)]
SessionId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]


class ChoiceBody(msgspec.Struct, forbid_unknown_fields=True):
    label: Label
    description: Annotated[str, msgspec.Meta(max_length=MAX_DESCRIPTION)] = ""


class QuestionBody(msgspec.Struct, forbid_unknown_fields=True):
    """`id` is the agent's own, unique in its ask. `default` is the label of a choice. Without choices words answer."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ASKED_TEXT)]
    header: Annotated[str, msgspec.Meta(max_length=MAX_LABEL)] = ""
    choices: Annotated[list[ChoiceBody], msgspec.Meta(max_length=MAX_CHOICES)] = []
    several: bool = False
    default: str | None = None


QuestionBodies = Annotated[list[QuestionBody], msgspec.Meta(max_length=MAX_QUESTIONS)]


class UsageBody(msgspec.Struct, forbid_unknown_fields=True):
    """What this attempt alone used; money in millionths of a US dollar."""

    turns: Count = 0
    input_tokens: Count = 0
    output_tokens: Count = 0
    cache_read_tokens: Count = 0
    cache_write_tokens: Count = 0
    cost_microusd: Count = 0
    model: Annotated[str, msgspec.Meta(max_length=200)] = ""


RetryAt = Annotated[
    datetime, msgspec.Meta(tz=True, description="When a spent quota is filled again; at most eight days are waited.")
]


class AskBody(msgspec.Struct, forbid_unknown_fields=True):
    """`wait` is in seconds; policy may allow less (`questions.inline_wait`)."""

    fence: int
    questions: Annotated[list[QuestionBody], msgspec.Meta(min_length=1, max_length=MAX_QUESTIONS)]
    wait: Annotated[float, msgspec.Meta(ge=0, le=60)] = 0.0


class AskedView(msgspec.Struct):
    """`number` is what people type on the issue; `answer` holds labels of choices, or words."""

    id: str
    number: int
    status: str
    answer: list[str]


class Answers(msgspec.Struct):
    """`answered`: every question has its answer. Otherwise ask again to wait on, or end with a report that asks."""

    answered: bool
    questions: list[AskedView]


PromptVersion = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class DoubtBody(msgspec.Struct, forbid_unknown_fields=True):
    """What about a result a reviewer must see; `where` is a path or a command, `says` is of a second opinion."""

    kind: DoubtKind
    where: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    says: Annotated[str, msgspec.Meta(max_length=MAX_SAYS)] = ""


MAX_TOLD = MAX_DOUBTS + MAX_FINDINGS
DoubtBodies = Annotated[list[DoubtBody], msgspec.Meta(max_length=MAX_TOLD)]


class OpinionBody(msgspec.Struct, forbid_unknown_fields=True):
    """How the second opinion ended; what it doubts stands under `doubts`. `prompt` is the SHA-256 of its prompt."""

    outcome: OpinionOutcome
    findings: Annotated[int, msgspec.Meta(ge=0, le=MAX_FINDINGS)] = 0
    prompt: PromptVersion | None = None
    model: Annotated[str, msgspec.Meta(max_length=200)] = ""


class ReportBody(msgspec.Struct, forbid_unknown_fields=True):
    """With `asked` the attempt ends with questions for people; `session_id` names the agent's conversation.

    `prompt` is the SHA-256 of the prompt that the agent began with.
    """

    fence: int
    succeeded: bool
    reason: str | None = None
    detail: str = ""
    summary: str = ""
    bundle_digest: str | None = None
    isolation: str | None = None
    asked: QuestionBodies = []
    session_id: SessionId | None = None
    usage: UsageBody | None = None
    retry_at: RetryAt | None = None
    prompt: PromptVersion | None = None
    doubts: DoubtBodies = []
    opinion: OpinionBody | None = None


class PublishBody(msgspec.Struct, forbid_unknown_fields=True):
    fence: int
    asker: Asker
    bundle_digest: str
    head_sha: str
    base_sha: str
    files: int = 0
    insertions: int = 0
    deletions: int = 0
    deleted_tests: tuple[str, ...] = ()


class PublishedBody(msgspec.Struct, forbid_unknown_fields=True):
    fence: int
    head_sha: str
    doubts: DoubtBodies = []


class WithheldBody(msgspec.Struct, forbid_unknown_fields=True):
    """A good result that waits for a look. `diff` is its difference, as git writes it, cut where nobody reads on."""

    fence: int
    bundle_digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    diff: Annotated[str, msgspec.Meta(max_length=MAX_SHOWN_DIFF)] = ""
    files: Count = 0
    insertions: Count = 0
    deletions: Count = 0
    doubts: DoubtBodies = []


class RefusedBody(msgspec.Struct, forbid_unknown_fields=True):
    fence: int
    reason: str
    detail: str = ""


class Activated(msgspec.Struct):
    """The claim that the run is bound to. `publish_only`: the work was handed in and waits for its gate."""

    attempt: str
    number: int
    fence: int
    issue: int
    lease_until: datetime | None
    publish_only: bool
    bundle_digest: str | None


class ScanStarted(msgspec.Struct):
    repository: str


class HandedOver(msgspec.Struct):
    context: ContextBundle
    heartbeat_seconds: float


class Heard(msgspec.Struct):
    """`steer` are sentences of people for the agent, `steer_seq` the number of the last, to be sent back as `heard`."""

    lease_until: datetime
    cancel: bool
    steer: list[str]
    drain: bool
    steer_seq: int = 0


class Granted(msgspec.Struct):
    """The write token of one repository; it ends at `expires_at`."""

    token: str
    expires_at: datetime
    repo_url: str
    branch: str


class Noted(msgspec.Struct):
    """It was written down."""
