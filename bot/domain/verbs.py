"""What each available command does once it is allowed: one function per verb, one row per verb in `HANDLERS`.

A handler changes the draft through the same rules as everything else and returns what is answered; None means that
the command stays open and is looked at again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bot.domain import budget
from bot.domain.approval import approve, request_cancel
from bot.domain.asking import answer_by_command
from bot.domain.command_args import Arguments, arguments
from bot.domain.commands import Verb
from bot.domain.draft import Draft
from bot.domain.effects import React, Show
from bot.domain.explain import explain
from bot.domain.front_matter import MAX_DEPENDENCIES
from bot.domain.intents import Intent
from bot.domain.labels import IntentLabel
from bot.domain.lifecycle import ItemEvent, Refusal
from bot.domain.locks import MAX_LOCKS
from bot.domain.model import Asked, FailureReason, Item, ItemState
from bot.domain.notes import Note, NoteCode, note
from bot.domain.permissions import Capability, Denied, decide
from bot.domain.policy_model import Policy
from bot.domain.repository import Pause
from bot.domain.review import merge

DONE = "rocket"
"""The reaction that says that what was asked for has happened."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One accepted command being carried out."""

    draft: Draft
    policy: Policy
    intent: Intent

    @property
    def actor(self) -> str:
        return self.intent.actor.login

    @property
    def args(self) -> Arguments:
        return arguments(Verb(self.intent.verb), self.intent.args)


Answer = Note | None
"""None: not yet; the command stays open and is looked at again."""


def _done(ask: Ask, what: str, **params: object) -> Note:
    return note(NoteCode.DONE, verb=ask.intent.verb, what=what, actor=ask.actor, **params)


def _already(ask: Ask, what: str, **params: object) -> Note:
    return note(NoteCode.ALREADY_SO, verb=ask.intent.verb, what=what, actor=ask.actor, **params)


def _cannot(ask: Ask, why: str, **params: object) -> Note:
    return note(NoteCode.CANNOT, verb=ask.intent.verb, why=why, actor=ask.actor, **params)


def _start(ask: Ask) -> Answer:
    draft = ask.draft
    item = draft.item
    if item is not None and item.state in {ItemState.READY, ItemState.IN_PROGRESS} and draft.live is None:
        _vouch(ask, item)
    if item is not None and item.state is ItemState.READY:
        if ask.args.in_turn or (draft.item is not None and draft.item.expedited):
            return _already(ask, "queued", position=item.position)
        draft.change(expedited=True, not_before=None)
        draft.note_history("expedited", actor=ask.actor, cause="/tgs start")
        draft.wake(draft.facts.key.repo_key)
        return _done(ask, "expedited")
    if item is not None and item.state is ItemState.IN_PROGRESS:
        if draft.live is not None:
            return _already(ask, "running", attempt=draft.live.number)
        draft.change(not_before=None, expedited=True)
        draft.wake(draft.facts.key.repo_key)
        return _done(ask, "expedited")
    if item is not None and item.state in {ItemState.IN_REVIEW, ItemState.NEEDS_INPUT}:
        return _cannot(ask, item.state.value)
    return _approved(ask, expedited=not ask.args.in_turn)


def _vouch(ask: Ask, item: Item) -> None:
    """When the approver may not start work any more, whoever starts it now approves the same text in their place."""
    draft, snapshot = ask.draft, item.snapshot
    if snapshot is None or snapshot.approver is None:
        return
    role = draft.facts.role_of(snapshot.approver)
    if role is None or isinstance(decide(Capability.START, role, ask.policy.roles), Denied):
        draft.change(snapshot=replace(snapshot, approver=ask.intent.actor), expedited=False)


def _approved(ask: Ask, *, expedited: bool) -> Answer:
    draft = ask.draft
    issue = draft.facts.issue
    if issue is None or not issue.open:
        return _cannot(ask, "closed")
    before = len(draft.words)
    ok = approve(
        draft,
        ask.policy,
        actor=ask.intent.actor,
        at=ask.intent.created_at,
        topic=f"intent-void:{ask.intent.id}",
        cause=f"/tgs {ask.intent.verb}",
    )
    if ok:
        if draft.item is None:
            return _done(ask, "thoughts_released")
        if expedited:
            draft.change(expedited=True)
        return _done(ask, "queued")
    if len(draft.words) > before:
        return _cannot(ask, "edited")
    return None


