"""What the ledger knows of one item, read in one transaction, as the observer and its decisions need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.domain import budget
from bot.domain.attempt import Attempt
from bot.domain.carried import Carried
from bot.domain.going_on import resumable
from bot.domain.intents import Intent
from bot.domain.model import AttemptId, IssueKey, Item, ItemState
from bot.domain.notes import NoteCode
from bot.domain.obey import REPLY_PAUSE
from bot.domain.overtaken import HEEDED
from bot.domain.policy_model import Policy
from bot.domain.questions import Question, QuestionStatus, Steer, addressee
from bot.domain.repository import RepoRecord
from bot.domain.sessions import SessionRecord
from bot.policies import policy_of
from bot.protocols.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Records:
    """What the ledger knows of one item."""

    repo: RepoRecord
    item: Item | None
    attempt: Attempt | None
    intents: tuple[Intent, ...]
    replied: frozenset[int]
    queue: tuple[tuple[int, str], ...]
    touched_at: datetime | None
    own_claims: frozenset[str] = frozenset()
    session: SessionRecord | None = None
    spent: budget.Spent = budget.NOTHING_SPENT
    reserved: int = 0
    questions: tuple[Question, ...] = ()
    resumable: AttemptId | None = None
    steers: tuple[Steer, ...] = ()
    incident: bool = False
    others_waiting: tuple[tuple[int, datetime | None], ...] = ()
    heeded: tuple[Intent, ...] = ()
    """Commands that were carried out although some that are open were written before them."""


def records_of(tx: Ledger, key: IssueKey, now: datetime) -> Records | None:
    """None when nothing may be decided in the repository now, or the key is the pull request of another item."""
    repo = tx.repo(key.repo_key)
    if repo is None or not repo.active or repo.archived or repo.rebuilt_at is None:
        # Nothing can be written to an archived repository; its items are looked at when it is back. And nothing is
        # decided before it is known what an earlier ledger has left.
        return None
    item = tx.item(key)
    attempt = tx.live_attempt(key) or tx.last_attempt(key)
    intents = tx.open_intents(key)
    if item is not None and item.pull is not None:
        # Commands may be written on the pull request as well; they belong to the same item.
        intents += tx.open_intents(IssueKey(key.installation, key.repo, item.pull.number))
    elif intents and tx.item_of_pull(repo.key, key.number) is not None:
        # They were written on the pull request of an item, whose own look carries them out.
        return None
    replied = frozenset(
        intent.actor.id for intent in intents if tx.has_replied(key, intent.actor.id, now - REPLY_PAUSE)
    )
    queue = tuple(tx.first_in_queue(repo.key, 3)) if intents else ()
    session = tx.session_of(attempt.id) if attempt is not None and attempt.live else None
    own = (
        frozenset(known.id for known in tx.attempts(key) if not known.external) if attempt is not None else frozenset()
    )
    spent, reserved = _money(tx, key, attempt, now) if item is not None else (budget.NOTHING_SPENT, 0)
    questions = tuple(tx.questions(key)) if item is not None else ()
    return Records(
        repo,
        item,
        attempt,
        tuple(intents),
        replied,
        queue,
        tx.touched_at(key),
        own,
        session,
        spent,
        reserved,
        questions,
        resumable_of(tx, key),
        tuple(tx.steers(key)),
        item is None and tx.incident_issue(key),
        _waiting_elsewhere(tx, item, policy_of(repo))
        if item is not None and item.state is ItemState.NEEDS_INPUT
        else (),
        heeded=tuple(_heeded(tx, key, item, intents)),
    )


def _heeded(tx: Ledger, key: IssueKey, item: Item | None, intents: Sequence[Intent]) -> list[Intent]:
    if not intents:
        return []
    since = min(intent.created_at for intent in intents)
    found = tx.heeded_intents(key, since, HEEDED)
    if item is not None and item.pull is not None:
        # What was written there before it belonged to an item was answered without asking who wrote it.
        pull = IssueKey(key.installation, key.repo, item.pull.number)
        found += tx.heeded_intents(pull, since, HEEDED - {NoteCode.NOT_TRACKED})
    return found


def _waiting_elsewhere(tx: Ledger, item: Item, policy: Policy) -> tuple[tuple[int, datetime | None], ...]:
    """The other items that wait for an answer or a look of the same person, each with its last reminder's time."""
    person, found = addressee(item, policy), dict[int, datetime | None]()
    for question in tx.waiting_questions(item.key.repo_key):
        other = tx.item(question.key) if question.key != item.key else None
        if other is not None and question.status is QuestionStatus.OPEN and addressee(other, policy) == person:
            found[question.key.number] = question.reminded_at
    for other in tx.items(item.key.repo_key, states=(ItemState.NEEDS_INPUT.value,)):
        if other.key != item.key and other.withheld is not None and addressee(other, policy) == person:
            found[other.key.number] = other.withheld.reminded_at
    return tuple(sorted(found.items()))


def _money(tx: Ledger, key: IssueKey, attempt: Attempt | None, now: datetime) -> tuple[budget.Spent, int]:
    cost = tx.cost(attempt.id) if attempt is not None else None
    spent = budget.Spent({key.number: tx.spent_on(key)}, tx.spent_since(budget.day_start(now), key.repo_key))
    return spent, cost.reserved if cost is not None else 0


def resumable_of(tx: Ledger, key: IssueKey) -> AttemptId | None:
    """The attempt whose conversation is kept for the next one of the item."""
    found = resumable(tx.attempts(key))
    return found if found is not None and tx.carried(found, Carried.TRANSCRIPT) is not None else None
