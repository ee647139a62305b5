"""Many things in one question: the comments of many issues, the pull requests of many branches.

Promises: what comes back is complete and as the single reads give it; what could not be read in one piece is left out,
and the caller reads it by itself. Who changed a comment last stands beside it, from the same moment. A question that is
too much for GitHub is asked again in smaller pieces, and larger ones follow when that goes well. One question costs one
point of the limit, however many it asks for.

Race: an issue may be gone, or moved to another repository, since its node id was read; it is left out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from bot.domain.facts import LabelEvent, PullFacts
from bot.domain.labels import is_ours
from bot.domain.model import Person, RepoKey
from bot.errors import Invalid, NotFound, Unavailable
from bot.github.answers import GraphqlAnswer, Refusal, classify_graphql
from bot.github.clients import Clients
from bot.github.gateway_past import UNKNOWN, PastVerbs
from bot.github.shapes import GHOST
from bot.protocols.github import Comment, Remark

TALKS = 100
"""Issues in one question, GitHub's most. Their comments cost one point, however many they are."""

BRANCHES = 50
"""Branches in one question: GitHub was seen to refuse more than about 75 fields side by side."""

LEAST = 25
"""Smaller pieces are needed for single things that are large, not for all that follow."""

TOO_MUCH = frozenset({502, 504})
"""Answers to a question that took longer than GitHub's ten seconds."""

ANSWERS = frozenset({"EYES", "ROCKET", "CONFUSED"})
"""The reactions by which the bot answers commands, as GraphQL names them."""

WHO = """
fragment who on Actor { __typename login ... on User { databaseId } ... on Bot { databaseId } }
"""

CONVERSATIONS = (
    """
query($ids: [ID!]!) {
  nodes(ids: $ids) {
    id
    ... on Issue { repository { databaseId } comments(first: 100) { ...words } }
    ... on PullRequest { repository { databaseId } comments(first: 100) { ...words } }
  }
}
fragment words on IssueCommentConnection {
  pageInfo { hasNextPage }
  nodes {
    id fullDatabaseId body url createdAt updatedAt lastEditedAt
    author { ...who } editor { ...who } reactionGroups { content viewerHasReacted }
  }
}
"""
    + WHO
)

HISTORIES = (
    """
query($ids: [ID!]!) {
  nodes(ids: $ids) {
    id
    ... on Issue {
      repository { databaseId }
      timelineItems(first: 100, itemTypes: [LABELED_EVENT, UNLABELED_EVENT]) {
        pageInfo { hasNextPage }
        nodes {
          __typename
          ... on LabeledEvent { createdAt actor { ...who } label { name } }
          ... on UnlabeledEvent { createdAt actor { ...who } label { name } }
        }
      }
    }
  }
}
"""
    + WHO
)

PULLS = (
    """
fragment found on PullRequestConnection {
  pageInfo { hasNextPage }
  nodes {
    number id state isDraft body url createdAt headRefName headRefOid baseRefName
    headRepository { databaseId } mergeCommit { oid } author { ...who }
  }
}
"""
    + WHO
)

T = TypeVar("T")


class _Who(msgspec.Struct, rename="camel"):
    login: str
    typename: str = msgspec.field(name="__typename", default="User")
    database_id: int | None = None


class _Page(msgspec.Struct, rename="camel"):
    has_next_page: bool = True


class _Group(msgspec.Struct, rename="camel"):
    content: str
    viewer_has_reacted: bool = False


class _Words(msgspec.Struct, rename="camel"):
    id: str
    full_database_id: str
    body: str
    url: str
    created_at: datetime
    updated_at: datetime
    last_edited_at: datetime | None = None
    author: _Who | None = None
    editor: _Who | None = None
    reaction_groups: list[_Group] | None = None


class _Repo(msgspec.Struct, rename="camel"):
    database_id: int | None = None


class _Oid(msgspec.Struct):
    oid: str


class _Comments(msgspec.Struct, rename="camel"):
    page_info: _Page
    nodes: list[_Words]


class _Talk(msgspec.Struct, rename="camel"):
    id: str
    repository: _Repo
    comments: _Comments


class _Label(msgspec.Struct):
    name: str


class _Event(msgspec.Struct, rename="camel"):
    created_at: datetime
    label: _Label
    typename: str = msgspec.field(name="__typename")
    actor: _Who | None = None


class _Events(msgspec.Struct, rename="camel"):
    page_info: _Page
    nodes: list[_Event]


