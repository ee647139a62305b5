"""Commands that are heard after a newer one about the same thing was carried out.

Promise: what was written last holds. Commands that are open together are carried out in the order in which they were
written (`bot.domain.obey`); but a webhook may be lost or late, and then the older one is heard when the newer one is
done already. It changes nothing then and its author is told which one went before.

A `pause` and a `resume` are about all issues of the repository, which remembers when the newest was written
(`bot.domain.verbs`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bot.domain.command_args import arguments
from bot.domain.commands import Verb
from bot.domain.intents import Intent, IntentSource
from bot.domain.notes import NoteCode

HEEDED = frozenset({NoteCode.DONE, NoteCode.ALREADY_SO, NoteCode.NOT_TRACKED})
"""Outcomes of a command that was allowed and understood, and after which things are as it asked. Where there is no
item, nothing runs and nothing is held; so much a `stop` wanted."""

_WORK = {Verb.START: "on", Verb.RETRY: "on", Verb.APPROVE: "on", Verb.STOP: "off", Verb.REJECT: "off"}
_HOLD = {Verb.HOLD: "on", Verb.UNHOLD: "off"}
_LOCK = {Verb.LOCK: "on", Verb.UNLOCK: "off"}
_DEPENDS = {Verb.DEPENDS: "on", Verb.UNDEPENDS: "off"}


def wish_of(intent: Intent) -> tuple[str, str] | None:
    """(what it is about, what is wished for it); None for a command that no other one contradicts."""
    if intent.error is not None or intent.edited:
        return None
    verb = Verb(intent.verb)
    if verb in _WORK:
        return "work", _WORK[verb]
    if verb in _HOLD:
        return "hold", _HOLD[verb]
    if verb in {Verb.PRIORITY, Verb.BUDGET}:
        return verb.value, " ".join(intent.args)
    if verb in _LOCK:
        return f"lock {arguments(verb, intent.args).text('path')}", _LOCK[verb]
    if verb in _DEPENDS:
        return f"depends {arguments(verb, intent.args).issue}", _DEPENDS[verb]
    return None


def overtaken_by(intent: Intent, heeded: Sequence[Intent]) -> Intent | None:
    """The newest of the commands that were carried out, where it was written after this one and wishes something else
    for the same thing. Who asks over the API speaks now."""
    wish = wish_of(intent)
    if wish is None or intent.source is IntentSource.API:
        return None
    about, wanted = wish
    newer = [(one, found[1]) for one in heeded if _place(one) > _place(intent) and (found := _about(one, about))]
    if not newer:
        return None
    newest, other = max(newer, key=lambda pair: _place(pair[0]))
    return newest if other != wanted else None


def _about(intent: Intent, about: str) -> tuple[str, str] | None:
    found = wish_of(intent)
    return found if found is not None and found[0] == about else None


def _place(intent: Intent) -> tuple[datetime, int]:
    """GitHub gives times in whole seconds; numbers of comments rise."""
    return intent.created_at, intent.comment_id or 0
