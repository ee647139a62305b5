"""A command that is allowed, while it is carried out, and the three kinds of answer that most of them give."""

from __future__ import annotations

from dataclasses import dataclass

from bot.domain.command_args import Arguments, arguments
from bot.domain.commands import Verb
from bot.domain.draft import Draft
from bot.domain.intents import Intent
from bot.domain.notes import Note, NoteCode, note
from bot.domain.policy_model import Policy


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


def done(ask: Ask, what: str, **params: object) -> Note:
    return note(NoteCode.DONE, verb=ask.intent.verb, what=what, actor=ask.actor, **params)


def already(ask: Ask, what: str, **params: object) -> Note:
    return note(NoteCode.ALREADY_SO, verb=ask.intent.verb, what=what, actor=ask.actor, **params)


def cannot(ask: Ask, why: str, **params: object) -> Note:
    return note(NoteCode.CANNOT, verb=ask.intent.verb, why=why, actor=ask.actor, **params)
