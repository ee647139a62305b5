"""Mirrors the comments of an issue as messages, whoever wrote them and however their webhooks came.

Promise: level-triggered and by comment id. The issue says how many comments it has; when that is another number than at
the last look, or one was edited or deleted, all are read and what is missing is added. A lost or doubled webhook
changes nothing. Races it knows: the bot's own comment is seen before the act that wrote it is marked done (its marker
names the message), and a comment written while the others are read (the numbers differ at the next look).
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from bot.domain.facts import ItemFacts
from bot.domain.model import IssueKey
from bot.domain.notes import Note, NoteCode
from bot.domain.talk import CHAT_ONCE, Message, MessageType, SenderType, type_of, words
from bot.errors import GitHubError
from bot.protocols.clock import Clock
from bot.protocols.github import Comment, GitHub
from bot.protocols.ledger import Ledger, Store
from bot.texts import markers
from bot.texts.markers import MarkerKind

BOT = "tgs"
"""How the bot is called as a sender."""

AGAIN = timedelta(minutes=1)
"""Comments that could not be read are no reason to hold up the item; they are looked for again soon."""

log = structlog.get_logger(__name__)


def forward_to_chat(tx: Ledger, key: IssueKey, once: str, note: Note, comment: Comment) -> None:
    """A comment that the bot has just written becomes a message, in the transaction that marks it written."""
    if once.startswith(CHAT_ONCE):
        tx.bind_comment(key, once, comment.id)
    elif tx.item(key) is not None:
        # A question is the agent's, in the bot's words.
        asks = note.code is NoteCode.QUESTION
        sender_type, sender = (SenderType.WORKER, note.get("attempt")) if asks else (SenderType.SYSTEM, BOT)
        text = words(_without_markers(comment.body))
        tx.put_message(
            Message(key, sender_type, sender, type_of(note.code), text, comment.created_at, comment_id=comment.id)
        )
    _count_own(tx, key)


def note_status_comment(tx: Ledger, key: IssueKey) -> None:
    """The status comment is written: it is no message, and is no reason to read all comments."""
    _count_own(tx, key)


def _count_own(tx: Ledger, key: IssueKey) -> None:
    known = tx.mirrored(key)
    if known >= 0:
        tx.set_mirrored(key, known + 1)


class Talk:
    """The mirror."""

    def __init__(self, github: GitHub, store: Store, clock: Clock) -> None:
        self._github = github
        self._store = store
        self._clock = clock

    async def mirror(self, facts: ItemFacts) -> datetime | None:
        """Add what is missing. When to look again, if the comments could not be read."""
        key, issue = facts.key, facts.issue
        if issue is None or facts.item is None:
            return None
        if await self._store.read(lambda tx: tx.mirrored(key)) == issue.comments:
            return None
        try:
            comments = await self._github.comments(key)
        except GitHubError as error:
            log.warning("comments_unread", error=str(error))
            return self._clock.now() + AGAIN
        bot = facts.repo.bot.id if facts.repo.bot is not None else None
        await self._store.write(lambda tx: take(tx, key, comments, bot))
        return None


def take(tx: Ledger, key: IssueKey, comments: list[Comment], bot: int | None) -> None:
    """The comments as they are now are the messages, beside those that have no comment."""
    known = {message.comment_id: message for message in tx.messages_with_comments(key)}
    texts: dict[int, str] = {}
    for comment in comments:
        own = comment.author.id == bot
        if own and (once := _chat_name(comment.body)) is not None:
            tx.bind_comment(key, once, comment.id)
        elif own and _is_status(comment.body):
            continue
        elif comment.id not in known:
            tx.put_message(_message(key, comment, own=own))
        elif not own:
            texts[comment.id] = words(comment.body)
    there = {comment.id for comment in comments}
    tx.keep_comments(key, texts, [id_ for id_ in known if id_ is not None and id_ not in there])
    tx.set_mirrored(key, len(comments))


def _message(key: IssueKey, comment: Comment, *, own: bool) -> Message:
    """A comment that nobody told of yet. One of the bot's own was written by an act whose record was lost."""
    if own:
        sender_type, sender, type_ = SenderType.SYSTEM, BOT, type_of(NoteCode.DONE)
    elif comment.author.is_bot:
        sender_type, sender, type_ = SenderType.SYSTEM, comment.author.login, MessageType.STATUS
    else:
        sender_type, sender, type_ = SenderType.HUMAN, comment.author.login, MessageType.REQUEST
    text = words(_without_markers(comment.body) if own else comment.body)
    return Message(key, sender_type, sender, type_, text, comment.created_at, comment_id=comment.id)


def _chat_name(body: str) -> str | None:
    names = [marker.value for marker in markers.read(body) if marker.kind is MarkerKind.SAY]
    return next((name for name in names if name.startswith(CHAT_ONCE)), None)


def _is_status(body: str) -> bool:
    return any(marker.kind is MarkerKind.STATUS for marker in markers.read(body))


def _without_markers(body: str) -> str:
    count = len(markers.read(body))
    return "\n".join(body.rstrip().split("\n")[:-count]) if count else body
