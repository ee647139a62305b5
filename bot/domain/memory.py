"""What the bot leaves in its own texts on GitHub so that a lost ledger can be rebuilt from them. Pure.

A status comment carries the item's *memory*: what people decided by commands, how often was tried, and the last
attempt with its fence. The set-up issue carries the repository's. Both hold ids, numbers and words that stand in the
same text for people to read, never anything secret. Fields change only together with what people see, so that
remembering costs no edit.

Promise: what `of_item` wrote, `item_memory` gives back. Anybody may write such a text: whoever reads one has checked
that its author and its last editor are the bot. Reading is tolerant: a field that is missing or not understood is not
remembered, and the rules then decide from labels and events.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from bot.domain.attempt import Attempt, AttemptKind, Worker, WorkerKind
from bot.domain.model import (
    Asked,
    Failure,
    FailureReason,
    Item,
    ItemState,
    Person,
    Snapshot,
    ThoughtRef,
)
from bot.domain.repository import Pause, RepoRecord

VERSION: Final = 1
"""The form that this code writes; another one is not read."""

MAX_WORDS: Final = 300
"""Characters of a reason given by people; the rest stands in their comment."""


@dataclass(frozen=True, slots=True)
class AttemptMemory:
    """The last attempt of an item, as far as it was shown."""

    id: str
    number: int
    fence: int
    live: bool
    worker: Worker
    branch: str
    claimed_at: datetime
    kind: AttemptKind = AttemptKind.IMPLEMENT
    base_sha: str | None = None
    run_id: int | None = None


@dataclass(frozen=True, slots=True)
class ItemMemory:
    """An item as it was when its status comment was written. `text` is the fingerprint of what was approved."""

    number: int
    state: ItemState
    since: datetime
    fence: int = 0
    burnt: int = 0
    infra: int = 0
    extensions: int = 0
    priority: int = 0
    accepted: frozenset[str] = frozenset()
    held_by: str | None = None
    held_reason: str | None = None
    expedited: bool = False
    fresh: bool = False
    ready_since: datetime | None = None
    not_before: datetime | None = None
    asked: Asked = field(default_factory=Asked)
    approver: Person | None = None
    approved_at: datetime | None = None
    outsider: bool = False
    text: str | None = None
    plan_sha: str | None = None
    thought: ThoughtRef | None = None
    failure: Failure | None = None
    pull: int | None = None
    pull_author: int | None = None
    generation: int = 0
    withheld: bool = False
    attempt: AttemptMemory | None = None


@dataclass(frozen=True, slots=True)
class RepoMemory:
    """A repository as it was when its set-up issue was written."""

    pause: Pause | None = None
    mirror_decided: bool = False
    thoughts_at_installation: tuple[str, ...] | None = None


def fingerprint(title: str, body: str) -> str:
    """Of a text that was approved, to see whether it is still the same."""
    return hashlib.sha256(f"{title}\0{body}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def shown_digest(text: str) -> str:
    """Of a text that we show, to see whether an edit would change anything."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


# --- writing -----------------------------------------------------------------------------------------


def of_item(item: Item, attempt: Attempt | None) -> str:
    """The item's memory as a marker's value."""
    snapshot = item.snapshot
    thought = item.thought
    failure = item.last_failure
    pull = item.pull
    return _pack(
        n=item.key.number,
        s=item.state.value,
        t=_seconds(item.since),
        f=item.fence,
        b=item.attempts_burnt,
        i=item.infra_failures,
        e=item.extensions or None,
        p=item.priority,
        pl=sorted(item.accepted_labels) or None,
        h=[item.held_by, (item.held_reason or "")[:MAX_WORDS]] if item.held_by is not None else None,
        x=item.expedited,
        r=item.fresh,
        rs=_seconds(item.ready_since),
        nb=_seconds(item.not_before),
        q=_asked(item.asked),
        ap=_approval(snapshot),
        th=[thought.dir, thought.commit_sha, thought.plan_sha, thought.research_sha] if thought is not None else None,
        lf=[failure.reason.value, failure.detail[:MAX_WORDS], _seconds(failure.at)] if failure is not None else None,
        pr=[pull.number, pull.author] if pull is not None else None,
        g=item.projection.status_generation,
        w=(item.withheld is not None) or None,
        a=_attempt(attempt),
    )


def of_repo(repo: RepoRecord) -> str:
    """The repository's memory as a marker's value."""
    pause = repo.pause
    stand = (
        [pause.by, pause.reason[:MAX_WORDS], _seconds(pause.since), _seconds(pause.until)]
        if pause is not None
        else None
    )
    there = repo.thoughts_at_installation
    return _pack(p=stand, m=repo.mirror_decided, th=list(there) if there is not None else None)


def _asked(asked: Asked) -> list[Any] | None:
    if asked == Asked():
        return None
    locks = list(asked.locks) if asked.locks is not None else None
    return [locks, list(asked.depends_on) if asked.depends_on is not None else None, asked.budget_usd]


