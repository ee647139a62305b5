"""Messages of the conversations about items. A comment is one message, whoever tells of it first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, select, update

from bot.domain.model import InstallationId, IssueKey, RepoId, RepoKey
from bot.domain.talk import Message, MessageType, SenderType
from bot.store.dialect import insert_new, inserts
from bot.store.stream import next_of
from bot.store.tables import conversations, messages
from bot.store.verbs import Verbs, given, in_repo, of_given_issue, of_issue

_WITH_COMMENTS = (
    select(messages).where(of_given_issue(messages), messages.c.comment_id.is_not(None)).order_by(messages.c.id)
)
_MIRRORED = select(conversations.c.mirrored).where(of_given_issue(conversations))
_SET_MIRRORED = inserts(
    conversations,
    lambda new: new.on_conflict_do_update(
        index_elements=["installation", "repo", "number"], set_={"mirrored": new.excluded.mirrored}
    ),
)


def _message_of(row: Row[Any]) -> Message:
    return Message(
        key=IssueKey(InstallationId(row.installation), RepoId(row.repo), row.number),
        sender_type=SenderType(row.sender_type),
        sender=row.sender,
        type=MessageType(row.type),
        text=row.text,
        at=row.at,
        parent=row.parent,
        comment_id=row.comment_id,
        once=row.once,
        id=row.id,
    )


class MessageVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about conversations."""

    def put_message(self, message: Message) -> bool:
        """False when its comment, or its once-only name, is known already."""
        new = insert_new(
            self.connection,
            messages,
            {
                "installation": message.key.installation,
                "repo": message.key.repo,
                "number": message.key.number,
                "sender_type": message.sender_type.value,
                "sender": message.sender,
                "type": message.type.value,
                "text": message.text,
                "parent": message.parent,
                "comment_id": message.comment_id,
                "once": message.once,
                "at": message.at,
            },
        )
        if new:
            self.news.add(message.key.repo_key)
        return new

    def message(self, key: IssueKey, id_: int) -> Message | None:
        query = select(messages).where(of_issue(messages, key), messages.c.id == id_)
        row = self.connection.execute(query).one_or_none()
        return None if row is None else _message_of(row)

    def message_once(self, key: IssueKey, once: str) -> Message | None:
        query = select(messages).where(of_issue(messages, key), messages.c.once == once)
        row = self.connection.execute(query).one_or_none()
        return None if row is None else _message_of(row)

    def messages_after(
        self, repos: Sequence[RepoKey], after: int, limit: int, number: int | None = None
    ) -> list[Message]:
        """The next `limit` messages of these repositories by id, oldest first."""
        if not repos:
            return []
        query = select(messages).where(*next_of(messages, repos, after, number)).order_by(messages.c.id).limit(limit)
        return [_message_of(row) for row in self.connection.execute(query)]

    def last_message(self) -> int:
        newest: int | None = self.connection.execute(select(func.max(messages.c.id))).scalar_one()
        return newest or 0

    def count_messages(self, key: IssueKey, sender_type: SenderType, sender: str, since: datetime) -> int:
        query = select(func.count()).where(
            of_issue(messages, key),
            messages.c.sender_type == sender_type.value,
            messages.c.sender == sender,
            messages.c.at >= since,
        )
        found: int = self.connection.execute(query).scalar_one()
        return found

    def bind_comment(self, key: IssueKey, once: str, comment_id: int) -> None:
        """The comment of a message that came over the API is written."""
        self.connection.execute(
            update(messages)
            .where(in_repo(messages, key), messages.c.once == once, messages.c.comment_id.is_(None))
            .values(comment_id=comment_id)
        )

    def keep_comments(self, key: IssueKey, texts: Mapping[int, str], gone: Collection[int]) -> None:
        """Takes over the words of comments that were edited, and forgets those that were deleted."""
        for comment_id, text in texts.items():
            self.connection.execute(
                update(messages)
                .where(of_issue(messages, key), messages.c.comment_id == comment_id, messages.c.text != text)
                .values(text=text)
            )
        if gone:
            self.connection.execute(delete(messages).where(of_issue(messages, key), messages.c.comment_id.in_(gone)))

    def messages_with_comments(self, key: IssueKey) -> list[Message]:
        return [_message_of(row) for row in self.connection.execute(_WITH_COMMENTS, given(key))]

    def mirrored(self, key: IssueKey) -> int:
        """How many comments the issue had when all were mirrored; -1: look again."""
        return self.connection.execute(_MIRRORED, given(key)).scalar_one_or_none() or 0

    def set_mirrored(self, key: IssueKey, count: int) -> None:
        self.connection.execute(_SET_MIRRORED[self.connection.dialect.name], {**given(key), "mirrored": count})
