"""What GitHub tells about the past: which labels there are, and who changed a text last.

Promise: an editor whom GitHub does not name counts as somebody unknown, never as nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from bot.domain.model import Person, RepoKey
from bot.github.answers import classify_graphql, error_of, read
from bot.github.gateway_claim_refs import ClaimRefVerbs
from bot.github.shapes import LabelShape

NODES = 100
"""Node ids in one question, GitHub's most."""

EDITORS = """
query($ids: [ID!]!) {
  nodes(ids: $ids) {
    id
    ... on Comment { lastEditedAt editor { ...who } }
  }
}
fragment who on Actor { __typename login ... on User { databaseId } ... on Bot { databaseId } }
"""

UNKNOWN = Person(0, "")
"""Somebody whom GitHub does not name."""


class _Who(msgspec.Struct, rename="camel"):
    login: str
    typename: str = msgspec.field(name="__typename", default="User")
    database_id: int | None = None


class _Text(msgspec.Struct, rename="camel"):
    id: str = ""
    last_edited_at: str | None = None
    editor: _Who | None = None


class PastVerbs(ClaimRefVerbs):
    """Verbs for whoever has lost the ledger."""

    async def labels_there(self, key: RepoKey) -> frozenset[str]:
        """The names of the labels that the repository has."""
        found = await self._pages(key, "/labels")
        return frozenset(read(LabelShape, raw, "GET /labels").name for raw in found)

    async def last_editors(self, key: RepoKey, nodes: Sequence[str]) -> dict[str, Person | None]:
        """By node id, who changed the text of an issue, pull request or comment last; None: nobody since it was
        written. A text that is not there is left out."""
        found: dict[str, Person | None] = {}
        for start in range(0, len(nodes), NODES):
            variables = {"ids": list(nodes[start : start + NODES])}
            answer = await self._client(key.installation).graphql_call(EDITORS, variables, label="last editors")
            rows: Any = answer.data.get("nodes")
            if not isinstance(rows, list):
                error = answer.errors[0]
                raise error_of(classify_graphql(error), error.message, status=200, request="POST graphql:last editors")
            for raw in rows:
                if raw is None:
                    continue
                text = msgspec.convert(raw, _Text)
                found[text.id] = None if text.last_edited_at is None else _person(text.editor)
        return found


def _person(who: _Who | None) -> Person:
    if who is None or who.database_id is None:
        return UNKNOWN
    return Person(who.database_id, who.login, who.typename == "Bot")
