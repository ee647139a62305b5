"""The one interface of `tgs server backlog`, whatever stands behind it.

Two implementations: the running bot (`server_backlog.py`), and GitHub alone with the person's own token
(`github_backlog.py`). Promise of each: at most one claimer has an item; what was claimed can only be settled by who
claimed it; an operation that changed nothing says so.

Errors: `UserError` for what the person can mend (a folder without a plan, a broken file), `NothingThere` when the
backlog has nothing to give, `Taken` when somebody else has the item, `LostClaim` when the claim is not the caller's any
more, `Refused` when policy or evidence forbids it, `GitHubError` kinds when the other side cannot be reached.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from bot.domain.model import ItemState
from bot.errors import TgsError, UserError


class NothingThere(TgsError):
    """There is no item to give. `why` are sentences: what waits, and for what."""

    def __init__(self, what: str, why: Sequence[str] = ()) -> None:
        super().__init__(" ".join([what, *why]))
        self.what = what
        self.why = tuple(why)


class Taken(UserError):
    """Somebody else has the item. `owner` is who, `lease_until` how long their claim holds without a sign of life."""

    def __init__(self, what: str, *, owner: str, lease_until: datetime | None = None, remedy: str = "") -> None:
        super().__init__(what, remedy)
        self.owner = owner
        self.lease_until = lease_until


class Moved(UserError):
    """The thing changed between the look and the write; look again."""


class Status(StrEnum):
    """The words of the backlog file for where an item stands."""

    PROPOSED = "proposed"
    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Entry:
    """One item as a line of the list. `number` is None in a backlog without issues.

    `position` is the place in the queue; beyond 5 it is the least that the place can be.
    """

    dir: str | None
    title: str
    state: ItemState
    status: Status
    priority: int = 0
    number: int | None = None
    position: int | None = None
    added_at: datetime | None = None
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    claimed_by: str | None = None
    attempts: int = 0
    pull_request: int | None = None
    labels: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """How people name it: its number, or its folder."""
        return f"#{self.number}" if self.number is not None else (self.dir or self.title)


@dataclass(frozen=True, slots=True)
class ItemRef:
    """Which item a command means: exactly one of the two is set."""

    number: int | None = None
    dir: str | None = None

    def __str__(self) -> str:
        return f"#{self.number}" if self.number is not None else str(self.dir)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket file as `add` reads it; the fields are those of front matter."""

    title: str
    body: str
    fields: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Addition:
    """What is to be added: an existing issue, a thought folder, or a ticket. Options left None are not touched."""

    ref: ItemRef | None = None
    ticket: Ticket | None = None
    title: str | None = None
    priority: int | None = None
    locks: tuple[str, ...] | None = None
    depends_on: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """`new` is False when it was queued already."""

    entry: Entry
    new: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a claimer asks for. `name` is shown to others; `capabilities` are matched with the items' needs."""

    name: str
    ref: ItemRef | None = None
    count: int = 1
    peek: bool = False
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed item and all that is needed to work on it and to report back.

    `token` is the claim's secret (never printed but by `next` and `claim` themselves, empty with `peek`); `fence` is
    named by every later call. `context` lists the files to read first; `commands` are the lines that report the end.
    """

    entry: Entry
    attempt: str
    fence: int
    token: str
    branch: str
    base_sha: str | None
    lease_until: datetime | None
    context: tuple[str, ...] = ()
    commands: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Held:
    """A claim that is to be settled: what `next` printed, or what the environment remembers of it."""

    ref: ItemRef
    attempt: str | None = None
    fence: int | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a failed attempt ended. `retryable` None: the reason decides."""

    reason: str
    message: str = ""
    retryable: bool | None = None
    log: str | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the item. `due_at`: a retry starts no earlier than then. `text` is one sentence for people."""

    entry: Entry
    text: str
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not fit. `severity` is error or warning; `fixed` says that `--fix` has put it right."""

    code: str
    severity: str
    item: str | None
    message: str
    remedy: str
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a look at the thought folders found: folders that were added now, and those that cannot be, with why."""

    added: tuple[Entry, ...]
    known: int
    refused: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class LockHeld:
    """A path and who holds it."""

    path: str
    item: str
    owner: str
    since: datetime | None
    mode: str = "write"


class Backlog(Protocol):
    """One repository's backlog. Opened and closed by whoever makes it."""

    async def add(self, addition: Addition) -> Added: ...
    async def remove(self, ref: ItemRef, *, force: bool = False) -> Settled:
        """Dequeue. Raises Refused while somebody works on it, unless `force`."""
        ...

    async def entries(
        self, *, states: Sequence[ItemState] = (), statuses: Sequence[Status] = (), labels: Sequence[str] = ()
    ) -> list[Entry]:
        """In the order of the queue, ended ones last. Filters of one kind are alternatives, kinds must all match."""
        ...

    async def claim(self, wanted: Wanted) -> list[Claim]:
        """The named item, or the next ones in the scheduler's order. Raises NothingThere, Taken or Refused."""
        ...

    async def complete(self, held: Held, *, evidence: str | None = None) -> Settled:
        """Raises Refused when the evidence is missing; `evidence` is a person's word that no pull request is needed."""
        ...

    async def fail(self, held: Held, ending: Ending) -> Settled: ...
    async def validate(self, *, fix: bool = False) -> list[Finding]: ...
    async def scan(self, *, apply: bool) -> Scanned: ...
    async def export(self) -> Mapping[str, object]:
        """The backlog file, version "1"."""
        ...

    async def import_(self, file: Mapping[str, object]) -> list[Added]:
        """Create what is not there yet; what is there stays as it is."""
        ...

    async def locks(self) -> list[LockHeld]: ...
    async def release_lock(self, path: str) -> Settled: ...
    async def explain(self, ref: ItemRef) -> list[str]:
        """Why the item does or does not move, as sentences."""
        ...
