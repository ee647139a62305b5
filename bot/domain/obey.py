"""Commands of people: each is checked, carried out through the same rules as everything else, and answered.

Promises: an accepted command gets a reaction and an outcome; a refused one learns what is needed and what the person
has; a command whose comment changed since it was stored is not executed. Roles were read just before. Commands are
executed in the order in which they were written; one that is heard after a newer one has settled the same thing is
answered and not done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import assert_never

from bot.domain.approval import ROLE_RETRY, role_name
from bot.domain.asks import Answer, Ask, cannot
from bot.domain.commands import COMMANDS, Verb
from bot.domain.draft import Draft
from bot.domain.effects import React
from bot.domain.facts import IntentFacts
from bot.domain.intents import Intent, IntentSource
from bot.domain.model import Role
from bot.domain.notes import Note, NoteCode, note
from bot.domain.permissions import BOTS_ROLE, Capability, Denied, decide
from bot.domain.policy_model import Policy
from bot.domain.verbs import HANDLERS

REPLY_PAUSE = timedelta(hours=1)
"""A person who may only read gets one worded reply per item in this time, afterwards a reaction."""

ROLE_TRIES = 5
"""How often an unreadable role is asked for before the command is refused with that explanation."""

APPROVING_VERBS = frozenset({"start", "approve", "retry"})
"""Verbs that approve the issue's text; their execution needs the history of its edits."""

SEEN = "eyes"
REFUSED = "confused"


def in_order(draft: Draft) -> list[IntentFacts]:
    """The open commands of this item, oldest first."""
    return sorted(draft.facts.intents, key=lambda f: (f.intent.created_at, f.intent.id))


def obey(draft: Draft, policy: Policy, commands: Sequence[IntentFacts]) -> None:
    """Carry out the commands in the order given."""
    for facts in commands:
        _one(draft, policy, facts)


def decline(draft: Draft) -> None:
    """Answer commands on a pull request that is no item's: there is nothing here that they could be about."""
    for facts in draft.facts.intents:
        intent = facts.intent
        if intent.actor.is_bot:
            draft.settle(intent.id, "ignored")
            continue
        answer = note(NoteCode.NOT_TRACKED, verb=intent.verb, actor=intent.actor.login, on="pull")
        words = not facts.replied_recently and facts.unchanged and not intent.edited
        _answer(draft, intent, answer, refused=True, words=words, role=facts.role)


def _one(draft: Draft, policy: Policy, facts: IntentFacts) -> None:
    intent = facts.intent
    if intent.actor.is_bot:
        if intent.actor.id not in policy.bots or intent.edited:
            # Not a word: two bots that answer each other never end.
            draft.settle(intent.id, "ignored")
            return
        facts = replace(facts, role=BOTS_ROLE)
    if intent.edited:
        _answer(draft, intent, note(NoteCode.EDITED_COMMAND, actor=intent.actor.login), refused=True)
        return
    if not facts.unchanged:
        _answer(draft, intent, note(NoteCode.COMMENT_CHANGED, actor=intent.actor.login), refused=True)
        return
    since = draft.repo.listening_since
    if intent.source is IntentSource.COMMENT and since is not None and intent.created_at < since:
        old = note(NoteCode.TOO_OLD, actor=intent.actor.login, verb=intent.verb)
        _answer(draft, intent, old, refused=True, words=not (facts.replied_recently and _reader(facts.role)))
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
    ask, newer = Ask(draft, policy, intent), facts.overtaken_by
    if newer is not None:
        answer: Answer = cannot(ask, "overtaken", newer=newer.verb, by=newer.actor.login)
    else:
        answer = handler(ask)
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
    """React, say the outcome, and close the command. Who asked over the API gets the answer there, not on the issue."""
    match intent.source:
        case IntentSource.API:
            draft.settle(intent.id, answer.code.value, answer)
            return
        case IntentSource.COMMENT:
            if intent.comment_id is not None:
                draft.words.append(React(intent.key, intent.comment_id, REFUSED if refused else SEEN, alone=not words))
        case _:
            assert_never(intent.source)
    if words:
        draft.say(f"intent:{intent.id}", answer, on=intent.key)
        if _reader(role):
            draft.replied.append(intent.actor.id)
    draft.settle(intent.id, answer.code.value)
