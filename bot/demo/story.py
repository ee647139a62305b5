"""The demo's narration: what changed between two looks at the backlog, in plain words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from bot.domain.attempt import Attempt, AttemptPhase
from bot.domain.facts import Ci
from bot.domain.model import Item, ItemState
from bot.texts.failures import sentence as failure_sentence
from bot.texts.reasons import sentence as reason_sentence


@dataclass(frozen=True, slots=True)
class Seen:
    """One item at one look. `ci` is what the checks of its pull request say."""

    item: Item
    attempts: tuple[Attempt, ...]
    ci: Ci | None = None

    @property
    def newest(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None


def told(before: Seen | None, now: Seen) -> list[str]:
    """The sentences for what happened to one item since the last look."""
    name = f"#{now.item.key.number} “{now.item.title}”"
    lines: list[str] = []
    if before is None:
        lines.append(f"{name} {_arrival(now.item)}")
    lines += _attempt_lines(name, before, now)
    if before is not None and before.item.state is not now.item.state:
        lines += _state_lines(name, now)
    waits = _waits(now)
    if waits and waits != (_waits(before) if before is not None else ""):
        lines.append(f"{name}: not yet. {waits}")
    if now.ci is not None and now.ci is not (before.ci if before is not None else None):
        lines += _ci_lines(name, now.ci)
    return lines


def _arrival(item: Item) -> str:
    if item.state is ItemState.PROPOSED:
        return "became an issue; it stays proposed until a maintainer approves it."
    how = "came from a plan" if item.thought is not None else "was labelled tgs:ready by Maria"
    urgent = ", with high priority" if item.priority > 0 else ""
    return f"{how} and is in the queue{urgent}."


def _attempt_lines(name: str, before: Seen | None, now: Seen) -> list[str]:
    old = {attempt.id: attempt for attempt in before.attempts} if before is not None else {}
    lines: list[str] = []
    for attempt in now.attempts:
        was = old.get(attempt.id)
        if was is None:
            lines.append(f"{name} is claimed: attempt {attempt.number}, nobody else can take it now.")
        if attempt.started_at is not None and (was is None or was.started_at is None):
            lines.append(f"{name}: run {attempt.run_id} proved who it is and started to work.")
        if attempt.progress is not None and (was is None or was.progress != attempt.progress):
            step = attempt.progress
            place = f"step {step.step} of {step.total}, " if step.total > 0 else ""
            lines.append(f"{name}: {place}{step.text.rstrip('.')}.")
        ended = attempt.phase is AttemptPhase.ENDED and (was is None or was.phase is not AttemptPhase.ENDED)
        if ended and attempt.failure is not None:
            why = failure_sentence(attempt.failure.reason)
            lines.append(f"{name}: attempt {attempt.number} failed. {why}")
    return lines


def _state_lines(name: str, now: Seen) -> list[str]:
    item = now.item
    match item.state:
        case ItemState.IN_REVIEW:
            number = item.pull.number if item.pull is not None else "?"
            return [f"{name}: the bot opened pull request #{number}; the repository's own tests run on it."]
        case ItemState.NEEDS_INPUT:
            return [f"{name}: the agent has a question; its run has ended, and the bot asks on the issue."]
        case ItemState.DONE:
            return [f"{name} is merged and done."]
        case ItemState.FAILED:
            return [f"{name} failed for good."]
        case ItemState.CANCELLED:
            return [f"{name} was called off."]
        case _:
            return []


def _waits(seen: Seen) -> str:
    item = seen.item
    waiting = item.state in {ItemState.READY, ItemState.IN_PROGRESS}
    if not waiting or (seen.newest is not None and seen.newest.live):
        return ""
    return " ".join(reason_sentence(reason) for reason in item.waiting)


def _ci_lines(name: str, ci: Ci) -> list[str]:
    match ci:
        case Ci.PASSED:
            return [f"{name}: the tests of the repository pass on its branch."]
        case Ci.FAILED:
            return [f"{name}: the tests of the repository fail on its branch."]
        case Ci.PENDING | Ci.NONE:
            return []


def questions(comment: str) -> list[str]:
    """The question and its choices in a comment of the bot."""
    if "question" not in comment:
        return []
    lines = [line.strip() for line in comment.splitlines()]
    asked = [line.lstrip("> ") for line in lines if line.startswith("> ") or line[:2] in {"1.", "2."}]
    return [line.replace("*", "") for line in asked]


def span(begin: datetime | None, end: datetime | None) -> str:
    """Seconds between two times, for the table."""
    if begin is None or end is None:
        return "–"
    return f"{(end - begin).total_seconds():.0f} s"
