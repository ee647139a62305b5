"""Commands of people: each is checked, carried out through the same rules as everything else, and answered.

Promises: an accepted command gets a reaction and an outcome; a refused one learns what is needed and what the person
has; a command whose comment changed since it was stored is not executed. Roles were read just before. Commands are
executed in the order in which they were written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from bot.domain.approval import ROLE_RETRY, approve, request_cancel, role_name
from bot.domain.command_args import Arguments, arguments
from bot.domain.commands import COMMANDS, Verb
from bot.domain.draft import Draft
from bot.domain.effects import React, Show
from bot.domain.explain import explain
from bot.domain.facts import IntentFacts
from bot.domain.labels import IntentLabel
from bot.domain.lifecycle import ItemEvent, Refusal
from bot.domain.model import FailureReason, Intent, IntentSource, Item, ItemState, Pause, Role
from bot.domain.notes import Note, NoteCode, note
from bot.domain.permissions import Capability, Denied, decide
from bot.domain.policy_model import Policy
from bot.domain.review import merge

REPLY_PAUSE = timedelta(hours=1)
"""A person who may only read gets one worded reply per item in this time, afterwards a reaction."""

ROLE_TRIES = 5
"""How often an unreadable role is asked for before the command is refused with that explanation."""

APPROVING_VERBS = frozenset({"start", "approve", "retry"})
"""Verbs that approve the issue's text; their execution needs the history of its edits."""

SEEN = "eyes"
DONE = "rocket"
REFUSED = "confused"


@dataclass(frozen=True, slots=True)
class _Ask:
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


def obey(draft: Draft, policy: Policy) -> None:
    """Carry out every open command of this item, oldest first."""
    for facts in sorted(draft.facts.intents, key=lambda f: (f.intent.created_at, f.intent.id)):
        _one(draft, policy, facts)


def decline(draft: Draft) -> None:
    """Answer commands on a pull request that is no item's: there is nothing here that they could be about."""
    for facts in draft.facts.intents:
        intent = facts.intent
        answer = note(NoteCode.NOT_TRACKED, verb=intent.verb, actor=intent.actor.login, on="pull")
        words = not facts.replied_recently and facts.unchanged and not intent.edited
        _answer(draft, intent, answer, refused=True, words=words, role=facts.role)


def _one(draft: Draft, policy: Policy, facts: IntentFacts) -> None:
    intent = facts.intent
    if intent.edited:
        _answer(draft, intent, note(NoteCode.EDITED_COMMAND, actor=intent.actor.login), refused=True)
        return
    if not facts.unchanged:
        _answer(draft, intent, note(NoteCode.COMMENT_CHANGED, actor=intent.actor.login), refused=True)
        return
    if intent.error is not None:
        _answer(
            draft,
            intent,
            note(NoteCode.NOT_UNDERSTOOD, actor=intent.actor.login, error=intent.error),
            refused=True,
            words=not (facts.replied_recently and _reader(facts.role)),
            role=facts.role,
        )
        return
    verb = Verb(intent.verb)
    command, handler = COMMANDS[verb], HANDLERS.get(verb)
    if handler is None:
        _answer(
            draft,
            intent,
            note(NoteCode.NOT_AVAILABLE, verb=intent.verb),
            refused=True,
            words=not facts.replied_recently,
            role=facts.role,
        )
        return
    if facts.role is None:
        if intent.attempts < ROLE_TRIES:
            draft.retry_intents.append(intent.id)
            draft.at(draft.now + ROLE_RETRY)
            return
        _answer(draft, intent, note(NoteCode.ROLE_UNREADABLE, verb=intent.verb, actor=intent.actor.login), refused=True)
        return
    verdict = decide(command.capability, facts.role, policy.roles)
    if isinstance(verdict, Denied):
        _answer(
            draft,
            intent,
            note(
                NoteCode.DENIED,
                verb=intent.verb,
                actor=intent.actor.login,
                needs=role_name(verdict.needs),
                has=role_name(verdict.has),
            ),
            refused=True,
            words=not facts.replied_recently,
            role=facts.role,
        )
        return
    answer = handler(_Ask(draft, policy, intent))
    if answer is None:
        return
    quiet = command.capability is Capability.READ and _reader(facts.role) and facts.replied_recently
    _answer(draft, intent, answer, words=not quiet, role=facts.role)


def _reader(role: Role | None) -> bool:
    return role is None or role <= Role.READ


def _answer(
    draft: Draft,
    intent: Intent,
    answer: Note,
    *,
    refused: bool = False,
    words: bool = True,
    role: Role | None = None,
) -> None:
    """React, say the outcome, and close the command."""
    if intent.source is IntentSource.COMMENT and intent.comment_id is not None:
        draft.words.append(React(intent.key, intent.comment_id, REFUSED if refused else SEEN))
    if words:
        draft.say(f"intent:{intent.id}", answer, on=intent.key)
        if _reader(role):
            draft.replied.append(intent.actor.id)
    draft.settle(intent.id, answer.code.value)