def _approval(snapshot: Snapshot | None) -> list[Any] | None:
    if snapshot is None:
        return None
    who = [snapshot.approver.id, snapshot.approver.login] if snapshot.approver is not None else None
    text = fingerprint(snapshot.title, snapshot.body)
    return [who, _seconds(snapshot.approved_at), text, snapshot.plan_sha, snapshot.contains_outsider_text]


def _attempt(attempt: Attempt | None) -> list[Any] | None:
    if attempt is None or attempt.external:
        return None
    worker = attempt.worker
    return [
        attempt.id,
        attempt.number,
        attempt.fence,
        attempt.live,
        [worker.kind.value, worker.name, worker.id, worker.token_id],
        attempt.branch,
        _seconds(attempt.claimed_at),
        attempt.kind.value,
        attempt.base_sha,
        attempt.run_id,
    ]


def _pack(**fields: Any) -> str:
    kept = {"v": VERSION} | {name: value for name, value in fields.items() if value not in (None, False, 0)}
    text = json.dumps(kept, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return marker_text(text)


def marker_text(raw: bytes) -> str:
    """Bytes in the characters that a marker may have (`bot/texts/markers.py`)."""
    return base64.b64encode(raw).decode().rstrip("=").replace("+", ".")


def marker_bytes(text: str) -> bytes:
    """What `marker_text` wrote. Raises ValueError for anything else."""
    return base64.b64decode(text.replace(".", "+") + "=" * (-len(text) % 4), validate=True)


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


# --- reading -----------------------------------------------------------------------------------------


def item_memory(value: str) -> ItemMemory | None:
    """What `of_item` wrote; None for anything else."""
    found = _unpack(value)
    try:
        return None if found is None else _item(found)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError):
        return None


def repo_memory(value: str) -> RepoMemory | None:
    """What `of_repo` wrote; None for anything else."""
    found = _unpack(value)
    try:
        return None if found is None else _repo(found)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError):
        return None


def _item(found: dict[str, Any]) -> ItemMemory:
    held = found.get("h") or [None, None]
    who, approved_at, text, plan_sha, outsider = found.get("ap") or [None, None, None, None, False]
    locks, depends, budget = found.get("q") or [None, None, None]
    failure = found.get("lf")
    pull, author = found.get("pr") or [None, None]
    return ItemMemory(
        number=int(found["n"]),
        state=ItemState(found["s"]),
        since=_needed(found["t"]),
        fence=int(found.get("f", 0)),
        burnt=int(found.get("b", 0)),
        infra=int(found.get("i", 0)),
        extensions=int(found.get("e", 0)),
        priority=int(found.get("p", 0)),
        accepted=frozenset(str(name) for name in found.get("pl", [])),
        held_by=held[0],
        held_reason=held[1] or None,
        expedited=bool(found.get("x")),
        fresh=bool(found.get("r")),
        ready_since=_time(found.get("rs")),
        not_before=_time(found.get("nb")),
        asked=Asked(
            tuple(str(lock) for lock in locks) if locks is not None else None,
            tuple(int(number) for number in depends) if depends is not None else None,
            budget,
        ),
        approver=Person(int(who[0]), str(who[1])) if who is not None else None,
        approved_at=_time(approved_at),
        outsider=bool(outsider),
        text=text,
        plan_sha=plan_sha,
        thought=ThoughtRef(*(str(part) for part in found["th"])) if found.get("th") else None,
        failure=Failure(FailureReason(failure[0]), str(failure[1]), _needed(failure[2])) if failure else None,
        pull=pull,
        pull_author=author,
        generation=int(found.get("g", 0)),
        withheld=bool(found.get("w")),
        attempt=_remembered(found["a"]) if found.get("a") else None,
    )


def _remembered(found: list[Any]) -> AttemptMemory:
    id_, number, fence, live, worker, branch, claimed_at, kind, base_sha, run_id = found
    return AttemptMemory(
        id=str(id_),
        number=int(number),
        fence=int(fence),
        live=bool(live),
        worker=Worker(WorkerKind(worker[0]), str(worker[1]), worker[2], worker[3]),
        branch=str(branch),
        claimed_at=_needed(claimed_at),
        kind=AttemptKind(kind),
        base_sha=base_sha,
        run_id=int(run_id) if run_id is not None else None,
    )


def _repo(found: dict[str, Any]) -> RepoMemory:
    pause = found.get("p")
    there = found.get("th")
    return RepoMemory(
        pause=Pause(str(pause[0]), str(pause[1]), _needed(pause[2]), _time(pause[3])) if pause else None,
        mirror_decided=bool(found.get("m")),
        thoughts_at_installation=tuple(str(name) for name in there) if there is not None else None,
    )


def _unpack(value: str) -> dict[str, Any] | None:
    try:
        found = json.loads(marker_bytes(value))
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("v") == VERSION else None


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else _needed(seconds)


def _needed(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
