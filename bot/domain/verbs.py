"""What each available command does once it is allowed: one function per verb, one row per verb in `HANDLERS`.

What concerns the wishes for an item is in `item_wishes.py`.

A handler changes the draft through the same rules as everything else and returns what is answered; None means that
the command stays open and is looked at again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bot.domain import item_wishes
from bot.domain.approval import approve, request_cancel
from bot.domain.asking import answer_by_command
from bot.domain.asks import Answer, Ask, already, cannot, done
from bot.domain.commands import Verb
from bot.domain.draft import Draft
from bot.domain.effects import React, Show
from bot.domain.explain import explain
from bot.domain.fuse import mend
from bot.domain.intents import IntentSource
from bot.domain.labels import IntentLabel
from bot.domain.lifecycle import ItemEvent, Refusal
from bot.domain.looking import let_pass
from bot.domain.model import FailureReason, Item, ItemState
from bot.domain.notes import Note, NoteCode, note
from bot.domain.permissions import Capability, Denied, decide
from bot.domain.repository import Pause
from bot.domain.review import merge
from bot.domain.steering import MAX_WAITING, steer, steerable

DONE = "rocket"
"""The reaction that says that what was asked for has happened."""


def _start(ask: Ask) -> Answer:
    _mend(ask)
    draft = ask.draft
    item = draft.item
    if item is not None and item.state in {ItemState.READY, ItemState.IN_PROGRESS} and draft.live is None:
        _vouch(ask, item)
    if item is not None and item.state is ItemState.READY:
        if ask.args.in_turn or (draft.item is not None and draft.item.expedited):
            return already(ask, "queued", position=item.position)
        draft.change(expedited=True, not_before=None)
        draft.note_history("expedited", actor=ask.actor, cause="/tgs start")
        draft.wake(draft.facts.key.repo_key)
        return done(ask, "expedited")
    if item is not None and item.state is ItemState.IN_PROGRESS:
        if draft.live is not None:
            return already(ask, "running", attempt=draft.live.number)
        if ask.args.in_turn:
            return already(ask, "under_way")
        draft.change(not_before=None, expedited=True)
        draft.wake(draft.facts.key.repo_key)
        return done(ask, "expedited")
    if item is not None and item.state in {ItemState.IN_REVIEW, ItemState.NEEDS_INPUT}:
        return already(ask, "under_way") if ask.args.in_turn else cannot(ask, item.state.value)
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
    if draft.facts.incident:
        return cannot(ask, "incident")
    if issue is None or not issue.open:
        return cannot(ask, "closed")
    if draft.live is not None:
        # Merged or not: what works on it is told to stop and must have stopped first.
        return cannot(ask, "running")
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
            return done(ask, "thoughts_released")
        if expedited:
            draft.change(expedited=True)
        return done(ask, "queued")
    if len(draft.words) > before:
        return cannot(ask, "edited")
    return None


def _stop(ask: Ask) -> Answer:
    draft = ask.draft
    item = draft.item
    if item is None:
        return note(NoteCode.NOT_TRACKED, verb="stop")
    if draft.live is not None:
        if draft.live.cancel_requested_at is not None and not ask.args.now:
            return already(ask, "stopping")
        if draft.live.cancel_requested_at is None:
            request_cancel(draft, FailureReason.CANCELLED_BY_PERSON, by=ask.actor, force=ask.args.now)
        else:
            draft.step(forced_at=draft.now)
        draft.note_history("stop_asked", actor=ask.actor, cause=ask.args.text("reason") or "/tgs stop")
        return done(ask, "stopping", now="yes" if ask.args.now else None)
    found = draft.move(ItemEvent.CANCELLED, actor=ask.actor, cause=ask.args.text("reason") or "/tgs stop")
    if isinstance(found, Refusal):
        return already(ask, item.state.value)
    draft.free_locks = True
    return done(ask, "cancelled", pull=item.pull.number if item.pull else None)


def _mend(ask: Ask) -> None:
    """Whoever says that it shall go on has looked at what blew the fuse."""
    draft = ask.draft
    if draft.item is not None and draft.item.projection.blown_at is not None:
        draft.change(projection=mend(draft.item.projection))
        draft.note_history("fuse_mended", actor=ask.actor, cause=f"/tgs {ask.intent.verb}")
        draft.wake(draft.facts.key.repo_key)


def _retry(ask: Ask) -> Answer:
    _mend(ask)
    draft = ask.draft
    item = draft.item
    if item is None:
        return note(NoteCode.NOT_TRACKED, verb="retry")
    if item.state is ItemState.IN_PROGRESS and draft.live is None:
        draft.change(not_before=None, notes=ask.args.text("notes") or item.notes, fresh=ask.args.fresh)
        draft.wake(draft.facts.key.repo_key)
        return done(ask, "retry_now")
    if item.state is ItemState.READY:
        return already(ask, "queued", position=item.position)
    if item.state is ItemState.NEEDS_INPUT and item.withheld is not None:
        notes, fresh = ask.args.text("notes"), ask.args.fresh
        draft.move(ItemEvent.ANSWERED, actor=ask.actor, cause="/tgs retry", withheld=None, notes=notes, fresh=fresh)
        return done(ask, "queued")
    if item.state in {ItemState.IN_PROGRESS, ItemState.NEEDS_INPUT}:
        return cannot(ask, "running" if draft.live else item.state.value)
    if item.state is ItemState.IN_REVIEW:
        return cannot(ask, "in-review", pull=item.pull.number if item.pull else None)
    if item.state is ItemState.PROPOSED:
        return cannot(ask, "proposed")
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
        return already(ask, "held", by=item.held_by)
    if item.terminal:
        return cannot(ask, item.state.value)
    draft.change(held_by=ask.actor, held_reason=ask.args.text("reason"))
    draft.note_history("held", actor=ask.actor, cause=ask.args.text("reason") or "/tgs hold")
    draft.wake(draft.facts.key.repo_key)
    return done(ask, "held", running=draft.live.number if draft.live else None)


def _unhold(ask: Ask) -> Answer:
    draft = ask.draft
    item, issue = draft.item, draft.facts.issue
    if item is None:
        return note(NoteCode.NOT_TRACKED, verb="unhold")
    if item.held_by is None:
        return already(ask, "not_held")
    draft.change(held_by=None, held_reason=None)
    draft.note_history("unheld", actor=ask.actor, cause="/tgs unhold")
    if issue is not None and IntentLabel.HOLD in issue.labels:
        draft.visible.append(Show(draft.facts.key, remove_labels=(IntentLabel.HOLD.value,)))
        draft.unheld = True
    draft.wake(draft.facts.key.repo_key)
    return done(ask, "unheld")


def _pause(ask: Ask) -> Answer:
    draft = ask.draft
    until, reason = ask.args.until, ask.args.text("reason") or ""
    if until is not None and until <= draft.now:
        return cannot(ask, "past_date", until=until.isoformat())
    if _overtaken(ask):
        return cannot(ask, "overtaken")
    draft.repo = replace(draft.repo, pause=Pause(ask.actor, reason, draft.now, until))
    draft.note_history("repo_paused", actor=ask.actor, cause=reason)
    draft.wake(draft.facts.key.repo_key)
    return done(ask, "paused", until=until.isoformat() if until else None, reason=reason)


def _overtaken(ask: Ask) -> bool:
    """Whether a `pause` or `resume` that was written later has been heard before this one; else this is the newest.

    Commands on one issue are carried out in their order, but these two are about all issues, and a webhook may be
    lost. Somebody who asks over the API speaks now.
    """
    said, newest = ask.intent.created_at, ask.draft.repo.pause_said_at
    if newest is not None and said < newest:
        return ask.intent.source is IntentSource.COMMENT
    ask.draft.repo = replace(ask.draft.repo, pause_said_at=said)
    return False


def _resume(ask: Ask) -> Answer:
    draft = ask.draft
    if _overtaken(ask):
        return cannot(ask, "overtaken")
    if draft.repo.pause is None or not draft.repo.pause.active(draft.now):
        return already(ask, "not_paused")
    draft.repo = replace(draft.repo, pause=None)
    draft.note_history("repo_resumed", actor=ask.actor, cause="/tgs resume")
    draft.wake(draft.facts.key.repo_key)
    return done(ask, "resumed")


def _approve(ask: Ask) -> Answer:
    draft = ask.draft
    item = draft.item
    what = ask.args.text("what")
    sha = what if what not in {None, "plan", "research"} else None
    if item is not None and item.thought is not None and sha is not None and not item.thought.plan_sha.startswith(sha):
        return cannot(ask, "other_sha", sha=item.thought.plan_sha[:12])
    if item is not None and item.state in {ItemState.READY, ItemState.IN_PROGRESS, ItemState.NEEDS_INPUT}:
        return done(ask, "confirmed") if _confirm(ask) else already(ask, "approved")
    if item is not None and item.state is not ItemState.PROPOSED:
        return cannot(ask, item.state.value)
    answer = _approved(ask, expedited=False)
    if answer is not None and answer.code is NoteCode.DONE:
        _confirm(ask)
    return answer


def _confirm(ask: Ask) -> bool:
    """Open the manual gate for the approved text; False when it is open, or there is none."""
    draft = ask.draft
    snapshot = draft.item.snapshot if draft.item is not None else None
    if not ask.policy.require_approval or snapshot is None or snapshot.confirmed:
        return False
    draft.change(snapshot=replace(snapshot, confirmed=True))
    draft.note_history("confirmed", actor=ask.actor, cause="/tgs approve")
    draft.wake(draft.facts.key.repo_key)
    return True


def _reject(ask: Ask) -> Answer:
    draft = ask.draft
    item = draft.item
    if item is None:
        return note(NoteCode.NOT_TRACKED, verb="reject")
    if draft.live is not None:
        return cannot(ask, "running")
    if item.state is ItemState.PROPOSED:
        draft.change(notes=ask.args.text("notes"), mirror_ready=False)
        return done(ask, "sent_back")
    found = draft.move(
        ItemEvent.SENT_BACK,
        actor=ask.actor,
        cause=ask.args.text("notes") or "/tgs reject",
        notes=ask.args.text("notes"),
    )
    if isinstance(found, Refusal):
        return cannot(ask, item.state.value)
    return done(ask, "sent_back")


def _answer(ask: Ask) -> Answer:
    if ask.draft.item is None:
        return note(NoteCode.NOT_TRACKED, verb="answer")
    said = answer_by_command(ask.draft, ask.args.question, ask.args.text("text") or "", ask.intent.actor)
    return cannot(ask, "no_question", number=ask.args.question) if said is None else said


def _steer(ask: Ask) -> Answer:
    draft = ask.draft
    if draft.item is None:
        return note(NoteCode.NOT_TRACKED, verb="steer")
    if not steerable(draft.live):
        return cannot(ask, "nobody_hears")
    if not steer(draft, ask.intent, ask.args.text("text") or ""):
        return cannot(ask, "too_much_said", limit=MAX_WAITING)
    if ask.intent.comment_id is None:
        return done(ask, "steering")
    # The outcome is said when the agent has heard it, or cannot any more.
    draft.settle(ask.intent.id, NoteCode.DONE.value)
    return None


def _publish(ask: Ask) -> Answer:
    item = ask.draft.item
    if item is None:
        return note(NoteCode.NOT_TRACKED, verb="publish")
    if item.passed is not None:
        return already(ask, "publishing")
    return done(ask, "publishing") if let_pass(ask.draft, ask.intent.actor) else cannot(ask, "nothing_to_look_at")


def _merge(ask: Ask) -> Answer:
    draft = ask.draft
    if draft.item is None:
        return note(NoteCode.NOT_TRACKED, verb="merge")
    refusal = merge(draft, ask.policy, ask.intent)
    if refusal == "already_merged":
        if _merged_for_this(draft):
            if ask.intent.comment_id is not None:
                draft.words.append(React(ask.intent.key, ask.intent.comment_id, DONE, alone=True))
            draft.settle(ask.intent.id, "merged")
            return None
        return already(ask, "merged")
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
    return Note(NoteCode.WHY, _state_params(ask), explain(ask.draft, ask.policy, asked=True))


def _status(ask: Ask) -> Answer:
    return Note(NoteCode.STATUS, _state_params(ask), explain(ask.draft, ask.policy, asked=True))


def _state_params(ask: Ask) -> tuple[tuple[str, str], ...]:
    item = ask.draft.item
    if item is None:
        return (("state", "none"),)
    found = [("state", item.state.value), ("title", item.title)]
    if item.position is not None:
        found.append(("position", str(item.position)))
    if ask.draft.facts.exact is not None:
        found.append(("place", str(ask.draft.facts.exact[1])))
    if item.pull is not None:
        found.append(("pull", str(item.pull.number)))
    if ask.draft.live is not None:
        found.append(("attempt", str(ask.draft.live.number)))
    if item.projection.status_comment_id is not None:
        found.append(("comment", str(item.projection.status_comment_id)))
    return tuple(found)


def _sync(ask: Ask) -> Answer:
    _mend(ask)
    ask.draft.wake(ask.draft.facts.key.repo_key)
    ask.draft.repo = replace(ask.draft.repo, head_sha=None, preflight_head=None, resync_asked_at=ask.draft.now)
    return done(ask, "synced")


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
    Verb.PRIORITY: item_wishes.set_priority,
    Verb.APPROVE: _approve,
    Verb.REJECT: _reject,
    Verb.ANSWER: _answer,
    Verb.STEER: _steer,
    Verb.PUBLISH: _publish,
    Verb.MERGE: _merge,
    Verb.LOCK: item_wishes.lock,
    Verb.UNLOCK: item_wishes.unlock,
    Verb.DEPENDS: item_wishes.depends,
    Verb.UNDEPENDS: item_wishes.undepends,
    Verb.NEXT: _next,
    Verb.WHY: _why,
    Verb.STATUS: _status,
    Verb.SYNC: _sync,
    Verb.HELP: _help,
    Verb.BUDGET: item_wishes.set_budget,
    Verb.COST: item_wishes.cost,
    Verb.POLICY: _policy,
}
"""One row per command that is available; a test compares it with the table in `commands.py`."""
