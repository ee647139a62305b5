"""Three claimers, two items, and every order in which the product's own code may take its steps.

A claimer is a process of the bot. It claims (`bot/claims.py`), and it looks at items: `Observer` reads, `advance`
decides, `Applier` and the acts under it carry out, `ClaimRefVerbs` moves the refs. All of this is the shipped code, run
one await at a time; only GitHub and the database behind it are the small ones of `world.py`. A claimer does one thing
at a time and may die before any await that writes; a request of a dying claimer may still arrive, much later.

With `own_ledgers` each claimer is a deployment of its own, and claim refs decide between them. Without, the claimers
are processes over one ledger, whose transactions decide.

What is left out, so that it ends: a claimer claims `claims` times at most, and people do
nothing. Reads of one look that follow each other are one step unless `fine`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import permutations
from typing import Any, cast

from bot.acts import Acts, WriteTokens
from bot.apply import Applier
from bot.claim_acts import current_attempt
from bot.claims import Claimed, NotClaimed, claim
from bot.domain.advance import advance
from bot.domain.attempt import ClaimMark, Worker, WorkerKind
from bot.domain.claim_record import ClaimRecord, ClaimRef
from bot.domain.effects import Dispatch, PublishClaim, ReleaseClaim, Show, TakeReadyLabel
from bot.domain.facts import IssueFacts, LabelEvent, Presence, RunFacts, RunStatus
from bot.domain.model import FailureReason, IssueKey, ItemState, Person, RepoKey, Role
from bot.domain.repository import RepoRecord
from bot.errors import Conflict, TgsError
from bot.github.gateway_claim_refs import ClaimRefVerbs
from bot.github.shapes import ObjectShape, RefShape
from bot.invariants import InvariantBroken
from bot.kept import Kept
from bot.metrics import Metrics
from bot.observe import Observer
from bot.policies import policy_of
from bot.protocols.github import Visible, VisibleOutcome
from bot.protocols.ledger import DuplicateLiveAttempt
from bot.saving import StaleDecision
from tests.exploration.explorer import Explorer
from tests.exploration.replay import Ask, Ended, Points, Raised, text
from tests.exploration.world import (
    BOT_ID,
    KEY,
    MARIA,
    NOW,
    PLANNED,
    Book,
    Commits,
    Defences,
    Hub,
    Tx,
    attempt_id,
    on_hub,
)

CLAIM_STEPS = (PublishClaim, ReleaseClaim, TakeReadyLabel, Dispatch, Show)
"""Comments and the like change nothing about who has an item."""

WRITES = frozenset({"remove label", "show", "move", "dispatch"})
LATE = frozenset({"remove label", "move"})
"""Requests that may arrive long after the claimer died. A start that arrives late is found by the run's name."""

OPEN = frozenset({ItemState.READY, ItemState.IN_PROGRESS})

ENDS = (TgsError, StaleDecision, DuplicateLiveAttempt, InvariantBroken)
"""What a program may end with; the queue looks again."""

METRICS = Metrics()


@dataclass(frozen=True, slots=True)
class Setting:
    """Which claimers are looked at, and how closely."""

    claimers: int
    items: int
    own_ledgers: bool
    atomic_deletion: bool = True
    claims: int = 1
    fine: bool = False
    looks: int = 1
    late_requests: bool = True
    ends: bool = True
    defences: Defences = field(default_factory=Defences)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"K{number}" for number in range(self.claimers))


async def _nobody_asks(*_: object) -> None:
    """No place in a queue: there is no question here."""


class _Clock:
    def now(self) -> datetime:
        return NOW


class _Store:
    """Every transaction is one await."""

    async def read(self, unit: Callable[[Any], Any]) -> Any:
        return await Ask("read", (), unit)

    async def write(self, unit: Callable[[Any], Any]) -> Any:
        return await Ask("write", (), unit)


