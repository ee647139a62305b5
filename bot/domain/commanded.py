"""The commands in a comment as intents, whoever tells of the comment: its webhook, or a look at the repository.

Promise: both give a command the same natural key, `comment:<id>:<index>`, so it is stored and carried out once, however
often and in whichever order it is heard of. An edit never executes: what it brought has the key `comment:<id>:edited`,
and its only outcome is an explanation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from bot.domain.command_parser import ParseError, parse
from bot.domain.intents import Intent, IntentSource, body_digest
from bot.domain.model import IssueKey, Person


@dataclass(frozen=True, slots=True)
class Spoken:
    """A comment on an issue or pull request. `author` None: the account is gone."""

    key: IssueKey
    id: int
    node_id: str | None
    body: str
    author: Person | None
    created_at: datetime
    updated_at: datetime

    @property
    def edited(self) -> bool:
        return self.updated_at > self.created_at


@dataclass(frozen=True, slots=True)
class Line:
    """One command of a comment. A line that could not be understood has no verb and says what was wrong."""

    verb: str
    args: tuple[str, ...] = ()
    error: str | None = None


def read_commands(body: str, at: datetime) -> tuple[Line, ...]:
    """The commands of a comment's text in their order; `at` is when it was written, so dates before it are errors."""
    return tuple(
        Line("", error=parsed.message) if isinstance(parsed, ParseError) else Line(parsed.verb.value, parsed.args)
        for parsed in parse(body, at)
    )


def commands_of(spoken: Spoken, asker: Person) -> tuple[Intent, ...]:
    """The commands of a comment as it was written, on the word of `asker`."""
    return tuple(
        _intent(f"comment:{spoken.id}:{index}", spoken, asker, line)
        for index, line in enumerate(read_commands(spoken.body, spoken.created_at))
    )


def commands_of_edit(spoken: Spoken, asker: Person, before: Sequence[Line]) -> tuple[Intent, ...]:
    """At most one intent: for the first command that an edit brought and that was not among those of before."""
    new = [line for line in read_commands(spoken.body, spoken.updated_at) if line not in before]
    return (_intent(f"comment:{spoken.id}:edited", spoken, asker, new[0], edited=True),) if new else ()


def overheard(spoken: Spoken, known: Sequence[Intent]) -> tuple[Intent, ...]:
    """What a comment asks for that a look at the repository found. `known` are the intents of it that are stored.

    Of an edited comment nobody can tell what stood in it when it was written: what is known of it ran, and the rest
    is explained.
    """
    author = spoken.author
    if author is None or author.is_bot or not spoken.body:
        return ()
    if not spoken.edited:
        return commands_of(spoken, author)
    if any(intent.body_sha256 == body_digest(spoken.body) for intent in known):
        return ()
    before = [Line(intent.verb, intent.args, intent.error) for intent in known if not intent.edited]
    return commands_of_edit(spoken, author, before)


def _intent(id_: str, spoken: Spoken, asker: Person, line: Line, *, edited: bool = False) -> Intent:
    return Intent(
        id=id_,
        key=spoken.key,
        source=IntentSource.COMMENT,
        verb=line.verb,
        args=line.args,
        actor=asker,
        created_at=spoken.updated_at if edited else spoken.created_at,
        comment_id=spoken.id,
        comment_node=spoken.node_id,
        body_sha256=body_digest(spoken.body),
        error=line.error,
        edited=edited,
    )
