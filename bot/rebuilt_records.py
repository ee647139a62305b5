"""Enters what was found of a lost ledger into the new one, part by part, each in one transaction.

Promises: records that are there are left alone; what was said or done before is noted as said and done, so that it is
not repeated; commands of the time before are noted and not carried out. A crash leaves whole parts, and nobody works
with them before all are there (`bot/records.py`, `bot/claims.py`). Items that stand on GitHub as they were shown last
need no look of their own: the queue or somebody's change comes to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from bot.domain.facts import IssueFacts
from bot.domain.intents import Intent
from bot.domain.memory import ItemMemory, RepoMemory, shown_digest
from bot.domain.model import AttemptId, IssueKey, Item
from bot.domain.question_memory import RoundMemory
from bot.domain.rebuild import Rebuilt
from bot.domain.repository import RepoRecord
from bot.domain.sighting import StatusComment
from bot.errors import GitHubError
from bot.protocols.github import Comment
from bot.protocols.ledger import Audit, Ledger, LockRow, OutboxRow, Store
from bot.resync import LIST_LAG
from bot.talk import take

LOST = "ledger_lost"
"""The outcome of a command of the time before."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Report:
    """What came back: per item its number, state and reasons; and commands that are not carried out.

    `before` counts the items that an earlier call has brought back; `stopped` is why this one did not come to its end.
    """

    repo: RepoRecord
    items: tuple[tuple[int, str, str], ...] = ()
    commands: tuple[tuple[int, str, str], ...] = ()
    before: int = 0
    stopped: GitHubError | None = None


Said = tuple[str, IssueKey, int, datetime]
"""What is said once: its name, where, in which comment, when."""