class _GitHub(ClaimRefVerbs):
    """The verbs that a look uses. Those about claim refs are the product's own, down to the single request."""

    def __init__(self, claimer: str, setting: Setting, commits: Commits) -> None:
        self._refusing: set[RepoKey] = set()
        self._claimer, self._setting, self._commits = claimer, setting, commits

    async def issue(self, key: IssueKey) -> tuple[Presence, IssueFacts]:
        names, _ = await Ask("hub", ("issue",))
        facts = IssueFacts(KEY, "node", "Add search", "", True, None, MARIA, frozenset(names), (), PLANNED, PLANNED)
        return Presence.HERE, facts

    async def label_events(self, key: IssueKey) -> list[LabelEvent]:
        changes = await Ask("hub", ("changes",))
        people = {MARIA.id: MARIA, BOT_ID: Person(BOT_ID, "tgs[bot]", is_bot=True)}
        return [LabelEvent(n, name, added, people[by], PLANNED) for n, (name, added, by) in enumerate(changes)]

    async def content_edits(self, key: IssueKey) -> list[Any]:
        return []

    async def pulls_of_branch(self, key: RepoKey, branch: str) -> list[Any]:
        return []

    async def role(self, key: RepoKey, person: Person) -> Role:
        return Role.ADMIN

    async def run(self, key: RepoKey, run_id: int) -> RunFacts:
        over = await Ask("hub", ("run", run_id))
        status = RunStatus.COMPLETED if over else RunStatus.IN_PROGRESS
        return RunFacts(run_id, status, "failure" if over else None, 1, "", "", "", PLANNED)

    async def runs_named(self, key: RepoKey, workflow: str, name: str, since: datetime) -> list[RunFacts]:
        found = await Ask("hub", ("runs of", name))
        return [RunFacts(n, RunStatus.IN_PROGRESS, None, 1, "", "", "", PLANNED) for n in found]

    async def dispatch(self, key: RepoKey, workflow: str, ref: str, inputs: dict[str, str]) -> int:
        return cast("int", await Ask("hub", ("dispatch", inputs["claim_id"])))

    async def remove_label(self, key: IssueKey, name: str) -> bool:
        if self._setting.atomic_deletion:
            return cast("bool", await Ask("hub", ("remove label", name)))
        # Two deletions at once both find the label, and both are told that they removed it.
        if not await Ask("hub", ("label there", name)):
            return False
        await Ask("hub", ("remove label", name))
        return True

    async def show(self, key: RepoKey, wanted: Visible) -> VisibleOutcome:
        await Ask("hub", ("show", wanted.add_labels, wanted.remove_labels))
        return VisibleOutcome((), None)

    # --- the single requests of claim refs

    async def _ref(self, key: RepoKey, name: str) -> RefShape | None:
        oid = await Ask("hub", ("ref", name))
        if oid is None:
            return None
        return RefShape(name, ObjectShape(oid))

    async def _record(self, key: RepoKey, shape: RefShape) -> ClaimRef:
        return self._commits.ref(shape.ref, shape.object.sha)

    async def _commit(self, key: RepoKey, record: ClaimRecord, *parents: str) -> str:
        return self._commits.add(record)

    async def _move(self, key: RepoKey, name: str, before: str, after: str) -> None:
        await Ask("hub", ("move", name, before, after, self._claimer))


@dataclass(frozen=True, slots=True)
class State:
    """`columns`: per item its hub and its books, as numbers. `points`: per claimer (item, point). `late`: a request."""

    columns: tuple[tuple[int, tuple[int, ...]], ...]
    points: tuple[tuple[int, int], ...]
    late: tuple[int, int] | None = None


