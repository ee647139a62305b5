"""What the calls about items take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypedDict

import msgspec

from bot.backlog import MAX_PAGE, Listed
from bot.domain.questions import QuestionStatus

PAGE = 100
"""Items of one answer unless the caller says otherwise."""

HISTORY = 100
"""Lines of history of one answer unless the caller says otherwise."""

Locks = Annotated[list[str], msgspec.Meta(max_length=50)]
Dependencies = Annotated[list[Annotated[int, msgspec.Meta(ge=1, le=999_999_999)]], msgspec.Meta(max_length=50)]
Priority = Annotated[int, msgspec.Meta(ge=-1000, le=1000)]
Title = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]


class ItemsQuery(msgspec.Struct):
    """`state`, `status` and `label` may be repeated; values of one are alternatives."""

    state: list[str] = []
    status: list[str] = []
    label: list[str] = []
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE)] = PAGE
    cursor: str | None = None


class TicketBody(msgspec.Struct, forbid_unknown_fields=True):
    title: str
    body: str = ""
    fields: dict[str, Any] = {}


class AddBody(msgspec.Struct, forbid_unknown_fields=True):
    """Exactly one of `number`, `dir` and `ticket`."""

    number: Annotated[int, msgspec.Meta(ge=1)] | None = None
    dir: str | None = None
    ticket: TicketBody | None = None
    title: Title | None = None
    priority: Priority | None = None
    locks: Locks | None = None
    depends_on: Dependencies | None = None


class EnqueueBody(AddBody, forbid_unknown_fields=True, kw_only=True):
    """The same with the repository as owner/name."""

    repo: str


class LogView(msgspec.Struct):
    """What the worker handed in with its failure, without anything that looks like a secret."""

    text: str
    at: datetime


class ChangeBody(msgspec.Struct, forbid_unknown_fields=True):
    priority: Priority | None = None
    locks: Locks | None = None
    depends_on: Dependencies | None = None


class RemoveQuery(msgspec.Struct):
    force: bool = False


class HistoryQuery(msgspec.Struct):
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = HISTORY


class ItemPage(msgspec.Struct):
    items: list[Listed]
    next_cursor: str | None


class Changed(msgspec.Struct):
    """What was done, as a sentence, and the item as it is now."""

    text: str
    item: Listed


class Taken(msgspec.Struct):
    """The command was taken and is not carried out yet. `item` is null when it was not in the backlog before."""

    text: str
    number: int
    item: Listed | None


class FoundProblem(TypedDict):
    code: str
    what: str
    remedy: str


class OfferedChoice(TypedDict):
    label: str
    description: str


class QuestionView(TypedDict):
    """A question of the item's agent. `number` is what people type; `comment_id` is where it was asked."""

    number: int
    header: str
    text: str
    choices: list[OfferedChoice]
    several: bool
    default: str | None
    status: QuestionStatus
    asked_at: str
    deadline: str | None
    attempt: str
    comment_id: int | None
    answer: list[str]
    answered_by: str | None
    answered_at: str | None


class ItemView(Listed):
    """An item with what the list leaves out."""

    since: str
    not_before: str | None
    type: str
    locks: list[str]
    depends_on: list[int]
    needs: list[str]
    held_by: str | None
    approved_by: str | None
    approved_at: str | None
    last_failure: str | None
    findings: list[FoundProblem]
    questions: list[QuestionView]


class Explained(msgspec.Struct):
    """Sentences in the order in which they should be read; far behind in the queue the first says the exact place."""

    lines: list[str]


class AttemptView(msgspec.Struct):
    """One claim of an item."""

    id: str
    repo: str
    issue: int
    number: int
    fence: int
    kind: str
    phase: str
    live: bool
    worker: str
    worker_kind: str
    branch: str
    base_sha: str | None
    run_id: int | None
    claimed_at: datetime
    started_at: datetime | None
    lease_until: datetime | None
    ended_at: datetime | None
    outcome: str | None
    reason: str | None
    detail: str | None
    progress: str | None


class Attempts(msgspec.Struct):
    attempts: list[AttemptView]


class HistoryLine(msgspec.Struct):
    at: str
    kind: str
    actor: str
    cause: str
    from_state: str | None
    to_state: str | None
    attempt: str | None
    fence: int | None


class History(msgspec.Struct):
    """Lines, oldest first. `removed`: older ones that are not kept any more."""

    history: list[HistoryLine]
    removed: int = 0