@dataclass(frozen=True, slots=True)
class Told:
    """The comments of one item: what we remembered, what we said, what people commanded. `all_of_it`: as they are."""

    memory: ItemMemory | None = None
    status: StatusComment | None = None
    said: tuple[Said, ...] = ()
    commands: tuple[tuple[Intent, bool], ...] = ()
    rounds: tuple[tuple[RoundMemory, int, datetime], ...] = ()
    all_of_it: tuple[Comment, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """One item: its records, its comments, and when its issue was changed last."""

    found: Rebuilt
    told: Told
    changed_at: datetime


async def enter(store: Store, report: Report, found: list[Found], now: datetime) -> Report:
    """Write the records of one part, and say with the parts before what came back."""
    repo = report.repo

    def write(tx: Ledger) -> list[Found]:
        return [one for one in found if _enter(tx, repo, one, now)]

    new = await store.write(write)
    return replace(
        report,
        items=report.items + tuple((one.found.item.key.number, one.found.item.state.value, _why(one)) for one in new),
        commands=report.commands
        + tuple(
            (intent.key.number, intent.actor.login, intent.verb)
            for one in new
            for intent, answered in one.told.commands
            # What was written since we listen is carried out like any other command.
            if not answered and (repo.listening_since is None or intent.created_at < repo.listening_since)
        ),
    )


async def finish(
    store: Store,
    report: Report,
    memory: RepoMemory,
    set_up: IssueFacts | None,
    now: datetime,
    said_elsewhere: Sequence[Said] = (),
) -> Report:
    """All records are there, with what was said where no item is: from here on they are worked with."""
    repo = report.repo
    digest = shown_digest(as_written(set_up.body)) if set_up is not None else None

    def write(tx: Ledger) -> RepoRecord:
        # The record as it is now: a webhook may have changed it while GitHub was read.
        fresh = tx.repo(repo.key) or repo
        after = replace(fresh, rebuilt_at=now)
        if fresh.setup_issue is None and set_up is not None:
            after = replace(
                after,
                pause=memory.pause,
                mirror_decided=memory.mirror_decided,
                thoughts_at_installation=memory.thoughts_at_installation,
                setup_issue=set_up.key.number,
                setup_hash=digest,
            )
        tx.save_repo(fresh, after)
        for row in _comments(repo, said_elsewhere, now):
            tx.plan(row)
        keys = [item.key for item in tx.items(repo.key)]
        resting = tx.at_rest_since(keys, fresh.listening_since) if fresh.listening_since is not None else frozenset()
        for key in keys:
            if key not in resting:
                tx.touch(key)
        for asked in tx.asked_on(repo.key):
            # Looked at before it was known what there is, it was left alone; nobody else comes back to it.
            tx.mark(asked)
        return tx.repo(repo.key) or after

    report = replace(report, repo=await store.write(write))
    if report.items or set_up is not None:
        log.warning(
            "ledger_rebuilt", repo=repo.full_name, items=len(report.items), commands_not_run=len(report.commands)
        )
    return report


def _enter(tx: Ledger, repo: RepoRecord, one: Found, now: datetime) -> bool:
    """The records of one item; False when it is there already."""
    item = one.found.item
    if tx.item(item.key) is not None or not tx.insert_item(item):
        return False
    for attempt in one.found.attempts:
        known = tx.attempt(attempt.id)
        if known is None:
            tx.insert_attempt(attempt)
        elif known.key != item.key:
            # The App was removed and came back: the attempt is what it was, and its secrets still open it.
            tx.rehome_attempt(attempt.id, item.key)
    for question in one.found.questions:
        tx.insert_question(question)
    if one.found.locks:
        holder = one.found.attempts[-1].id if one.found.attempts else AttemptId("")
        tx.take_locks(
            [LockRow(repo.key, lock.path, item.key.number, holder, now, lock.mode.value) for lock in one.found.locks]
        )
    for row in _acts(repo, item, one, now):
        tx.plan(row)
    for intent, answered in one.told.commands:
        if tx.put_intent(intent):
            if answered:
                tx.settle_intent(intent.id, LOST, now)
            tx.mark(intent.key)
    touched = tx.touched_at(item.key)
    if touched is None or touched < now:
        # Nothing has pointed at the issue since it was read: its messages are these.
        take(tx, item.key, list(one.told.all_of_it), repo.bot.id if repo.bot is not None else None)
    if one.found.at_rest:
        tx.rest(item.key, one.changed_at + LIST_LAG)
    tx.audit(
        Audit(
            at=now,
            key=item.key,
            kind="rebuilt",
            actor="bot",
            cause=_why(one),
            to_state=item.state.value,
            fence=item.fence,
            policy_hash=repo.policy_hash,
        )
    )
    return True


def _comments(repo: RepoRecord, said: Sequence[Said], now: datetime) -> list[OutboxRow]:
    return [OutboxRow(name, "comment", key, repo.key, None, at, now, str(id_), 0) for name, key, id_, at in said]


def _acts(repo: RepoRecord, item: Item, one: Found, now: datetime) -> list[OutboxRow]:
    """What was done already and must not be done again, and a start of which that is not known."""
    rows = _comments(repo, one.told.said, now)
    status = item.projection.status_comment_id
    if status is not None:
        name = f"status:{item.key}:{item.projection.status_generation}"
        rows.append(OutboxRow(name, "comment", item.key, repo.key, None, now, now, str(status), 0))
    if item.thought is not None:
        name = f"mirror:{repo.key}:{item.thought.dir}"
        rows.append(OutboxRow(name, "issue", None, repo.key, None, now, now, str(item.key.number), 0))
    if one.found.dispatched is not None:
        name = f"dispatch:{one.found.dispatched}"
        rows.append(OutboxRow(name, "dispatch", item.key, repo.key, item.fence, now, None, None, 1))
    return rows


def _why(one: Found) -> str:
    return ", ".join(because.value for because in one.found.because)


def as_written(body: str) -> str:
    """A text of ours as we wrote it, from how GitHub gives it back."""
    return body.replace("\r\n", "\n").rstrip()