def _stop(ask: Ask) -> Answer:
    draft = ask.draft
    item = draft.item
    if item is None:
        return note(NoteCode.NOT_TRACKED, verb="stop")
    if draft.live is not None:
        if draft.live.cancel_requested_at is not None and not ask.args.now:
            return _already(ask, "stopping")
        if draft.live.cancel_requested_at is None:
            request_cancel(draft, FailureReason.CANCELLED_BY_PERSON, by=ask.actor, force=ask.args.now)
        else:
            draft.step(forced_at=draft.now)
        draft.note_history("stop_asked", actor=ask.actor, cause=ask.args.text("reason") or "/tgs stop")
        return _done(ask, "stopping", now="yes" if ask.args.now else None)
    found = draft.move(ItemEvent.CANCELLED, actor=ask.actor, cause=ask.args.text("reason") or "/tgs stop")
    if isinstance(found, Refusal):
        return _already(ask, item.state.value)
    draft.free_locks = True
    return _done(ask, "cancelled", pull=item.pull.number if item.pull else None)


def _retry(ask: Ask) -> Answer:
    draft = ask.draft
    item = draft.item
    if item is None:
        return note(NoteCode.NOT_TRACKED, verb="retry")
    if item.state is ItemState.IN_PROGRESS and draft.live is None:
        draft.change(not_before=None, notes=ask.args.text("notes") or item.notes, fresh=ask.args.fresh)
        draft.wake(draft.facts.key.repo_key)
        return _done(ask, "retry_now")
    if item.state is ItemState.READY:
        return _already(ask, "queued", position=item.position)
    if item.state in {ItemState.IN_PROGRESS, ItemState.NEEDS_INPUT}:
        return _cannot(ask, "running" if draft.live else item.state.value)
    if item.state is ItemState.IN_REVIEW:
        return _cannot(ask, "in-review", pull=item.pull.number if item.pull else None)
    if item.state is ItemState.PROPOSED:
        return _cannot(ask, "proposed")
    answer = _approved(ask, expedited=False)
    if answer is not None and answer.code is NoteCode.DONE:
        draft.change(notes=ask.args.text("notes"), fresh=ask.args.fresh)
    return answer


def _hold(ask: Ask) -> Answer:
    draft = ask.draft
    item = draft.item
    if item is None:
        return note(NoteCode.NOT_TRACKED, verb="hold")
    if item.held_by is not None:
        return _already(ask, "held", by=item.held_by)
    if item.terminal:
        return _cannot(ask, item.state.value)
    draft.change(held_by=ask.actor, held_reason=ask.args.text("reason"))
    draft.note_history("held", actor=ask.actor, cause=ask.args.text("reason") or "/tgs hold")
    draft.wake(draft.facts.key.repo_key)
    return _done(ask, "held", running=draft.live.number if draft.live else None)


def _unhold(ask: Ask) -> Answer:
    draft = ask.draft
    item, issue = draft.item, draft.facts.issue
    if item is None:
        return note(NoteCode.NOT_TRACKED, verb="unhold")
    if item.held_by is None:
        return _already(ask, "not_held")
    draft.change(held_by=None, held_reason=None)
    draft.note_history("unheld", actor=ask.actor, cause="/tgs unhold")
    if issue is not None and IntentLabel.HOLD in issue.labels:
        draft.visible.append(Show(draft.facts.key, remove_labels=(IntentLabel.HOLD.value,)))
        draft.unheld = True
    draft.wake(draft.facts.key.repo_key)
    return _done(ask, "unheld")


def _pause(ask: Ask) -> Answer:
    draft = ask.draft
    until, reason = ask.args.until, ask.args.text("reason") or ""
    if until is not None and until <= draft.now:
        return _cannot(ask, "past_date", until=until.isoformat())
    draft.repo = replace(draft.repo, pause=Pause(ask.actor, reason, draft.now, until))
    draft.note_history("repo_paused", actor=ask.actor, cause=reason)
    draft.wake(draft.facts.key.repo_key)
    return _done(ask, "paused", until=until.isoformat() if until else None, reason=reason)


def _resume(ask: Ask) -> Answer:
    draft = ask.draft
    if draft.repo.pause is None or not draft.repo.pause.active(draft.now):
        return _already(ask, "not_paused")
    draft.repo = replace(draft.repo, pause=None)
    draft.note_history("repo_resumed", actor=ask.actor, cause="/tgs resume")
    draft.wake(draft.facts.key.repo_key)
    return _done(ask, "resumed")


def _priority(ask: Ask) -> Answer:
    draft = ask.draft
    item = draft.item
    if item is None:
        return note(NoteCode.NOT_TRACKED, verb="priority")
    value = ask.args.priority or 0
    if item.priority == value:
        return _already(ask, "priority", value=value)
    draft.change(priority=value)
    draft.note_history("priority", actor=ask.actor, cause=str(value))
    draft.wake(draft.facts.key.repo_key)
    return _done(ask, "priority", value=value)


