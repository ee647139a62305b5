"""One pure module per webhook event, and the registry that names them: one callback for each event, no more.

An event that is not in the registry is none of ours. `Handler.read` is the only door: bytes in, `Intake` out; it
raises `msgspec.DecodeError` for text that is not JSON and `msgspec.ValidationError` for JSON of another form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar

import msgspec

from bot import payloads
from bot.domain.intake import Intake
from handlers import (
    check_run,
    check_suite,
    installation,
    installation_repositories,
    installation_target,
    issue_comment,
    issues,
    label,
    meta,
    ping,
    pull_request,
    pull_request_review,
    push,
    repository,
    status,
    workflow_job,
    workflow_run,
)

P = TypeVar("P", bound=msgspec.Struct)


class Reader(Protocol):
    """What the webhook needs of a handler, whatever the form of its payload."""

    def read(self, body: bytes, self_id: int | None) -> tuple[str | None, Intake]: ...


class Handler(Generic[P]):
    """The form of one event's payload and the function that reads it."""

    def __init__(self, form: type[P], handle: Callable[[P, int | None], Intake]) -> None:
        self._decoder = msgspec.json.Decoder(form)
        self._handle = handle

    def read(self, body: bytes, self_id: int | None) -> tuple[str | None, Intake]:
        """(action, intake) of a payload. `self_id` is our bot user's id; None while it is not known yet."""
        payload = self._decoder.decode(body)
        return getattr(payload, "action", None), self._handle(payload, self_id)


ALWAYS_DELIVERED = frozenset({"installation", "installation_repositories", "installation_target", "meta", "ping"})
"""Events that GitHub sends to every App; they cannot be subscribed to."""

REGISTRY: Mapping[str, Reader] = MappingProxyType(
    {
        "check_run": Handler(payloads.CheckRunPayload, check_run.handle),
        "check_suite": Handler(payloads.CheckSuitePayload, check_suite.handle),
        "installation": Handler(payloads.InstallationPayload, installation.handle),
        "installation_repositories": Handler(
            payloads.InstallationRepositoriesPayload, installation_repositories.handle
        ),
        "installation_target": Handler(payloads.InstallationTargetPayload, installation_target.handle),
        "issue_comment": Handler(payloads.IssueCommentPayload, issue_comment.handle),
        "issues": Handler(payloads.IssuesPayload, issues.handle),
        "label": Handler(payloads.Payload, label.handle),
        "meta": Handler(payloads.Payload, meta.handle),
        "ping": Handler(payloads.Payload, ping.handle),
        "pull_request": Handler(payloads.PullRequestPayload, pull_request.handle),
        "pull_request_review": Handler(payloads.PullRequestPayload, pull_request_review.handle),
        "push": Handler(payloads.PushPayload, push.handle),
        "repository": Handler(payloads.Payload, repository.handle),
        "status": Handler(payloads.StatusPayload, status.handle),
        "workflow_job": Handler(payloads.WorkflowJobPayload, workflow_job.handle),
        "workflow_run": Handler(payloads.WorkflowRunPayload, workflow_run.handle),
    }
)