class _History(msgspec.Struct, rename="camel"):
    id: str
    repository: _Repo
    timeline_items: _Events


class _Pull(msgspec.Struct, rename="camel"):
    number: int
    id: str
    state: str
    is_draft: bool
    body: str
    url: str
    created_at: datetime
    head_ref_name: str
    head_ref_oid: str
    base_ref_name: str
    head_repository: _Repo | None = None
    merge_commit: _Oid | None = None
    author: _Who | None = None


class _Pulls(msgspec.Struct, rename="camel"):
    page_info: _Page
    nodes: list[_Pull]


class BulkVerbs(PastVerbs):
    """Verbs that read much at once."""

    def __init__(self, clients: Clients, names: Callable[[RepoKey], Awaitable[str]]) -> None:
        super().__init__(clients, names)
        self._most: dict[int, int] = {}
        """What turned out to be the most in one question, by what was thought to be."""

    async def conversations(self, key: RepoKey, nodes: Sequence[str]) -> dict[str, list[Remark]]:
        """By node id of an issue or pull request of this repository, all its comments, oldest first. Longer ones than
        a page, and what cannot be read in one piece, are left out."""
        return await self._of_nodes(key, nodes, CONVERSATIONS, "conversations", self._talk)

    async def histories(self, key: RepoKey, nodes: Sequence[str]) -> dict[str, list[LabelEvent]]:
        """By node id of an issue of this repository, all its label events, oldest first, numbered from one. Longer
        ones than a page, and what cannot be read in one piece, are left out."""
        return await self._of_nodes(key, nodes, HISTORIES, "histories", self._history)

    async def pulls_of_branches(self, key: RepoKey, branches: Sequence[str]) -> dict[str, list[PullFacts]]:
        """By branch of this repository, its pull requests, open and closed, newest first; as `pulls_of_branch` does.
        Branches of which there is too much to tell are left out."""
        owner, name = await self._name(key)

        async def ask(piece: Sequence[str]) -> dict[str, list[PullFacts] | None]:
            heads = "".join(f", $b{index}: String!" for index in range(len(piece)))
            order = "first: 20, orderBy: {field: CREATED_AT, direction: DESC}"
            lines = "\n".join(
                f"b{index}: pullRequests(headRefName: $b{index}, {order}) {{ ...found }}" for index in range(len(piece))
            )
            document = (
                f"query($owner: String!, $name: String!{heads}) {{\n"
                f"repository(owner: $owner, name: $name) {{ databaseId\n{lines} }} }}\n{PULLS}"
            )
            variables: dict[str, object] = {f"b{index}": branch for index, branch in enumerate(piece)}
            answer = await self._ask(key, document, {"owner": owner, "name": name, **variables}, "pulls of branches")
            repository: Any = answer.data.get("repository")
            if not isinstance(repository, dict):
                return {}
            self._check_repo(key, repository.get("databaseId"), "POST graphql:pulls of branches")
            return {
                branch: self._pulls(key, branch, repository[f"b{index}"])
                for index, branch in enumerate(piece)
                if repository.get(f"b{index}") is not None
            }

        return await self._in_pieces(BRANCHES, branches, ask)

    async def _in_pieces(
        self, most: int, wanted: Sequence[str], ask: Callable[[Sequence[str]], Awaitable[dict[str, T | None]]]
    ) -> dict[str, T]:
        """Asks for all in pieces that GitHub can answer. None in an answer: it is answered, and left out.

        Raises what says nothing about the size of a piece.
        """
        found: dict[str, T] = {}
        thought, most = most, self._most.get(most, most)
        rest, size = list(dict.fromkeys(wanted)), most
        while rest:
            piece = rest[:size]
            try:
                answered = await ask(piece)
            except NotFound:
                return found
            except Invalid:
                answered = {}
            except Unavailable as error:
                if len(piece) == 1 or error.status not in TOO_MUCH:
                    raise
                answered = {}
            found.update({name: value for name, value in answered.items() if value is not None})
            if answered:
                rest = [name for name in piece if name not in answered] + rest[size:]
                size = min(size * 2, most)
            elif len(piece) == 1:
                rest = rest[1:]
            else:
                size = max(len(piece) // 2, 1)
                most = self._most[thought] = min(most, max(size, LEAST))
        return found

    async def _ask(self, key: RepoKey, document: str, variables: Mapping[str, object], label: str) -> GraphqlAnswer:
        answer = await self._client(key.installation).graphql_call(document, variables, label=label)
        if any(error.unknown_field for error in answer.errors):
            raise NotFound("this server does not know the question", request=f"POST graphql:{label}")
        return answer

    async def _of_nodes(
        self,
        key: RepoKey,
        nodes: Sequence[str],
        document: str,
        label: str,
        read: Callable[[RepoKey, object], T | None],
    ) -> dict[str, T]:
        async def ask(piece: Sequence[str]) -> dict[str, T | None]:
            answer = await self._ask(key, document, {"ids": list(piece)}, label)
            rows: Any = answer.data.get("nodes")
            gone = all(classify_graphql(error) is Refusal.NOT_FOUND for error in answer.errors)
            found: dict[str, T | None] = dict.fromkeys(piece) if gone and isinstance(rows, list) else {}
            for raw in rows if isinstance(rows, list) else ():
                if isinstance(raw, dict) and isinstance(raw.get("id"), str):
                    found[raw["id"]] = read(key, raw)
            return found

        return await self._in_pieces(TALKS, nodes, ask)

    def _talk(self, key: RepoKey, raw: object) -> list[Remark] | None:
        try:
            talk = msgspec.convert(raw, _Talk)
            if talk.repository.database_id != key.repo or talk.comments.page_info.has_next_page:
                return None
            return [self._remark(words) for words in talk.comments.nodes]
        except (msgspec.ValidationError, ValueError):
            # Something that GitHub does not name, or does not show: the single reads have words for that.
            return None

    def _history(self, key: RepoKey, raw: object) -> list[LabelEvent] | None:
        try:
            history = msgspec.convert(raw, _History)
            if history.repository.database_id != key.repo or history.timeline_items.page_info.has_next_page:
                return None
            return [
                LabelEvent(
                    number,
                    event.label.name.casefold() if is_ours(event.label.name) else event.label.name,
                    event.typename == "LabeledEvent",
                    _named(event.actor) if event.actor is not None else None,
                    event.created_at,
                )
                for number, event in enumerate(history.timeline_items.nodes, 1)
            ]
        except (msgspec.ValidationError, ValueError):
            return None

    def _remark(self, words: _Words) -> Remark:
        number = int(words.full_database_id)
        self._comment_ids[words.id] = number
        return Remark(
            Comment(
                id=number,
                node_id=words.id,
                body=words.body,
                author=_named(words.author),
                created_at=words.created_at,
                updated_at=words.updated_at,
                html_url=words.url,
                reacted=any(x.viewer_has_reacted and x.content in ANSWERS for x in words.reaction_groups or ()),
            ),
            None if words.last_edited_at is None else _editor(words.editor),
        )

    def _pulls(self, key: RepoKey, branch: str, raw: object) -> list[PullFacts] | None:
        try:
            pulls = msgspec.convert(raw, _Pulls)
            if pulls.page_info.has_next_page:
                return None
            return [_pull(key, one) for one in pulls.nodes if one.head_ref_name == branch and _ours(key, one)]
        except (msgspec.ValidationError, ValueError):
            return None


def _named(who: _Who | None) -> Person:
    """As REST names people. Raises ValueError for an account without a number."""
    if who is None:
        return GHOST
    if who.database_id is None:
        raise ValueError("an account without a number")
    is_bot = who.typename == "Bot"
    return Person(who.database_id, f"{who.login}[bot]" if is_bot else who.login, is_bot)


def _editor(who: _Who | None) -> Person:
    """An editor whom GitHub does not name is somebody unknown, never nobody."""
    return UNKNOWN if who is None or who.database_id is None else _named(who)


def _ours(key: RepoKey, pull: _Pull) -> bool:
    return pull.head_repository is not None and pull.head_repository.database_id == key.repo


def _pull(key: RepoKey, one: _Pull) -> PullFacts:
    return PullFacts(
        number=one.number,
        node_id=one.id,
        author=_named(one.author),
        open=one.state == "OPEN",
        merged=one.state == "MERGED",
        draft=one.is_draft,
        head_sha=one.head_ref_oid,
        head_ref=one.head_ref_name,
        head_repo_id=key.repo,
        base_ref=one.base_ref_name,
        base_repo_id=key.repo,
        mergeable=None,
        mergeable_state="unknown",
        merge_commit_sha=one.merge_commit.oid if one.merge_commit is not None else None,
        merged_by=None,
        body=one.body,
        html_url=one.url,
        created_at=one.created_at,
    )