def _lock(ask: Ask) -> Answer:
    path, item = ask.args.text("path") or "", ask.draft.item
    if item is not None and path in item.spec.locks:
        return _already(ask, "locked", path=path)
    return _locks(ask, "locked", (*(item.spec.locks if item is not None else ()), path))


def _unlock(ask: Ask) -> Answer:
    path, item = ask.args.text("path") or "", ask.draft.item
    if item is not None and path not in item.spec.locks:
        return _already(ask, "not_locked", path=path)
    return _locks(ask, "unlocked", tuple(known for known in (item.spec.locks if item else ()) if known != path))


def _locks(ask: Ask, what: str, locks: tuple[str, ...]) -> Answer:
    """Other locks from the next start on; those of a running attempt were taken with its claim."""
    draft = ask.draft
    if draft.item is None:
        return note(NoteCode.NOT_TRACKED, verb=ask.intent.verb)
    if len(locks) > MAX_LOCKS:
        return _cannot(ask, "too_many", limit=MAX_LOCKS)
    return _asked(ask, what, replace(draft.item.asked, locks=locks), path=ask.args.text("path"))


def _depends(ask: Ask) -> Answer:
    number, item = ask.args.issue, ask.draft.item
    if number == ask.draft.facts.key.number:
        return _cannot(ask, "itself")
    if item is not None and number in item.spec.depends_on:
        return _already(ask, "depends", number=number)
    known = item.spec.depends_on if item is not None else ()
    return _dependencies(ask, "depends", tuple(sorted((*known, number))))


def _undepends(ask: Ask) -> Answer:
    number, item = ask.args.issue, ask.draft.item
    if item is not None and number not in item.spec.depends_on:
        return _already(ask, "independent", number=number)
    return _dependencies(ask, "independent", tuple(n for n in (item.spec.depends_on if item else ()) if n != number))


def _dependencies(ask: Ask, what: str, numbers: tuple[int, ...]) -> Answer:
    draft = ask.draft
    if draft.item is None:
        return note(NoteCode.NOT_TRACKED, verb=ask.intent.verb)
    if len(numbers) > MAX_DEPENDENCIES:
        return _cannot(ask, "too_many", limit=MAX_DEPENDENCIES)
    return _asked(ask, what, replace(draft.item.asked, depends_on=numbers), number=ask.args.issue)


def _asked(ask: Ask, what: str, asked: Asked, **params: object) -> Answer:
    draft = ask.draft
    assert draft.item is not None
    if draft.live is not None:
        return _cannot(ask, "running")
    draft.change(asked=asked, spec=asked.over(draft.item.spec))
    draft.note_history(ask.intent.verb, actor=ask.actor, cause=" ".join(ask.intent.args))
    draft.wake(draft.facts.key.repo_key)
    return _done(ask, what, **params)


def _budget(ask: Ask) -> Answer:
    """Another ceiling from the next start on; an attempt under way keeps what was reserved for it."""
    draft, amount = ask.draft, ask.args.amount
    if draft.item is None:
        return note(NoteCode.NOT_TRACKED, verb="budget")
    if amount > ask.policy.budgets.per_item:
        return _cannot(ask, "over_policy", limit=f"{ask.policy.budgets.per_item:g}")
    asked = replace(draft.item.asked, budget_usd=amount)
    draft.change(asked=asked, spec=asked.over(draft.item.spec))
    draft.note_history("budget", actor=ask.actor, cause=f"{amount:.2f} USD")
    draft.wake(draft.facts.key.repo_key)
    return _done(ask, "budget", amount=f"{amount:.2f}")


def _cost(ask: Ask) -> Answer:
    draft, budgets = ask.draft, ask.policy.budgets
    if not draft.repo.private:
        return _cannot(ask, "public")
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


def _approve(ask: Ask) -> Answer:
    draft = ask.draft
    item = draft.item
    what = ask.args.text("what")
    sha = what if what not in {None, "plan", "research"} else None
    if item is not None and item.thought is not None and sha is not None and not item.thought.plan_sha.startswith(sha):
        return _cannot(ask, "other_sha", sha=item.thought.plan_sha[:12])
    if item is not None and item.state in {ItemState.READY, ItemState.IN_PROGRESS, ItemState.NEEDS_INPUT}:
        return _already(ask, "approved")
    if item is not None and item.state is not ItemState.PROPOSED:
        return _cannot(ask, item.state.value)
    return _approved(ask, expedited=False)


def _reject(ask: Ask) -> Answer:
    draft = ask.draft
    item = draft.item
    if item is None:
        return note(NoteCode.NOT_TRACKED, verb="reject")
    if draft.live is not None:
        return _cannot(ask, "running")
    if item.state is ItemState.PROPOSED:
        draft.change(notes=ask.args.text("notes"), mirror_ready=False)
        return _done(ask, "sent_back")
    found = draft.move(
        ItemEvent.SENT_BACK,
        actor=ask.actor,
        cause=ask.args.text("notes") or "/tgs reject",
        notes=ask.args.text("notes"),
    )
    if isinstance(found, Refusal):
        return _cannot(ask, item.state.value)
    return _done(ask, "sent_back")


