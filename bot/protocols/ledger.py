"""The ledger: what the core stores and reads, as verbs inside a transaction.

Promise of an implementation: `Store.write` runs one synchronous unit in one transaction; the unit may be run again
after a rollback, so it has no side effects outside the ledger. Writes that name a revision return False when it is
stale and change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from bot.domain.attempt import Attempt
from bot.domain.carried import Carried
from bot.domain.incidents import Cause, Incident, Sighting
from bot.domain.intake import Intake
from bot.domain.intents import Intent
from bot.domain.line import Told
from bot.domain.model import AttemptId, InstallationId, IssueKey, Item, ItemState, Key, RepoKey
from bot.domain.questions import Question, Steer
from bot.domain.repository import RepoRecord
from bot.domain.talk import Message, SenderType
from bot.protocols.worker_ledger import WorkerLedger

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Audit:
    """One append-only line of history: who changed what, why, under which policy."""

    at: datetime
    key: Key
    kind: str
    actor: str
    cause: str
    from_state: str | None = None
    to_state: str | None = None
    attempt: AttemptId | None = None
    fence: int | None = None
    policy_hash: str = ""
    detail: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A line of history with the id by which a follower goes on after it."""

    id: int
    line: Audit


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One act that must happen at most once. `done_at` None with a row present: it may have happened.

    A row with negative `tries` was planned together with a decision and never tried; its `result` holds the words.
    """

    key: str
    kind: str
    issue: IssueKey | None
    repo: RepoKey
    fence: int | None
    planned_at: datetime
    done_at: datetime | None
    result: str | None
    tries: int


@dataclass(frozen=True, slots=True)
class LockRow:
    """A path held by an item."""

    repo: RepoKey
    path: str
    issue: int
    attempt: AttemptId
    since: datetime
    mode: str = "write"


@dataclass(frozen=True, slots=True)
class Cost:
    """What an attempt may spend and has spent, in micro-dollars. `spent` None: not settled, the reservation counts."""

    reserved: int
    spent: int | None


@dataclass(frozen=True, slots=True)
class CarriedRow:
    """What an attempt left for the next: the SHA-256 of the bytes in hexadecimal, and how many they are."""

    attempt: AttemptId
    kind: Carried
    sha256: str
    size: int
    at: datetime


class DuplicateLiveAttempt(Exception):
    """The database refused a second live attempt of one item (unique index), or an attempt with a used fence."""


class Ledger(WorkerLedger, Protocol):
    """The verbs inside one transaction. Every method of a tenant's data takes the installation, inside the key."""

    # repositories
    def repo(self, key: RepoKey) -> RepoRecord | None: ...
    def repos(self, installation: InstallationId | None = None) -> list[RepoRecord]: ...
    def repo_by_name(self, full_name: str) -> RepoRecord | None: ...
    def put_repo(self, repo: RepoRecord) -> None:
        """Inserts a repository that is not there yet; an existing row is left alone."""
        ...

    def save_repo(self, before: RepoRecord, after: RepoRecord) -> bool:
        """Writes the changed columns, revision + 1; False when `before.revision` is stale."""
        ...

    # items
    def item(self, key: IssueKey) -> Item | None: ...
    def items(self, repo: RepoKey, *, states: Sequence[str] | None = None) -> list[Item]: ...
    def items_of_thoughts(self, repo: RepoKey) -> list[Item]:
        """Those of the repository's items that are plans, ended ones included, by number."""
        ...

    def item_of_thought(self, repo: RepoKey, thought_dir: str) -> Item | None: ...
    def item_of_pull(self, repo: RepoKey, pull: int) -> IssueKey | None: ...
    def insert_item(self, item: Item) -> bool:
        """False when the issue (or its thought) has an item already."""
        ...

    def save_item(self, before: Item, after: Item) -> bool: ...
    def set_waiting(
        self, key: IssueKey, waiting: tuple[tuple[str, tuple[tuple[str, str], ...]], ...], position: int | None
    ) -> bool:
        """Stores what the scheduling pass saw (no revision; last pass wins). True when it differs from before."""
        ...

    # whole queues
    def queue_rows(self, repo: RepoKey) -> tuple[dict[int, int], dict[int, Told]]:
        """The revisions of what is queued or being worked on, and what each was told, by their numbers."""
        ...

    def items_numbered(self, repo: RepoKey, numbers: Collection[int]) -> list[Item]: ...
    def states_of(self, repo: RepoKey, numbers: Collection[int]) -> dict[int, ItemState]:
        """The states of those of these issues that are items."""
        ...

    def count_in_review(self, repo: RepoKey) -> int: ...
    def first_in_queue(self, repo: RepoKey, count: int) -> list[tuple[int, str]]:
        """Number and title of the first ready items by the place that they were told."""
        ...

    def tell_places(self, repo: RepoKey, told: Mapping[int, Told]) -> None:
        """Stores what a scheduling pass saw (no revision; the last pass wins)."""
        ...

    def unsettled(self, repo: RepoKey) -> list[IssueKey]:
        """Items that may change without their issue: under way, in review, or over with a branch that is left."""
        ...

    def resting(self, repo: RepoKey) -> dict[int, datetime | None]:
        """Items that only their issue can change, and when something last pointed at each."""
        ...

    # attempts
    def attempt(self, id_: AttemptId) -> Attempt | None: ...
    def live_attempt(self, key: IssueKey) -> Attempt | None: ...
    def last_attempt(self, key: IssueKey) -> Attempt | None: ...
    def live_attempts(self, repo: RepoKey) -> list[Attempt]: ...
    def repos_at_work(self) -> list[RepoKey]:
        """The repositories in which an attempt is alive."""
        ...

    def live_attempts_of(self, token: str) -> list[Attempt]:
        """What is held under a worker token, in whichever repository."""
        ...

    def attempts(self, key: IssueKey) -> list[Attempt]: ...
    def attempt_of_run(self, repo: RepoKey, run_id: int) -> Attempt | None: ...
    def attempt_of_branch(self, repo: RepoKey, branch: str) -> Attempt | None: ...
    def count_dispatches(self, repo: RepoKey, since: datetime) -> int: ...
    def insert_attempt(self, attempt: Attempt) -> None:
        """Raises DuplicateLiveAttempt; the unique partial index on live attempts decides, not a check before."""
        ...

    def save_attempt(self, before: Attempt, after: Attempt) -> bool:
        """Writes the changed columns, revision + 1, only while id, fence and `before.revision` still match."""
        ...

    # money, in micro-dollars
    def reserve(self, attempt: AttemptId, key: IssueKey, at: datetime, amount: int) -> None:
        """Once per attempt, in the transaction that opens it."""
        ...

    def settle(self, attempt: AttemptId, amount: int) -> bool:
        """What it came to; False when nothing was reserved, or it was settled before."""
        ...

    def cost(self, attempt: AttemptId) -> Cost | None: ...
    def spent_on(self, key: IssueKey) -> int:
        """What all attempts of the item have cost, reservations of live ones included."""
        ...

    def spent_on_waiting(self, repo: RepoKey) -> dict[int, int]:
        """The cost by number, of each item of the repository that may still be started."""
        ...

    def spent_since(self, since: datetime, repo: RepoKey | None = None) -> int:
        """What attempts opened since then cost; without a repository: of the whole deployment."""
        ...

    def rehome_attempt(self, id_: AttemptId, key: IssueKey) -> None:
        """Moves an attempt to the same item under another installation of the App."""
        ...

    def put_log(self, attempt: AttemptId, text: str, at: datetime) -> None: ...
    def log(self, attempt: AttemptId) -> tuple[str, datetime] | None: ...

    # questions of agents, and what attempts leave for the next
    def questions(self, key: IssueKey) -> list[Question]: ...
    def waiting_questions(self, repo: RepoKey) -> list[Question]:
        """What waits for an answer in the repository."""
        ...

    def insert_question(self, question: Question) -> bool:
        """False when the item has a question of that number."""
        ...

    def save_question(self, before: Question, after: Question) -> bool: ...
    def note_question_comment(self, key: IssueKey, attempt: AttemptId, comment_id: int) -> None: ...
    def steers(self, key: IssueKey) -> list[Steer]: ...
    def put_steer(self, steer: Steer) -> bool: ...
    def tell_steer(self, id_: str) -> None: ...
    def unheard(self, attempt: AttemptId) -> list[Steer]:
        """What the attempt's agent was not told yet, in its order."""
        ...

    def note_heard(self, attempt: AttemptId, up_to: int, at: datetime) -> int:
        """The agent has everything up to this number; how many were new."""
        ...

    def put_carried(self, row: CarriedRow, data: bytes) -> None:
        """Replaces what the attempt left before of this kind."""
        ...

    def carried(self, attempt: AttemptId, kind: Carried) -> CarriedRow | None: ...
    def carried_bytes(self, attempt: AttemptId, kind: Carried) -> bytes | None: ...

    # locks
    def locks(self, repo: RepoKey) -> list[LockRow]: ...
    def take_locks(self, rows: Sequence[LockRow]) -> None: ...
    def free_locks(self, key: IssueKey) -> int: ...
    def free_lock(self, key: IssueKey, path: str) -> bool: ...

    # intents
    def put_intent(self, intent: Intent) -> bool:
        """False when the natural key is known already (a comment runs once)."""
        ...

    def open_intents(self, key: IssueKey) -> list[Intent]: ...
    def heeded_intents(self, key: IssueKey, since: datetime, outcomes: AbstractSet[str]) -> list[Intent]:
        """Commands written at that time or later that have one of these outcomes."""
        ...

    def asked_on(self, repo: RepoKey) -> list[IssueKey]:
        """Issues and pull requests of the repository with commands that have no outcome, by number."""
        ...

    def settle_intent(self, id_: str, outcome: str, at: datetime, answer: str | None = None) -> bool:
        """`answer` is the note for whoever asked over the API (JSON)."""
        ...

    def intent(self, id_: str) -> tuple[Intent, str | None, str | None] | None:
        """(intent, outcome, answer); the last two are None while it is open."""
        ...

    def retry_intent(self, id_: str) -> None: ...
    def has_replied(self, key: IssueKey, person_id: int, since: datetime) -> bool:
        """Whether a read-role command of this person got a worded reply on this item since then."""
        ...

    def note_reply(self, key: IssueKey, person_id: int, at: datetime) -> None: ...

    # outbox
    def outbox(self, key: str) -> OutboxRow | None: ...
    def plan(self, row: OutboxRow) -> bool:
        """Writes the row ahead of the act; False when the key exists (planned or done before)."""
        ...

    def outbox_done(self, key: str, result: str, at: datetime) -> None: ...
    def outbox_retry(self, key: str) -> None: ...
    def outbox_drop(self, key: str) -> None:
        """Forgets a planned act that provably did not happen; one planned with its words counts as never tried."""
        ...

    def planned(self, repo: RepoKey, kind: str) -> list[OutboxRow]:
        """Acts of this kind that belong to no issue yet, and of which it is not known what came."""
        ...

    def unsaid(self, key: IssueKey) -> list[OutboxRow]:
        """Comments on this issue or pull request that were planned with their words and are not written yet."""
        ...

    # history
    def audit(self, line: Audit) -> None: ...
    def history(self, key: Key, limit: int = 100) -> list[Audit]: ...
    def history_removed(self, key: Key) -> int:
        """How many lines under exactly this key were removed for their age."""
        ...

    def events_after(
        self, repos: Sequence[RepoKey], after: int, limit: int, number: int | None = None
    ) -> list[Recorded]:
        """The next lines of history of these repositories by id, oldest first."""
        ...

    def last_event(self) -> int: ...

    # conversations
    def put_message(self, message: Message) -> bool:
        """False when its comment, or its once-only name, is known already."""
        ...

    def message(self, key: IssueKey, id_: int) -> Message | None: ...
    def message_once(self, key: IssueKey, once: str) -> Message | None: ...
    def messages_after(
        self, repos: Sequence[RepoKey], after: int, limit: int, number: int | None = None
    ) -> list[Message]: ...
    def last_message(self) -> int: ...
    def count_messages(self, key: IssueKey, sender_type: SenderType, sender: str, since: datetime) -> int: ...
    def bind_comment(self, key: IssueKey, once: str, comment_id: int) -> None: ...
    def messages_with_comments(self, key: IssueKey) -> list[Message]: ...
    def keep_comments(self, key: IssueKey, texts: Mapping[int, str], gone: Collection[int]) -> None:
        """Takes over the words of comments that were edited, and forgets those that were deleted."""
        ...

    def mirrored(self, key: IssueKey) -> int:
        """How many comments the issue had when all of them were mirrored; -1: one was changed since."""
        ...

    def set_mirrored(self, key: IssueKey, count: int) -> None: ...

    # queue rows
    def mark(self, key: Key, *, priority: int = 0, at: datetime | None = None) -> None:
        """Raises the wanted revision of the key in this transaction (and due time: now, or `at` if sooner)."""
        ...

    def touch(self, key: Key) -> None:
        """As `mark`, and notes that GitHub may show something new there: facts read before are void."""
        ...

    def touched_at(self, key: Key) -> datetime | None: ...
    def rest(self, key: Key, touched: datetime) -> None:
        """Notes of a key that nobody has marked yet that nothing is to be done, and when its issue changed last."""
        ...

    def at_rest_since(self, among: Collection[IssueKey], since: datetime) -> frozenset[IssueKey]:
        """Those of these at which nothing has pointed from then on, and nothing is to be done."""
        ...

    # bookmarks
    def bookmark(self, name: str) -> str | None:
        """How far something was read that is not of one repository; None: never."""
        ...

    def set_bookmark(self, name: str, value: str) -> None: ...

    # several processes
    def take_turn(self, name: str, holder: str, until: datetime) -> bool:
        """Whether it is this holder's turn at what one process of several should do; then it is until `until`."""
        ...

    def turn_done(self, name: str, at: datetime) -> None: ...
    def turn_last_done(self, name: str) -> datetime | None: ...
    def revoke_elsewhere(self, attempt: AttemptId) -> None:
        """Asks the other processes, if there are any, to end the attempt's write token."""
        ...

    # incidents
    def sight(self, repo: RepoKey, seen: Sighting, at: datetime) -> None:
        """Counts one more failure by a cause."""
        ...

    def incidents(self, repo: RepoKey) -> list[Incident]: ...
    def incident_issue(self, key: IssueKey) -> bool:
        """Whether the issue is that of an incident."""
        ...

    def show_incident(self, repo: RepoKey, cause: Cause, issue: int, shown: str, at: datetime) -> None: ...
    def save_incident(self, repo: RepoKey, before: Incident, after: Incident) -> bool:
        """False when it was counted further since `before` was read."""
        ...

    def attempts_since(self, repo: RepoKey, at: datetime) -> list[Attempt]:
        """Attempts that were claimed after then, newest first, the first 200."""
        ...

    # mirror
    def thought_blobs(self, repo: RepoKey) -> dict[str, str]:
        """Cached front-matter texts by blob SHA."""
        ...

    def put_thought_blob(self, repo: RepoKey, sha: str, text: str) -> None: ...
    def drop_thought_blobs(self, repo: RepoKey, shas: Collection[str]) -> None:
        """Forgets texts of plans, by their object ids."""
        ...

    def count_mirrored(self, repo: RepoKey, since: datetime) -> int: ...


class Store(Protocol):
    async def write(self, unit: Callable[[Ledger], T]) -> T:
        """Runs the unit in its own transaction, maybe more than once; returns after the commit is on disk."""
        ...

    async def read(self, unit: Callable[[Ledger], T]) -> T:
        """Runs the unit on a read connection; it sees committed data only and must not write."""
        ...


class Inbox(Protocol):
    """The intake's door to the ledger."""

    async def accept(self, delivery: str, event: str, action: str | None, intake: Intake, body: bytes | None) -> bool:
        """Commits delivery, touches and intents together; returns after the commit. False: delivery known.

        Raises when it is not committed, and that in time for a refusal to be heard.
        """
        ...