# --- the verbs --------------------------------------------------------------------------------------


def _done(ask: _Ask, what: str, **params: object) -> Note:
    return note(NoteCode.DONE, verb=ask.intent.verb, what=what, actor=ask.actor, **params)


def _already(ask: _Ask, what: str, **params: object) -> Note:
    return note(NoteCode.ALREADY_SO, verb=ask.intent.verb, what=what, actor=ask.actor, **params)


def _cannot(ask: _Ask, why: str, **params: object) -> Note:
    return note(NoteCode.CANNOT, verb=ask.intent.verb, why=why, actor=ask.actor, **params)


def _start(ask: _Ask) -> Answer:
    draft = ask.draft
    item = draft.item
    if item is not None and item.state in {ItemState.READY, ItemState.IN_PROGRESS} and draft.live is None:
        _vouch(ask, item)
    if item is not None and item.state is ItemState.READY:
        if draft.item is not None and draft.item.expedited:
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
    return _approved(ask, expedited=True)


def _vouch(ask: _Ask, item: Item) -> None:
    """When the approver may not start work any more, whoever starts it now approves the same text in their place."""
    draft, snapshot = ask.draft, item.snapshot
    if snapshot is None or snapshot.approver is None:
        return
    role = draft.facts.role_of(snapshot.approver)
    if role is None or isinstance(decide(Capability.START, role, ask.policy.roles), Denied):
        draft.change(snapshot=replace(snapshot, approver=ask.intent.actor), expedited=False)


def _approved(ask: _Ask, *, expedited: bool) -> Answer:
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


def _stop(ask: _Ask) -> Answer:
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


def _retry(ask: _Ask) -> Answer:
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


def _hold(ask: _Ask) -> Answer:
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


def _unhold(ask: _Ask) -> Answer:
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


def _pause(ask: _Ask) -> Answer:
    draft = ask.draft
    until, reason = ask.args.until, ask.args.text("reason") or ""
    if until is not None and until <= draft.now:
        return _cannot(ask, "past_date", until=until.isoformat())
    draft.repo = replace(draft.repo, pause=Pause(ask.actor, reason, draft.now, until))
    draft.note_history("repo_paused", actor=ask.actor, cause=reason)
    draft.wake(draft.facts.key.repo_key)
    return _done(ask, "paused", until=until.isoformat() if until else None, reason=reason)


def _resume(ask: _Ask) -> Answer:
    draft = ask.draft
    if draft.repo.pause is None or not draft.repo.pause.active(draft.now):
        return _already(ask, "not_paused")
    draft.repo = replace(draft.repo, pause=None)
    draft.note_history("repo_resumed", actor=ask.actor, cause="/tgs resume")
    draft.wake(draft.facts.key.repo_key)
    return _done(ask, "resumed")


def _priority(ask: _Ask) -> Answer:
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


def _approve(ask: _Ask) -> Answer:
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


def _reject(ask: _Ask) -> Answer:
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


def _merge(ask: _Ask) -> Answer:
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


def _next(ask: _Ask) -> Answer:
    queue = ask.draft.facts.queue
    if not queue:
        return note(NoteCode.NEXT, count=0)
    return note(NoteCode.NEXT, count=len(queue), number=queue[0][0], title=queue[0][1])


def _why(ask: _Ask) -> Answer:
    return Note(NoteCode.WHY, _state_params(ask), explain(ask.draft, ask.policy))


def _status(ask: _Ask) -> Answer:
    return Note(NoteCode.STATUS, _state_params(ask), explain(ask.draft, ask.policy))


def _state_params(ask: _Ask) -> tuple[tuple[str, str], ...]:
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


def _sync(ask: _Ask) -> Answer:
    ask.draft.wake(ask.draft.facts.key.repo_key)
    ask.draft.repo = replace(ask.draft.repo, head_sha=None, preflight_head=None)
    return _done(ask, "synced")


def _help(ask: _Ask) -> Answer:
    return note(NoteCode.HELP, actor=ask.actor, command=ask.args.text("command"))


def _policy(ask: _Ask) -> Answer:
    return note(NoteCode.POLICY, hash=ask.policy.hash[:12], file="yes" if ask.draft.repo.policy_text else None)


HANDLERS: dict[Verb, Callable[[_Ask], Answer]] = {
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
    Verb.MERGE: _merge,
    Verb.NEXT: _next,
    Verb.WHY: _why,
    Verb.STATUS: _status,
    Verb.SYNC: _sync,
    Verb.HELP: _help,
    Verb.POLICY: _policy,
}
"""One row per command that is available; a test compares it with the table in `commands.py`."""
