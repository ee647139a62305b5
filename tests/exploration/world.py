"""What the claim protocol works on, small enough to be visited whole: an issue on GitHub and what a ledger knows of it.

`Hub` is GitHub's side: the ready label, who last changed which label, the claim refs, the runs. `Book` is a ledger's:
the item, its attempts, the acts written ahead. Both are values. `Tx` is a transaction over a book with the verbs that
the product's code uses; `on_hub` carries out one request.

Time does not pass here, because every order of steps is tried: whatever a timer would cause may happen at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_origin, get_type_hints

from bot.domain.attempt import Attempt
from bot.domain.claim_record import ClaimRecord, ClaimRef
from bot.domain.labels import READY
from bot.domain.model import AttemptId, InstallationId, IssueKey, Item, ItemState, Person, Projection, RepoId, Snapshot
from bot.domain.repository import RepoRecord
from bot.errors import Conflict
from bot.github.batch import ZERO_OID
from bot.protocols.ledger import DuplicateLiveAttempt, Ledger, OutboxRow

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
PLANNED = NOW - timedelta(hours=1)
"""An act written ahead is always old enough to be judged; that GitHub shows it by then is assumed."""
KEY = IssueKey(InstallationId(1), RepoId(1), 1)
BOT_ID, MARIA = 99, Person(7, "maria")

EMPTY: dict[Any, Callable[[], Any]] = {int: int, bool: bool, list: list, dict: dict, tuple: tuple}
"""What an empty ledger answers, by the type of the answer; None for everything else."""

ITEM = Item(
    KEY,
    "node",
    "Add search",
    ItemState.READY,
    PLANNED,
    snapshot=Snapshot("Add search", "", PLANNED, MARIA),
    ready_since=PLANNED,
    projection=Projection(state_label=READY),
)


@dataclass(frozen=True, slots=True)
class Defences:
    """What the protocol rests on. Each can be taken away, to see that it is needed."""

    before_oid: bool = True
    nonce: bool = True
    fence: bool = True
    unique_index: bool = True
    revisions: bool = True


@dataclass(frozen=True, slots=True)
class Hub:
    """One issue on GitHub. `changes`: label → (added, by whom), the newest of each; `runs`: (attempt, over)."""

    labels: tuple[str, ...] = (READY,)
    changes: tuple[tuple[str, bool, int], ...] = ((READY, True, MARIA.id),)
    refs: tuple[tuple[str, str], ...] = ()
    runs: tuple[tuple[str, bool], ...] = ()
    flaw: str = ""

    def change(self, label: str, add: bool, by: int) -> Hub:
        if (label in self.labels) is add:
            return self
        names = {*self.labels, label} if add else set(self.labels) - {label}
        others = [change for change in self.changes if change[0] != label]
        return replace(self, labels=tuple(sorted(names)), changes=tuple(sorted((*others, (label, add, by)))))


@dataclass(frozen=True, slots=True)
class Book:
    """What one ledger knows of the item. `acts`: acts written ahead, and whether it is known what came of them."""

    item: Item = ITEM
    attempts: tuple[Attempt, ...] = ()
    acts: tuple[tuple[str, bool], ...] = ()

    @property
    def live(self) -> Attempt | None:
        return next((attempt for attempt in self.attempts if attempt.live), None)


class Commits:
    """The commits that claims were written into: they never change, so they are no part of a state."""

    def __init__(self) -> None:
        self._records: dict[str, ClaimRecord] = {}

    def add(self, record: ClaimRecord) -> str:
        # Equal records make equal commits, as in git.
        oid = f"o.{record.claim_id}.{record.fence}"
        known = self._records.setdefault(oid, record)
        assert known == record
        return oid

    def record(self, oid: str) -> ClaimRecord:
        return self._records[oid]

    def ref(self, name: str, oid: str) -> ClaimRef:
        return ClaimRef(name, oid, self._records[oid])

    def nonces(self) -> Mapping[str, str]:
        return {record.nonce: f"nonce.{record.claim_id}" for record in self._records.values()}


@dataclass
class Tx:
    """A transaction: what it reads is `seen` until it writes, then `now`; it writes into `now`."""

    now: Book
    seen: Book
    repo_record: RepoRecord
    defences: Defences = field(default_factory=Defences)

    # --- reading

    def repo(self, key: object) -> RepoRecord:
        return self.repo_record

    def item(self, key: object) -> Item:
        return self.seen.item

    def attempt(self, id_: str) -> Attempt | None:
        return next((attempt for attempt in self.seen.attempts if attempt.id == id_), None)

    def live_attempt(self, key: object) -> Attempt | None:
        return self.seen.live

    def last_attempt(self, key: object) -> Attempt | None:
        return self.seen.attempts[-1] if self.seen.attempts else None

    def attempts(self, key: object) -> tuple[Attempt, ...]:
        return self.seen.attempts

    def live_attempts(self, repo: object) -> list[Attempt]:
        return [attempt for attempt in self.seen.attempts if attempt.live]

    def outbox(self, key: str) -> OutboxRow | None:
        done = dict(self.now.acts).get(key)
        if done is None:
            return None
        return OutboxRow(key, "dispatch", KEY, KEY.repo_key, None, PLANNED, NOW if done else None, None, 1)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Of everything else this ledger knows nothing: whoever asks gets what an empty one would answer."""
        wanted = get_type_hints(getattr(Ledger, name)).get("return")
        nothing = EMPTY.get(get_origin(wanted) or wanted)
        return lambda *_args, **_named: nothing() if nothing is not None else None

    # --- writing

    def _write(self, book: Book) -> None:
        self.now = self.seen = book

    def insert_attempt(self, attempt: Attempt) -> None:
        live = self.now.live is not None
        self._write(self.now)
        if live and self.defences.unique_index:
            raise DuplicateLiveAttempt(attempt.id)
        self._write(replace(self.now, attempts=(*self.now.attempts, attempt)))

    def save_item(self, before: Item, after: Item) -> bool:
        if self.defences.revisions and self.now.item.revision != before.revision:
            return False
        # Delays are over at once, and what was last in the way is not looked at by any claim.
        kept = replace(after, revision=before.revision + 1, not_before=None, last_failure=None, infra_failures=0)
        self._write(replace(self.now, item=kept))
        return True

    def save_attempt(self, before: Attempt, after: Attempt) -> bool:
        there = self.attempt(before.id)
        if there is None or (self.defences.revisions and there.revision != before.revision):
            return False
        kept = replace(after, revision=before.revision + 1)
        found = tuple(kept if attempt.id == after.id else attempt for attempt in self.now.attempts)
        self._write(replace(self.now, attempts=found))
        return True

    def plan(self, row: OutboxRow) -> bool:
        if dict(self.now.acts).get(row.key) is None:
            self._write(replace(self.now, acts=(*self.now.acts, (row.key, False))))
        return True

    def outbox_done(self, key: str, result: str, at: datetime) -> None:
        self._write(replace(self.now, acts=tuple((name, done or name == key) for name, done in self.now.acts)))

    def outbox_drop(self, key: str) -> None:
        self._write(replace(self.now, acts=tuple(act for act in self.now.acts if act[0] != key)))


