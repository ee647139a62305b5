"""Commands that say how an item is to be done: its place in the queue, its locks, what it waits for, what it may cost.

What was asked for by a command goes before the text of issue or plan, counts from the next start on, and stays when
that text is edited.
"""

from __future__ import annotations

from dataclasses import replace

from bot.domain import budget
from bot.domain.asks import Answer, Ask, already, cannot, done
from bot.domain.front_matter import MAX_DEPENDENCIES
from bot.domain.locks import MAX_LOCKS
from bot.domain.model import Asked
from bot.domain.notes import NoteCode, note


def set_priority(ask: Ask) -> Answer:
    draft = ask.draft
    item = draft.item
    if item is None:
        return note(NoteCode.NOT_TRACKED, verb="priority")
    value = ask.args.priority or 0
    if item.priority == value:
        return already(ask, "priority", value=value)
    draft.change(priority=value)
    draft.note_history("priority", actor=ask.actor, cause=str(value))
    draft.wake(draft.facts.key.repo_key)
    return done(ask, "priority", value=value)


def lock(ask: Ask) -> Answer:
    path, item = ask.args.text("path") or "", ask.draft.item
    if item is not None and path in item.spec.locks:
        return already(ask, "locked", path=path)
    return _locks(ask, "locked", (*(item.spec.locks if item is not None else ()), path))


def unlock(ask: Ask) -> Answer:
    path, item = ask.args.text("path") or "", ask.draft.item
    if item is not None and path not in item.spec.locks:
        return already(ask, "not_locked", path=path)
    return _locks(ask, "unlocked", tuple(known for known in (item.spec.locks if item else ()) if known != path))


def _locks(ask: Ask, what: str, locks: tuple[str, ...]) -> Answer:
    """Other locks from the next start on; those of a running attempt were taken with its claim."""
    draft = ask.draft
    if draft.item is None:
        return note(NoteCode.NOT_TRACKED, verb=ask.intent.verb)
    if len(locks) > MAX_LOCKS:
        return cannot(ask, "too_many", limit=MAX_LOCKS)
    return _asked(ask, what, replace(draft.item.asked, locks=locks), path=ask.args.text("path"))


def depends(ask: Ask) -> Answer:
    number, item = ask.args.issue, ask.draft.item
    if number == ask.draft.facts.key.number:
        return cannot(ask, "itself")
    if item is not None and number in item.spec.depends_on:
        return already(ask, "depends", number=number)
    known = item.spec.depends_on if item is not None else ()
    return _dependencies(ask, "depends", tuple(sorted((*known, number))))


def undepends(ask: Ask) -> Answer:
    number, item = ask.args.issue, ask.draft.item
    if item is not None and number not in item.spec.depends_on:
        return already(ask, "independent", number=number)
    return _dependencies(ask, "independent", tuple(n for n in (item.spec.depends_on if item else ()) if n != number))


def _dependencies(ask: Ask, what: str, numbers: tuple[int, ...]) -> Answer:
    draft = ask.draft
    if draft.item is None:
        return note(NoteCode.NOT_TRACKED, verb=ask.intent.verb)
    if len(numbers) > MAX_DEPENDENCIES:
        return cannot(ask, "too_many", limit=MAX_DEPENDENCIES)
    return _asked(ask, what, replace(draft.item.asked, depends_on=numbers), number=ask.args.issue)


def _asked(ask: Ask, what: str, asked: Asked, **params: object) -> Answer:
    draft = ask.draft
    assert draft.item is not None
    if draft.live is not None:
        return cannot(ask, "running")
    draft.change(asked=asked, spec=asked.over(draft.item.spec))
    draft.note_history(ask.intent.verb, actor=ask.actor, cause=" ".join(ask.intent.args))
    draft.wake(draft.facts.key.repo_key)
    return done(ask, what, **params)


def set_budget(ask: Ask) -> Answer:
    """Another ceiling from the next start on; an attempt under way keeps what was reserved for it."""
    draft, amount = ask.draft, ask.args.amount
    if draft.item is None:
        return note(NoteCode.NOT_TRACKED, verb="budget")
    if amount > ask.policy.budgets.per_item:
        return cannot(ask, "over_policy", limit=f"{ask.policy.budgets.per_item:g}")
    asked = replace(draft.item.asked, budget_usd=amount)
    draft.change(asked=asked, spec=asked.over(draft.item.spec))
    draft.note_history("budget", actor=ask.actor, cause=f"{amount:.2f} USD")
    draft.wake(draft.facts.key.repo_key)
    return done(ask, "budget", amount=f"{amount:.2f}")


def cost(ask: Ask) -> Answer:
    draft, budgets = ask.draft, ask.policy.budgets
    if not draft.repo.private:
        return cannot(ask, "public")
    item, spent = draft.item, draft.facts.spent
    if item is None:
        return note(NoteCode.NOT_TRACKED, verb="cost")
    return note(
        NoteCode.COST,
        actor=ask.actor,
        spent=budget.usd(spent.of(item.key.number)),
        limit=budget.usd(budget.item_limit(item.spec, budgets)),
        reserved=budget.usd(draft.facts.reserved) if draft.live is not None and draft.facts.reserved else None,
        today=budget.usd(spent.repository_today),
        day_limit=budget.usd(budget.micro(budgets.per_day)),
    )
