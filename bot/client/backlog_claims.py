"""Claiming thoughts and settling claims: pure functions from one version of the file to the next.

Promise: a row has one claim; it is settled only with the token of that claim, of which the file has the SHA-256.
Settling a second time the same way changes nothing, because the answer to the first may have been lost. The fence of a
thought only grows. A failure's typed reason decides about a retry by the same table as everywhere (`FAILURES`).

Race: two claimers may both choose the first row of the version they have read. Only one version follows it on the
branch; the other claimer applies `claim` again to that one and gets the next row.
"""

from __future__ import annotations

import difflib
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from bot.client.backlog import Ending, Held, NothingThere, Settled, Status, Taken, Wanted
from bot.client.backlog_file import KEPT_FAILURES, Failed, File, Row
from bot.client.backlog_moves import moved
from bot.client.backlog_view import View, entry_of, folder_of, known_row, obstacles, queue
from bot.domain.failures import Retry, next_step
from bot.domain.model import Failure, FailureReason, InstallationId, IssueKey, Item, ItemState, RepoId, WorkSpec
from bot.domain.sanitise import cap, for_terminal, one_line
from bot.domain.thoughts import IMPLEMENTATION
from bot.domain.timestamps import iso
from bot.domain.workers import able
from bot.errors import LostClaim, Refused, UserError
from bot.texts.failures import SENTENCES
from bot.worker.redaction import redact

MAX_COUNT: Final = 50
"""Thoughts claimed at once; nobody works on more, and each is kept from all others."""
MAX_MESSAGE: Final = 500
"""Characters of a failure's message: a sentence or two, the log has the rest."""
MAX_LOG: Final = 4_000
"""Characters of a log's end that are kept in the file, which everybody fetches for ever."""


@dataclass(frozen=True, slots=True)
class NewAttempt:
    """The id and the secret that a claimer has made up for one attempt."""

    id: str
    token: str


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def claim(view: View, wanted: Wanted, made: Sequence[NewAttempt], now: datetime) -> tuple[File, list[Row]]:
    """Gives the named row, or the next ones, to `wanted.name`. `made` has one attempt for each of `wanted.count`."""
    if not 1 <= wanted.count <= MAX_COUNT:
        raise UserError(f"{wanted.count} cannot be claimed at once.", f"Ask for 1 to {MAX_COUNT}.")
    candidates = queue(view.file) if wanted.ref is None else [_claimable(view, folder_of(wanted.ref), now)]
    taken: list[Row] = []
    waits = obstacles(view, now)
    for row in candidates:
        if len(taken) == (1 if wanted.ref else wanted.count):
            break
        if waits(row) or (wanted.ref is None and _lacks(row, wanted)):
            continue
        attempt = made[len(taken)]
        mine = moved(
            row,
            Status.IN_PROGRESS,
            now,
            claimed_by=one_line(wanted.name),
            claimed_at=now,
            started_at=now,
            completed_at=None,
            tgs={
                "attempt": attempt.id,
                "token_sha256": token_hash(attempt.token),
                "fence": row.tgs.fence + 1,
                "base_sha": view.commit,
                "branch": f"tgs/{row.dir.rpartition('/')[2]}",
                "not_before": None,
                "evidence": None,
            },
        )
        taken.append(mine)
        view = replace(view, file=view.file.put(mine))
        waits = obstacles(view, now)
    if not taken:
        raise NothingThere("Nothing can be claimed now.", _why_nothing(view, wanted, now))
    return view.file, taken


def _claimable(view: View, folder: str, now: datetime) -> Row:
    row = known_row(view.file, folder)
    if row.known is Status.IN_PROGRESS:
        owner = row.claimed_by or "somebody unknown"
        raise Taken(
            f"{folder} is claimed by {owner} since {iso(row.claimed_at) or 'an unknown time'}.",
            owner=owner,
            remedy="Claim another one, or ask them.",
        )
    if row.known is not Status.QUEUED:
        moved(row, Status.IN_PROGRESS, now)
    why = obstacles(view, now)(row)
    if why:
        raise NothingThere(f"{folder} cannot be claimed now.", why)
    return row


def _lacks(row: Row, wanted: Wanted) -> list[str]:
    """What the work needs and the claimer does not have. Who names a thought knows what it needs."""
    missing = [need for need in row.tgs.needs if not able(wanted.capabilities, [need])]
    return [f"It needs {', '.join(missing)}."] if missing else []


def _why_nothing(view: View, wanted: Wanted, now: datetime) -> list[str]:
    rows = queue(view.file)
    running = sum(row.known is Status.IN_PROGRESS for row in view.file.thoughts)
    if not rows:
        why = ["No thought is queued."]
    else:
        shown = rows[:3]
        waits = obstacles(view, now)
        why = [f"{row.dir}: {' '.join([*waits(row), *_lacks(row, wanted)])}" for row in shown]
        if len(rows) > len(shown):
            why.append(f"{len(rows) - len(shown)} more wait.")
    return [*why, f"{running} in progress."] if running else why