class Numbered:
    """Values as numbers, and the number under other names of the claimers."""

    def __init__(self, names: Callable[[str, tuple[int, ...]], str]) -> None:
        self._numbers: dict[str, int] = {}
        self._values: list[Any] = []
        self._renamed: dict[tuple[int, tuple[int, ...]], int] = {}
        self._texts: list[str] = []
        self._canon: dict[str, int] = {}
        self._names = names

    def number(self, value: object) -> int:
        said = text(value)
        if said not in self._numbers:
            self._numbers[said] = len(self._values)
            self._values.append(value)
            self._texts.append(said)
        return self._numbers[said]

    def __getitem__(self, number: int) -> Any:
        return self._values[number]

    def renamed(self, number: int, order: tuple[int, ...]) -> int:
        key = (number, order)
        if key not in self._renamed:
            said = self._names(self._texts[number], order)
            self._renamed[key] = self._canon.setdefault(said, len(self._canon))
        return self._renamed[key]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step leads to: the claimer's next point, the hub, the claimer's book."""

    label: str
    point: int
    hub: int
    book: int


class Claims:
    """The system of one setting."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.commits = Commits()
        self.hubs = Numbered(self._rename)
        self.books = Numbered(self._rename)
        self.requests = Numbered(self._rename)
        self.points = Points(self._program, ENDS)
        self._steps: dict[tuple[int, int, int], tuple[Outcome, ...]] = {}
        self._wrong_book: dict[tuple[int, bool], str] = {}
        self._point_names: dict[tuple[int, tuple[int, ...]], int] = {}
        self._canon: dict[Hashable, int] = {}
        self._orders = list(permutations(range(setting.claimers)))
        self._places = list(permutations(range(setting.items)))
        self._repos = {
            name: RepoRecord(
                KEY.repo_key,
                "acme/shop",
                3,
                "main",
                False,
                preflight_ok=True,
                rebuilt_at=NOW,
                policy_text=f"max_parallel: 25\nassignee: none\nclaim_refs: {str(setting.own_ledgers).lower()}\n",
                bot=Person(BOT_ID, name if setting.defences.nonce else "tgs", is_bot=True),
            )
            for name in setting.names
        }

    # --- the programs: the product's code

    def _program(self, name: tuple[str, ...]) -> Coroutine[Ask, Any, object]:
        match name:
            case ("claim", claimer, count):
                return self._claim(claimer, int(count))
            case ("look", claimer):
                return self._look(claimer)
            case _:
                raise AssertionError(name)

    async def _claim(self, claimer: str, count: int) -> object:
        policy = policy_of(self._repos[claimer])
        if not self.setting.own_ledgers:
            # The transaction has begun and sees what was; others may commit before it does.
            await Ask("begin")
        return await _Store().write(
            lambda tx: claim(
                tx,
                KEY,
                Worker(WorkerKind.ACTIONS, claimer),
                policy=policy,
                now=NOW,
                attempt_id=attempt_id(claimer, count, self.setting.defences),
                base_sha="base",
            )
        )

    async def _look(self, claimer: str) -> object:
        github: Any = _GitHub(claimer, self.setting, self.commits)
        store: Any = _Store()
        clock, kept = _Clock(), Kept()
        facts = await Observer(github, store, clock, kept, _nobody_asks).item(KEY)
        assert facts is not None
        policy = policy_of(facts.repo)
        decision = advance(facts, policy, NOW)
        effects = tuple(effect for effect in decision.effects if isinstance(effect, CLAIM_STEPS))
        item = decision.save.item_after
        assert item is not None
        # How much was written in this hour is left out: a claim takes a handful of writes.
        item = replace(item, projection=replace(item.projection, hour=None, writes=0))
        save = replace(decision.save, item_after=item, words=(), repo_after=decision.save.repo_before)
        if save.empty and not effects:
            return None
        words: Any = None
        acts = Acts(github, store, clock, WriteTokens(), "", kept, words)
        applier = Applier(github, store, clock, acts, "", kept, words, METRICS)
        await applier.apply(KEY, replace(decision, save=save, effects=effects), facts.repo, policy)
        return None

    # --- steps

    def start(self) -> State:
        ledgers = self.setting.claimers if self.setting.own_ledgers else 1
        column = (self.hubs.number(Hub()), tuple(self.books.number(Book()) for _ in range(ledgers)))
        return State((column,) * self.setting.items, ((0, 0),) * self.setting.claimers)

    def moves(self, state: State) -> Iterable[tuple[str, State]]:
        """Everything that may happen next."""
        for who, (item, point) in enumerate(state.points):
            if point == 0:
                yield from self._begin(state, who)
                continue
            yield f"{self._name(who)} dies", self._with(state, who, item, 0)
            yield from self._go(state, who, item, point)
            asked = self.points.asks(point)
            assert isinstance(asked, Ask)
            if asked.kind == "hub" and asked.what[0] in LATE and state.late is None and self.setting.late_requests:
                late = (item, self.requests.number(asked.what))
                dead = self._with(state, who, item, 0)
                yield f"{self._name(who)} dies, its request is on its way", replace(dead, late=late)
        if state.late is not None:
            item, number = state.late
            hub, books = state.columns[item]
            try:
                after, _ = on_hub(self.hubs[hub], self.requests[number], self.commits, self.setting.defences)
            except Conflict:
                after = self.hubs[hub]
            yield (
                f"the late request arrives: {_said(self.requests[number])}",
                replace(self._column(state, item, (self.hubs.number(after), books)), late=None),
            )
        if self.setting.ends:
            yield from self._runs_end(state)

    def _begin(self, state: State, who: int) -> Iterable[tuple[str, State]]:
        name = self._name(who)
        made = sum(
            attempt.worker.name == name for column in state.columns for attempt in self._book(column[1], who).attempts
        )
        for item, (_, books) in enumerate(state.columns):
            book = self._book(books, who)
            busy = any(
                found.live is not None and not found.live.external and found.live.worker.name == name
                for found in (self._book(column[1], who) for column in state.columns)
            )
            open_ = book.item.state in OPEN
            if made < self.setting.claims and not busy and open_ and book.live is None:
                count = 1 + sum(attempt.worker.name == name for attempt in book.attempts)
                yield from self._go(state, who, item, self.points.start(("claim", name, str(count))))
            if self.setting.own_ledgers or self._looks(state, item) < self.setting.looks:
                yield from self._go(state, who, item, self.points.start(("look", name)))

    def _looks(self, state: State, item: int) -> int:
        """How many look at the item just now."""
        return sum(
            point != 0 and at == item and cast("tuple[str, ...]", self.points.name(point))[0] == "look"
            for at, point in state.points
        )

    def _go(self, state: State, who: int, item: int, point: int) -> Iterable[tuple[str, State]]:
        """The claimer's next step: what it asks for is carried out, and what may be joined to it."""
        hub, books = state.columns[item]
        place = who if self.setting.own_ledgers else 0
        key = (point, hub, books[place])
        if key not in self._steps:
            self._steps[key] = tuple(self._step(point, hub, books[place]))
        for found in self._steps[key]:
            column = (found.hub, (*books[:place], found.book, *books[place + 1 :]))
            after = self._with(self._column(state, item, column), who, item, found.point)
            if after != state:
                yield f"{self._name(who)}, item {item + 1}: {found.label}", after

    def _step(self, point: int, hub_number: int, book_number: int) -> Iterable[Outcome]:
        hub, book = self.hubs[hub_number], self.books[book_number]
        name = cast("tuple[str, ...]", self.points.name(point))
        said = [name[0] + "s"] if self.points.origin(point)[0] == -1 else []
        first = True
        while True:
            asked = self.points.asks(point)
            if isinstance(asked, Ended):
                self._check_end(asked, book)
                point = 0
                break
            if not first and not self._joins(asked):
                break
            before = (hub, book)
            hub, book, answer = self._carry_out(asked, hub, book, name[1], point)
            point = self.points.after(point, answer)
            if asked.kind == "write" or (asked.kind == "hub" and asked.what[0] in WRITES):
                said.append(_said((asked.kind, *asked.what)))
            if (hub, book) != before and isinstance(self.points.asks(point), Ask):
                # What is joined to this is not done when the process dies here.
                label = "; ".join([*said, "then it dies"])
                yield Outcome(label, 0, self.hubs.number(hub), self.books.number(book))
            first = False
        yield Outcome("; ".join(said), point, self.hubs.number(hub), self.books.number(book))

    def _joins(self, asked: Ask) -> bool:
        """Whether nobody else can notice that this await comes later than the one before it."""
        if self.setting.fine:
            return asked.kind == "read"
        match asked.kind:
            case "read":
                return True
            case "write":
                # Nobody else reads this ledger.
                return self.setting.own_ledgers
            case "hub":
                return asked.what[0] not in {*WRITES, "label there"}
            case _:
                return False

    def _carry_out(self, asked: Ask, hub: Hub, book: Book, claimer: str, point: int) -> tuple[Hub, Book, object]:
        match asked.kind:
            case "hub":
                try:
                    after, answer = on_hub(hub, asked.what, self.commits, self.setting.defences)
                except Conflict as error:
                    return hub, book, Raised(error)
                return after, book, answer
            case "begin":
                return hub, book, book
            case _:
                assert asked.run is not None
                seen = self.points.answered(point)
                tx = Tx(book, seen if isinstance(seen, Book) else book, self._repos[claimer], self.setting.defences)
                try:
                    answer = asked.run(tx)
                except InvariantBroken as error:
                    return replace(hub, flaw=f"a decision would break what always holds: {error}"), book, Raised(error)
                except ENDS as error:
                    return hub, book, Raised(error)
                return hub, tx.now, answer

    def _check_end(self, ended: Ended, book: Book) -> None:
        """Who lost a claim knows who has the item."""
        if isinstance(ended.value, NotClaimed) and book.live is not None:
            assert ended.value.owner == book.live.worker.name, "the loser does not learn the owner"
        assert not isinstance(ended.value, Claimed) or ended.value.attempt.id

    def _runs_end(self, state: State) -> Iterable[tuple[str, State]]:
        """A run ends without a word; the webhook about it is noted in the ledger that started it."""
        for item, (number, books) in enumerate(state.columns):
            hub = self.hubs[number]
            for place, book_number in enumerate(books):
                book = self.books[book_number]
                live = book.live
                if live is None or live.run_id is None or hub.runs[live.run_id - 1][1]:
                    continue
                runs = tuple((of, over or n == live.run_id) for n, (of, over) in enumerate(hub.runs, start=1))
                noted = replace(live, run_hint="completed", revision=live.revision + 1)
                attempts = tuple(noted if attempt.id == live.id else attempt for attempt in book.attempts)
                after = self.books.number(replace(book, attempts=attempts))
                column = (self.hubs.number(replace(hub, runs=runs)), (*books[:place], after, *books[place + 1 :]))
                yield f"the run of {live.id} on item {item + 1} ends", self._column(state, item, column)

    # --- rules

    def wrong(self, state: State) -> str | None:
        """Which rule this state breaks."""
        for hub, books in state.columns:
            if self.hubs[hub].flaw:
                return cast("str", self.hubs[hub].flaw)
            winners: list[str] = []
            for number in books:
                book = self.books[number]
                winners += [
                    attempt.worker.name
                    for attempt in book.attempts
                    if attempt.live
                    and not attempt.external
                    and (attempt.claim_mark is ClaimMark.HELD or not self.setting.own_ledgers)
                ]
                flaw = self._wrong_of(number)
                if flaw:
                    return flaw
            if len(winners) > 1:
                return f"two have one item: {' and '.join(winners)}"
        return None

    def _wrong_of(self, number: int) -> str:
        key = (number, True)
        if key not in self._wrong_book:
            self._wrong_book[key] = self._flaw_of(self.books[number])
        return self._wrong_book[key]

    def _flaw_of(self, book: Book) -> str:
        tx: Any = Tx(book, book, self._repos[self.setting.names[0]], self.setting.defences)
        for attempt in book.attempts:
            holds = fenced(tx, attempt.id, attempt.fence) if self.setting.defences.fence else book.live
            if holds is not None and not attempt.live:
                return f"a write of {attempt.id} is taken after its end, while {holds.id} has the item"
            if attempt.external and attempt.claim_oid is not None:
                record = self.commits.record(attempt.claim_oid)
                if attempt.worker.name != record.who:
                    return f"the loser was told {attempt.worker.name}, and {record.who} has the item"
        ended = [attempt for attempt in book.attempts if _lost(attempt)]
        for attempt in ended:
            if not any(other.external and other.number == attempt.number + 1 for other in book.attempts):
                return f"{attempt.id} lost and does not know to whom"
        return ""

    def goals(self, state: State) -> dict[str, bool]:
        """Each item is held by somebody, or somebody may claim it."""
        found: dict[str, bool] = {}
        for item, (hub, books) in enumerate(state.columns):
            free = held = False
            for number in books:
                book = self.books[number]
                live = book.live
                held = held or (live is not None and not live.external)
                own = {attempt.id for attempt in book.attempts if not attempt.external}
                # A ref of its own ended claim is no hindrance: the next claim takes its place.
                others = [oid for _, oid in self.hubs[hub].refs if self.commits.record(oid).claim_id not in own]
                free = free or (live is None and book.item.state in OPEN and not others)
            found[f"item {item + 1}, claimed or free to be claimed,"] = free or held
        return found

    # --- names

    def same(self, state: State) -> Hashable:
        """The state without the names of claimers and items."""
        return min(self._renamed(state, order, places) for order in self._orders for places in self._places)

    def _renamed(self, state: State, order: tuple[int, ...], places: tuple[int, ...]) -> tuple[Any, ...]:
        """`order[n]` is the claimer that is called n in the renamed state."""
        found: list[Any] = []
        for place in places:
            hub, books = state.columns[place]
            shared = not self.setting.own_ledgers
            found.append(self.hubs.renamed(hub, order))
            found += [self.books.renamed(books[0 if shared else n], order) for n in (order[:1] if shared else order)]
        for n in order:
            item, point = state.points[n]
            found.append((0, 0) if point == 0 else (places.index(item), self._point(point, order)))
        if state.late is None:
            found.append((-1, -1))
        else:
            found.append((places.index(state.late[0]), self.requests.renamed(state.late[1], order)))
        return tuple(found)

    def _point(self, point: int, order: tuple[int, ...]) -> int:
        key = (point, order)
        if key not in self._point_names:
            before, said = self.points.origin(point)
            renamed = self._rename(said, order)
            chain = (renamed,) if before == -1 else (self._point(before, order), renamed)
            self._point_names[key] = self._canon.setdefault(chain, len(self._canon))
        return self._point_names[key]

    def _rename(self, said: str, order: tuple[int, ...]) -> str:
        for nonce, name in self.commits.nonces().items():
            said = said.replace(nonce, name)
        for new, old in enumerate(order):
            said = said.replace(f"K{old}", f"§{new}")
        return said.replace("§", "K")

    # --- parts

    def _name(self, who: int) -> str:
        return self.setting.names[who]

    def _book(self, books: tuple[int, ...], who: int) -> Book:
        return cast("Book", self.books[books[who if self.setting.own_ledgers else 0]])

    def _with(self, state: State, who: int, item: int, point: int) -> State:
        entry = (item if point else 0, point)
        return replace(state, points=(*state.points[:who], entry, *state.points[who + 1 :]))

    def _column(self, state: State, item: int, column: tuple[int, tuple[int, ...]]) -> State:
        return replace(state, columns=(*state.columns[:item], column, *state.columns[item + 1 :]))

    def explorer(self) -> Explorer[State]:
        return Explorer(self.moves, self.wrong, self.goals, self.same)


def fenced(tx: Any, attempt: Any, fence: int) -> Any:
    return current_attempt(tx, attempt, fence)


def _lost(attempt: Any) -> bool:
    return attempt.failure is not None and attempt.failure.reason is FailureReason.CANCELLED_SUPERSEDED


def _said(what: tuple[object, ...]) -> str:
    return " ".join(str(part) for part in what)