def _answer(ask: Ask) -> Answer:
    if ask.draft.item is None:
        return note(NoteCode.NOT_TRACKED, verb="answer")
    said = answer_by_command(ask.draft, ask.args.question, ask.args.text("text") or "", ask.intent.actor)
    return _cannot(ask, "no_question", number=ask.args.question) if said is None else said


def _merge(ask: Ask) -> Answer:
    draft = ask.draft
    if draft.item is None:
        return note(NoteCode.NOT_TRACKED, verb="merge")
    refusal = merge(draft, ask.policy, ask.intent)
    if refusal == "already_merged":
        if _merged_for_this(draft):
            if ask.intent.comment_id is not None:
                draft.words.append(React(ask.intent.key, ask.intent.comment_id, DONE))
            draft.settle(ask.intent.id, "merged")
            return None
        return _already(ask, "merged")
    if refusal is not None:
        pull = draft.item.pull
        ci = draft.facts.ci
        return note(
            NoteCode.MERGE_REFUSED,
            why=refusal,
            actor=ask.actor,
            pull=pull.number if pull else None,
            checks=", ".join(name for name, _ in ci.failed[:5]) if ci is not None else None,
        )
    # The act answers when GitHub has merged; until then the command stays open.
    return None


def _merged_for_this(draft: Draft) -> bool:
    """Our own merge whose answer was lost: the command stands open and the ledger did not know of the merge yet.

    To tell its author that somebody merged already would be a riddle.
    """
    pull, before, bot = draft.facts.pull, draft.facts.item, draft.facts.repo.bot
    unknown = before is not None and before.state is not ItemState.DONE
    ours = pull is not None and pull.merged_by is not None and bot is not None and pull.merged_by.id == bot.id
    return unknown and ours


def _next(ask: Ask) -> Answer:
    queue = ask.draft.facts.queue
    if not queue:
        return note(NoteCode.NEXT, count=0)
    return note(NoteCode.NEXT, count=len(queue), number=queue[0][0], title=queue[0][1])


def _why(ask: Ask) -> Answer:
    return Note(NoteCode.WHY, _state_params(ask), explain(ask.draft, ask.policy))


def _status(ask: Ask) -> Answer:
    return Note(NoteCode.STATUS, _state_params(ask), explain(ask.draft, ask.policy))


def _state_params(ask: Ask) -> tuple[tuple[str, str], ...]:
    item = ask.draft.item
    if item is None:
        return (("state", "none"),)
    found = [("state", item.state.value), ("title", item.title)]
    if item.position is not None:
        found.append(("position", str(item.position)))
    if item.pull is not None:
        found.append(("pull", str(item.pull.number)))
    if ask.draft.live is not None:
        found.append(("attempt", str(ask.draft.live.number)))
    if item.projection.status_comment_id is not None:
        found.append(("comment", str(item.projection.status_comment_id)))
    return tuple(found)


def _sync(ask: Ask) -> Answer:
    ask.draft.wake(ask.draft.facts.key.repo_key)
    ask.draft.repo = replace(ask.draft.repo, head_sha=None, preflight_head=None)
    return _done(ask, "synced")


def _help(ask: Ask) -> Answer:
    return note(NoteCode.HELP, actor=ask.actor, command=ask.args.text("command"))


def _policy(ask: Ask) -> Answer:
    return note(NoteCode.POLICY, hash=ask.policy.hash[:12], file="yes" if ask.draft.repo.policy_text else None)


HANDLERS: dict[Verb, Callable[[Ask], Answer]] = {
    Verb.START: _start,
    Verb.STOP: _stop,
    Verb.RETRY: _retry,
    Verb.HOLD: _hold,
    Verb.UNHOLD: _unhold,
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.PRIORITY: _priority,
    Verb.APPROVE: _approve,
    Verb.REJECT: _reject,
    Verb.ANSWER: _answer,
    Verb.MERGE: _merge,
    Verb.LOCK: _lock,
    Verb.UNLOCK: _unlock,
    Verb.DEPENDS: _depends,
    Verb.UNDEPENDS: _undepends,
    Verb.NEXT: _next,
    Verb.WHY: _why,
    Verb.STATUS: _status,
    Verb.SYNC: _sync,
    Verb.HELP: _help,
    Verb.BUDGET: _budget,
    Verb.COST: _cost,
    Verb.POLICY: _policy,
}
"""One row per command that is available; a test compares it with the table in `commands.py`."""