def complete(view: View, held: Held, evidence: str | None, shown_at: str | None, now: datetime) -> tuple[File, Settled]:
    """Ends the claim as done. `shown_at` is a commit outside the branch in which the implementation was found."""
    row = _held(view.file, held)
    if row.known is Status.COMPLETED:
        return view.file, Settled(entry_of(row), f"{row.dir} was completed already.")
    _expect(row, Status.IN_PROGRESS)
    said = one_line(redact(evidence)) if evidence else ""
    text = view.thoughts.get(row.dir)
    if said:
        proof: str | None = cap(said, MAX_MESSAGE)
    elif text is not None and text.thought.implementation:
        proof = None
    elif shown_at is not None:
        proof = f"{IMPLEMENTATION} in commit {shown_at}"
    else:
        raise Refused(
            f"{row.dir}/{IMPLEMENTATION} is committed neither on {view.branch} nor on a pushed branch that is checked "
            "out here.",
            "Commit and push it, or say with --evidence why none is needed.",
        )
    row = moved(row, Status.COMPLETED, now, completed_at=now, tgs={"evidence": proof})
    return view.file.put(row), Settled(entry_of(row), f"{row.dir} is completed.")


def fail(view: View, held: Held, ending: Ending, now: datetime, chance: float) -> tuple[File, Settled]:
    """Ends the claim without a result. The typed reason decides about a retry, unless the caller does."""
    reason = _reason(ending.reason)
    row = _held(view.file, held)
    _expect(row, Status.IN_PROGRESS, Status.QUEUED, Status.FAILED)
    if row.known is not Status.IN_PROGRESS:
        return view.file, Settled(entry_of(row), f"{row.dir} was reported already.", row.tgs.not_before)
    step = next_step(_as_item(row, now), _judged(reason, ending.retryable), view.policy, now, chance)
    message = cap(one_line(redact(ending.message)), MAX_MESSAGE)
    log = for_terminal(redact(ending.log)[-MAX_LOG:], MAX_LOG) if ending.log else None
    failures = (*row.tgs.failures, Failed(reason=reason.value, at=now, message=message, log=log))[-KEPT_FAILURES:]
    counted: dict[str, object] = {"failures": failures, "burnt": step.attempts_burnt, "infra": step.infra_failures}
    if isinstance(step, Retry) and ending.retryable is not False:
        cleared: dict[str, object] = {"started_at": None, "claimed_by": None, "claimed_at": None}
        row = moved(row, Status.QUEUED, now, tgs={**counted, "not_before": step.at}, **cleared)
        text = f"{row.dir} is queued again. {SENTENCES[reason]} It is tried again from {iso(step.at)}."
        return view.file.put(row), Settled(entry_of(row), text, step.at)
    row = moved(row, Status.FAILED, now, tgs={**counted, "not_before": None})
    text = f"{row.dir} failed. {SENTENCES[reason]} `add` queues it again."
    return view.file.put(row), Settled(entry_of(row), text)


def _judged(reason: FailureReason, retryable: bool | None) -> FailureReason:
    """The reason whose rule applies: who says that the cause may pass gets the rule of a crash."""
    return FailureReason.AGENT_CRASH if retryable else reason


def _reason(text: str) -> FailureReason:
    try:
        return FailureReason(text)
    except ValueError:
        near = difflib.get_close_matches(text, list(FailureReason), n=3, cutoff=0.4)
        raise UserError(
            f"`{for_terminal(one_line(text), 60)}` is no reason of a failure.",
            f"One of: {', '.join(near or list(FailureReason))}.",
        ) from None


def _as_item(row: Row, now: datetime) -> Item:
    """The row as the rules of failures know items."""
    last = row.tgs.failures[-1] if row.tgs.failures else None
    known = last is not None and last.reason in list(FailureReason)
    return Item(
        key=IssueKey(InstallationId(0), RepoId(0), 0),
        node_id="",
        title=row.title,
        state=ItemState.IN_PROGRESS,
        since=now,
        attempts_burnt=row.tgs.burnt,
        infra_failures=row.tgs.infra,
        last_failure=Failure(FailureReason(last.reason), last.message, last.at) if last is not None and known else None,
        spec=WorkSpec(),
    )


def _held(file: File, held: Held) -> Row:
    """The row that this claim is about. Raises LostClaim when it is not the caller's any more."""
    folder = folder_of(held.ref)
    if not held.token:
        raise Refused(
            f"Only who claimed {folder} can settle it, and no claim was named.",
            "Give the attempt's token that `next` or `claim` printed.",
        )
    row = file.find(folder)
    if row is None:
        raise LostClaim(f"{folder} was removed from the backlog. Stop, and change nothing.")
    same = hmac.compare_digest(row.tgs.token_sha256 or "", token_hash(held.token))
    named = (held.fence in (None, row.tgs.fence)) and (held.attempt in (None, row.tgs.attempt))
    if not same or not named:
        owner = f"{row.claimed_by} has it now" if row.known is Status.IN_PROGRESS else f"it is {row.status} now"
        raise LostClaim(f"The claim on {folder} is no longer yours: {owner}. Stop, and change nothing.")
    return row


def _expect(row: Row, *statuses: Status) -> None:
    """Raises LostClaim when the claim ended in another way."""
    if row.known not in statuses:
        raise LostClaim(f"The claim on {row.dir} has ended: it is {row.status} now. Stop, and change nothing.")