def on_hub(hub: Hub, what: tuple[object, ...], commits: Commits, defences: Defences) -> tuple[Hub, object]:
    """One request: GitHub afterwards, and its answer. What is refused raises `Conflict`."""
    match what:
        case ("issue",):
            return hub, (hub.labels, hub.changes)
        case ("changes",):
            return hub, hub.changes
        case ("ref", name):
            return hub, dict(hub.refs).get(str(name))
        case ("label there", name):
            return hub, name in hub.labels
        case ("remove label", name):
            return hub.change(str(name), add=False, by=BOT_ID), name in hub.labels
        case ("show", add, remove):
            for name in add if isinstance(add, tuple) else ():
                hub = hub.change(name, add=True, by=BOT_ID)
            for name in remove if isinstance(remove, tuple) else ():
                hub = hub.change(name, add=False, by=BOT_ID)
            return hub, None
        case ("move", name, before, after, who):
            return _move(hub, str(name), str(before), str(after), str(who), commits, defences), None
        case ("dispatch", attempt):
            hub = replace(hub, runs=(*hub.runs, (str(attempt), False)))
            return hub, len(hub.runs)
        case ("runs of", attempt):
            return hub, tuple(n for n, (of, _) in enumerate(hub.runs, start=1) if of == attempt)
        case ("run", number):
            return hub, hub.runs[int(str(number)) - 1][1]
        case _:
            raise AssertionError(f"no such request: {what}")


def _move(hub: Hub, name: str, before: str, after: str, who: str, commits: Commits, defences: Defences) -> Hub:
    """`updateRefs`, with or without its condition."""
    refs = dict(hub.refs)
    there = refs.get(name, ZERO_OID)
    if defences.before_oid and there != before:
        raise Conflict("the ref is not where it was said to be")
    taken = there not in (ZERO_OID, after) and commits.record(there).owner != who
    if taken and defences.nonce:
        hub = replace(hub, flaw=f"{who} took the claim ref of {commits.record(there).owner} away")
    refs.pop(name, None)
    if after != ZERO_OID:
        refs[name] = after
    return replace(hub, refs=tuple(sorted(refs.items())))


def attempt_id(claimer: str, count: int, defences: Defences) -> AttemptId:
    """A new attempt's id. Without its chance part all claimers choose the same one."""
    return AttemptId(f"{claimer}-{count}" if defences.nonce else f"a-{count}")
