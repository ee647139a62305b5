"""What is said over the API: by people, who then speak on the issue too, and by workers, who only tell how it goes.

Promises: a person's message becomes exactly one comment of the bot that names them, also when the request is repeated
or the process ends in between; commands are refused here, so that no text can be carried out twice; a worker's words
are cleaned of secrets, short, and few.
"""

from __future__ import annotations

from datetime import timedelta

from bot.domain.attempt import Attempt
from bot.domain.command_parser import parse
from bot.domain.commands import Verb
from bot.domain.intents import API_INTENT, Intent, IntentSource
from bot.domain.model import IssueKey, Person
from bot.domain.notes import NoteCode, note, to_json
from bot.domain.questions import latest_round
from bot.domain.replies import read_reply
from bot.domain.talk import MAX_MESSAGE, MAX_STATUS, Message, MessageType, SenderType, once_of, words
from bot.errors import UserError
from bot.membership import NoSuchItem
from bot.protocols.clock import Clock
from bot.protocols.ledger import Ledger, OutboxRow, Store

WINDOW = timedelta(minutes=1)
"""The time over which messages are counted."""

PERSON_LIMIT = 10
"""Messages of a person on one item in a minute; each is a comment, and GitHub allows few of those."""

WORKER_LIMIT = 20
"""Status messages of one attempt in a minute: one every three seconds."""


class TooMany(UserError):
    """The sender said too much in too short a time."""


class ChatService:
    """Takes messages."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def say(self, person: Person, key: IssueKey, text: str, parent: int | None, request: str) -> Message:
        """A person's message. The comment follows within the item's next look, which begins at once.

        Said to the agent's question (`parent` is its message) it is an answer, read as a comment would be.

        `request` names the request: its repetition finds the first message. Raises NoSuchItem, TooMany, and UserError
        for commands, empty or long texts and an unknown parent.
        """
        now = self._clock.now()
        if not text.strip() or len(text) > MAX_MESSAGE:
            raise UserError(f"A message has between 1 and {MAX_MESSAGE} characters.")
        if parse(text, now):
            raise UserError(
                "A message only speaks; it cannot hold a command.",
                "Give commands as `POST …/items/<number>/actions/<command>`, or in a comment of your own.",
            )
        once = once_of(person.id, key, request)
        kept = words(text)
        type_ = MessageType.REQUEST if parent is None else MessageType.RESPONSE
        message = Message(key, SenderType.HUMAN, person.login, type_, kept, now, parent, once=once)

        def answers(tx: Ledger) -> list[Intent]:
            """What it answers, as commands of the person; whether they may is checked where they are obeyed."""
            asked = tx.message(key, parent) if parent is not None else None
            round_ = latest_round(tx.questions(key))
            if asked is None or asked.comment_id is None or all(q.comment_id != asked.comment_id for q in round_):
                return []
            return [
                Intent(
                    f"{API_INTENT}{once}:{number}",
                    key,
                    IntentSource.API,
                    Verb.ANSWER.value,
                    (str(number), ", ".join(answer)),
                    person,
                    now,
                )
                for number, answer in read_reply(text, round_).answers
            ]

        said = to_json(note(NoteCode.SPOKEN, by=person.login, text=kept))

        def write(tx: Ledger) -> Message:
            known = tx.message_once(key, once)
            if known is not None:
                if known.text != kept:
                    raise UserError("This idempotency key was used for another message.", "Use a fresh key.")
                return known
            if tx.item(key) is None:
                raise NoSuchItem(f"#{key.number} is no item of the backlog.")
            if parent is not None and tx.message(key, parent) is None:
                raise UserError(f"There is no message {parent} in this conversation.")
            self._count(tx, message, PERSON_LIMIT)
            tx.put_message(message)
            tx.plan(OutboxRow(once, "comment", key, key.repo_key, None, now, None, said, -1))
            for intent in answers(tx):
                tx.put_intent(intent)
            tx.mark(key)
            return _stored(tx, key, once)

        return await self._store.write(write)

    async def tell(self, attempt: Attempt, text: str) -> Message:
        """A worker's status. Raises TooMany and UserError."""
        now = self._clock.now()
        kept = words(text, MAX_STATUS)
        if not kept:
            raise UserError("A message is not empty.")
        once = f"{attempt.id}:{attempt.revision}:{now.isoformat()}:{kept}"
        message = Message(
            attempt.key,
            SenderType.WORKER,
            attempt.id,
            MessageType.STATUS,
            kept,
            now,
            once=once_of(0, attempt.key, once),
        )

        def write(tx: Ledger) -> Message:
            self._count(tx, message, WORKER_LIMIT)
            tx.put_message(message)
            return _stored(tx, attempt.key, message.once or "")

        return await self._store.write(write)

    def _count(self, tx: Ledger, message: Message, limit: int) -> None:
        since = message.at - WINDOW
        if tx.count_messages(message.key, message.sender_type, message.sender, since) >= limit:
            raise TooMany(f"At most {limit} messages in a minute.", "Wait a little.")


def _stored(tx: Ledger, key: IssueKey, once: str) -> Message:
    found = tx.message_once(key, once)
    assert found is not None
    return found
