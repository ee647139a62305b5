"""`issue_comment`: a person answered or commanded; look at the issue again and take down what was asked.

Commands come from created comments only. The natural key of a command is `comment:<id>:<index>`, so a repeated
delivery asks for nothing twice. An edit never executes: when it brings commands that were not there before, one
intent with the key `comment:<id>:edited` is made, and its only outcome is the explanation. A comment by a bot, or
by an account that no longer exists, asks for nothing.

GitHub sends this event for pull requests too. Such a comment touches the pull request, and its intents carry the
pull request's number in the place of the issue number: whoever executes them resolves it to the item (a pull
request is never an item itself, so the two cannot be confused).
"""

from __future__ import annotations

from datetime import UTC, datetime

from bot.domain.commanded import Spoken, commands_of, commands_of_edit, read_commands
from bot.domain.intake import Intake, Touch, TouchKind
from bot.domain.intents import Intent
from bot.domain.model import IssueKey, Person
from bot.payloads import IssueCommentPayload
from handlers.issues import hint
from handlers.reading import NOTHING, TALK, Scope, own, person, scope_of

LOOKED_AT = frozenset({"created", "edited", "deleted"})
"""A deleted comment can be a withdrawn answer; pinning and hiding change nothing for an item."""


def handle(payload: IssueCommentPayload, self_id: int | None) -> Intake:
    scope = scope_of(payload)
    if scope is None or own(payload, self_id) or payload.action not in LOOKED_AT:
        return NOTHING
    issue = payload.issue
    if issue.pull_request is None:
        touch = scope.touch(TouchKind.ISSUE, issue.number, hint(issue))
    else:
        touch = scope.touch(TouchKind.PULL, issue.number)
    also = () if payload.action == "created" or issue.pull_request is not None else (_talk(scope, issue.number),)
    match payload.action:
        case "created":
            intents = _created(scope.issue(issue.number), payload)
        case "edited":
            intents = _edited(scope.issue(issue.number), payload)
        case _:
            intents = ()
    return scope.intake(touch, *also, intents=intents)


def _talk(scope: Scope, number: int) -> Touch:
    """A comment is not what it was: the number of comments alone would not tell."""
    return scope.touch(TouchKind.ISSUE, number, TALK)


def _utc(time: datetime) -> datetime:
    """GitHub's times have a zone; one without is taken as UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _asker(payload: IssueCommentPayload) -> Person | None:
    """Who asks: the sender. Nobody when one of sender and author is gone, or one of two is a bot: whether a bot may ask
    for anything is for the policy to say, and then it speaks for itself."""
    author, sender = payload.comment.user, payload.sender
    if author is None or sender is None or ((author.is_bot or sender.is_bot) and author.id != sender.id):
        return None
    return person(sender)


def _spoken(key: IssueKey, payload: IssueCommentPayload) -> Spoken:
    comment = payload.comment
    author = person(comment.user) if comment.user is not None else None
    created, updated = _utc(comment.created_at), _utc(comment.updated_at)
    return Spoken(key, comment.id, comment.node_id, comment.body or "", author, created, updated)


def _created(key: IssueKey, payload: IssueCommentPayload) -> tuple[Intent, ...]:
    asker = _asker(payload)
    if asker is None or not payload.comment.body:
        return ()
    return commands_of(_spoken(key, payload), asker)


def _edited(key: IssueKey, payload: IssueCommentPayload) -> tuple[Intent, ...]:
    asker = _asker(payload)
    before = payload.changes.body.before if payload.changes is not None and payload.changes.body is not None else None
    if asker is None or not payload.comment.body or before is None:
        return ()
    spoken = _spoken(key, payload)
    return commands_of_edit(spoken, asker, read_commands(before, spoken.updated_at))
