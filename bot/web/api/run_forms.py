"""The forms of the calls of runs: what each takes and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from bot.domain.bundle import ContextBundle
from bot.domain.identity import RunSecret, secret_pattern

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
    fence: int
    progress: ProgressBody | None = None


class ReportBody(msgspec.Struct, forbid_unknown_fields=True):
    fence: int
    succeeded: bool
    reason: str | None = None
    detail: str = ""
    summary: str = ""
    bundle_digest: str | None = None
    isolation: str | None = None


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
    """`steer` are sentences of people for the agent, each given once."""

    lease_until: datetime
    cancel: bool
    steer: list[str]
    drain: bool


class Granted(msgspec.Struct):
    """The write token of one repository; it ends at `expires_at`."""

    token: str
    expires_at: datetime
    repo_url: str
    branch: str


class Noted(msgspec.Struct):
    """It was written down."""
