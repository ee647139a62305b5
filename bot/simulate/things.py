"""What the model of GitHub is made of: people and places that never change, and records that keep what they were."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from bot.domain.facts import ContentEdit, IssueFacts, LabelEvent, RunFacts, RunStatus
from bot.domain.model import InstallationId, Person, RepoId, RepoKey, Role

V = TypeVar("V")

BOT = Person(500, "tgs[bot]", is_bot=True)
OWNER = Person(1, "olga")
MARIA = Person(2, "maria")
TOM = Person(3, "tom")
RITA = Person(4, "rita")
ROLES = {OWNER.id: Role.ADMIN, MARIA.id: Role.WRITE, TOM.id: Role.TRIAGE, RITA.id: Role.READ}
KEY = RepoKey(InstallationId(11), RepoId(21))
FULL_NAME = "olga/greeter"
MAIN = "main"
WORKFLOW = ".github/workflows/tgs-server-run.yml"
PERMISSIONS = {"actions": "write", "contents": "write", "issues": "write", "pull_requests": "write", "checks": "write"}


class Versions(Generic[V]):
    """A value with all it ever was."""

    def __init__(self, at: datetime, value: V) -> None:
        self._times = [at]
        self._values = [value]

    @property
    def now(self) -> V:
        return self._values[-1]

    def put(self, at: datetime, value: V) -> None:
        self._times.append(at)
        self._values.append(value)

    def as_of(self, at: datetime) -> V:
        """What it was then; before its beginning, what it was at first."""
        return self._values[max(bisect_right(self._times, at) - 1, 0)]

    def began(self) -> datetime:
        return self._times[0]


@dataclass
class ModelComment:
    id: int
    number: int
    author: Person
    created_at: datetime
    updated_at: datetime
    body: str
    reactions: set[tuple[int, str]] = field(default_factory=set)
    deleted: bool = False

    @property
    def node_id(self) -> str:
        return f"C{self.id}"


@dataclass
class ModelIssue:
    facts: Versions[IssueFacts]
    events: list[LabelEvent] = field(default_factory=list)
    edits: list[ContentEdit] = field(default_factory=list)
    comments: list[ModelComment] = field(default_factory=list)
    deleted: bool = False
    closed_by: Person | None = None

    @property
    def now(self) -> IssueFacts:
        return self.facts.now

    @property
    def number(self) -> int:
        return self.now.key.number


@dataclass
class ModelRun:
    """`claim_id` is what stands in its name. `jobs` are (id, name) → (status, conclusion)."""

    facts: Versions[RunFacts]
    inputs: Mapping[str, str]
    dispatched_by: Person
    jobs: dict[str, tuple[int, str, str | None]] = field(default_factory=dict)
    cancel: Callable[[bool], None] = lambda _force: None
    deleted: bool = False

    @property
    def now(self) -> RunFacts:
        return self.facts.now

    @property
    def claim_id(self) -> str:
        return self.inputs.get("claim_id", "")

    @property
    def over(self) -> bool:
        return self.now.status is RunStatus.COMPLETED or self.deleted


@dataclass(frozen=True)
class Delivery:
    """One webhook that is to be sent."""

    id: int
    guid: str
    event: str
    payload: dict[str, Any]


def sha_of(text: str) -> str:
    """A name for a thing, as git gives them."""
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


LAG_LIMIT = timedelta(seconds=90)
"""How old a read may be at most: below the two minutes for which the bot looks for traces of its acts."""
