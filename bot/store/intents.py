"""Intents (a person's command, stored once under its natural key) and the replies that were given to readers."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, func, select, update

from bot.domain.intents import Intent
from bot.domain.model import IssueKey, RepoKey
from bot.store.dialect import insert_for, insert_new
from bot.store.items import issue_key_of
from bot.store.tables import intents, replies
from bot.store.verbs import Verbs, given, in_given_repo, of_given_issue

_BY_ID = select(intents).where(intents.c.id == bindparam("of"))


def intent_values(intent: Intent) -> dict[str, Any]:
    """All columns that come from the record."""
    return {
        "id": intent.id,
        "installation": intent.key.installation,
        "repo": intent.key.repo,
        "number": intent.key.number,
        "source": intent.source,
        "verb": intent.verb,
        "args": intent.args,
        "actor": intent.actor,
        "created_at": intent.created_at,
        "comment_id": intent.comment_id,
        "comment_node": intent.comment_node,
        "body_sha256": intent.body_sha256,
        "error": intent.error,
        "edited": intent.edited,
        "attempts": intent.attempts,
    }


def intent_of(row: Row[Any]) -> Intent:
    """The record of a row."""
    return Intent(
        id=row.id,
        key=issue_key_of(row),
        source=row.source,
        verb=row.verb,
        args=row.args,
        actor=row.actor,
        created_at=row.created_at,
        comment_id=row.comment_id,
        comment_node=row.comment_node,
        body_sha256=row.body_sha256,
        error=row.error,
        edited=row.edited,
        attempts=row.attempts,
    )


_OPEN = (
    select(intents)
    .where(of_given_issue(intents), intents.c.outcome.is_(None))
    .order_by(intents.c.created_at, func.coalesce(intents.c.comment_id, 0), intents.c.seq)
)

_HEEDED = select(intents).where(
    of_given_issue(intents),
    intents.c.created_at >= bindparam("since"),
    intents.c.outcome.in_(bindparam("outcomes", expanding=True)),
)

_ASKED_ON = (
    select(intents.c.installation, intents.c.repo, intents.c.number)
    .where(in_given_repo(intents), intents.c.outcome.is_(None))
    .distinct()
    .order_by(intents.c.number)
)

_SETTLE = (
    update(intents)
    .where(intents.c.id == bindparam("of"), intents.c.outcome.is_(None))
    .values(outcome=bindparam("to_outcome"), settled_at=bindparam("to_settled_at"), answer=bindparam("to_answer"))
)

_REPLIED = select(replies.c.at).where(
    of_given_issue(replies), replies.c.person_id == bindparam("person"), replies.c.at >= bindparam("since")
)


class IntentVerbs(Verbs):
    """The verbs of `bot.protocols.ledger.Ledger` about intents and replies."""

    def put_intent(self, intent: Intent) -> bool:
        return insert_new(self.connection, intents, intent_values(intent))

    def open_intents(self, key: IssueKey) -> list[Intent]:
        """Intents without an outcome, in the order in which people gave them (comments by time and id, lines of one
        comment from the top), whatever order the webhooks took."""
        return [intent_of(row) for row in self.connection.execute(_OPEN, given(key))]

    def heeded_intents(self, key: IssueKey, since: datetime, outcomes: AbstractSet[str]) -> list[Intent]:
        asked = {**given(key), "since": since, "outcomes": sorted(outcomes)}
        return [intent_of(row) for row in self.connection.execute(_HEEDED, asked)]

    def asked_on(self, repo: RepoKey) -> list[IssueKey]:
        """Issues and pull requests with intents that have no outcome, by number."""
        return [issue_key_of(row) for row in self.connection.execute(_ASKED_ON, given(repo))]

    def settle_intent(self, id_: str, outcome: str, at: datetime, answer: str | None = None) -> bool:
        """True for the one call that settled it; the first outcome stays."""
        values = {"of": id_, "to_outcome": outcome, "to_settled_at": at, "to_answer": answer}
        return self.connection.execute(_SETTLE, values).rowcount == 1

    def intent(self, id_: str) -> tuple[Intent, str | None, str | None] | None:
        row = self.connection.execute(_BY_ID, {"of": id_}).one_or_none()
        return None if row is None else (intent_of(row), row.outcome, row.answer)

    def retry_intent(self, id_: str) -> None:
        """Counts one more try of an intent that stays open."""
        self.connection.execute(update(intents).where(intents.c.id == id_).values(attempts=intents.c.attempts + 1))

    def has_replied(self, key: IssueKey, person_id: int, since: datetime) -> bool:
        asked = {**given(key), "person": person_id, "since": since}
        return self.connection.execute(_REPLIED, asked).one_or_none() is not None

    def note_reply(self, key: IssueKey, person_id: int, at: datetime) -> None:
        statement = insert_for(self.connection.dialect, replies).values(
            installation=key.installation, repo=key.repo, number=key.number, person_id=person_id, at=at
        )
        self.connection.execute(
            statement.on_conflict_do_update(
                index_elements=["installation", "repo", "number", "person_id"],
                set_={"at": statement.excluded.at},
                where=replies.c.at < statement.excluded.at,
            )
        )
