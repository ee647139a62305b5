"""What is said about a route: who may call it, what it takes, what it answers, and an example that works.

A module with routes says it in a tuple `DESCRIBED` of these rows, next to its handlers; `bot/web/api/table.py` puts the
tuples together. The page of the API, the OpenAPI document and the tests are made from that one table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bot.web.api.problems import Code

REPO = "/api/v1/repos/{owner}/{repo}"
"""Where everything of one repository is."""

ITEM = f"{REPO}/items/{{number}}"
"""Where everything of one item is; `number` is that of its issue."""

ATTEMPT = "/api/v1/attempts/{attempt}"
"""Where everything of one attempt is."""

SHOWN_ATTEMPT = "a4f20c91"
"""The id of an attempt in examples."""

JSON = "application/json"
EVENT_STREAM = "text/event-stream"
BYTES = "application/octet-stream"


class Caller(StrEnum):
    """Who may call a route; the value is how a page says it."""

    ANYBODY = "anybody"
    GITHUB = "GitHub, by signature"
    PERSON = "a person, with a GitHub token"
    WORKER = "a worker, with a token of ours"
    ATTEMPT = "the attempt's token"
    CI = "a CI job, with the repository's CI token"
    CODE = "the single-use code of the attempt"
    START = "a run, with its OIDC token for the start audience"
    SCAN = "a run of the scan workflow, with its OIDC token"
    PUBLISH = "the run's publishing job, with its OIDC token"


class Header(StrEnum):
    """A header that a route reads beside `Authorization`."""

    IDEMPOTENCY_KEY = "Idempotency-Key"
    IF_MATCH = "If-Match"
    LAST_EVENT_ID = "Last-Event-ID"


@dataclass(frozen=True, slots=True)
class Example:
    """A call that works. Tests make it against a running bot, as somebody who may, and hold the answer to its form.

    `path` has values for the path's parameters beside those that the tests know (`owner`, `repo`, `number`,
    `attempt`). Ids in examples (`SHOWN_ATTEMPT`) stand for those of the running bot. `status` is what is answered.
    """

    body: Mapping[str, Any] | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    path: Mapping[str, str] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Row:
    """One route.

    `answers` has the form of the body for each status of success (None: no body). Forms are msgspec structs, typed
    dictionaries, data classes or pydantic models; `bytes`, there and as `body`, is a file as it is. `query` is a struct
    with a field for each parameter. `role` says
    which role or capability a person needs, in words. `problems` are codes beside those that follow from the rest.
    `wire` is the protocol when it is not request and answer (`sse`, `websocket`).
    """

    method: str
    path: str
    callers: tuple[Caller, ...]
    does: str
    answers: Mapping[int, Any] = field(default_factory=dict)
    body: type | None = None
    query: type | None = None
    role: str = "read"
    problems: tuple[Code, ...] = ()
    example: Example | None = None
    headers: tuple[Header, ...] = ()
    media: str = JSON
    wire: str = ""

    @property
    def name(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"

    @property
    def open(self) -> bool:
        """Whether it answers without a credential."""
        return Caller.ANYBODY in self.callers

    @property
    def in_api(self) -> bool:
        """Whether it is part of the versioned interface, which is described to programs."""
        return self.path.startswith("/api/")

    @property
    def codes(self) -> tuple[Code, ...]:
        """Every problem that it answers with."""
        found = set(self.problems) | {Code.INTERNAL}
        if Caller.ANYBODY not in self.callers:
            # All of these look into the ledger, if only for who is calling.
            found |= {Code.UNAVAILABLE}
        if not self.open:
            found |= {Code.UNAUTHENTICATED, Code.REFUSED}
        if Caller.PERSON in self.callers:
            found |= {Code.UPSTREAM, Code.LIMITED}
        if {Caller.START, Caller.SCAN, Caller.PUBLISH} & set(self.callers):
            found |= {Code.UPSTREAM}
        if {Caller.ATTEMPT, Caller.CODE, Caller.START, Caller.PUBLISH} & set(self.callers):
            found |= {Code.LOST_CLAIM}
        if self.body is not None or self.query is not None:
            found |= {Code.INVALID}
        return tuple(code for code in Code if code in found)
