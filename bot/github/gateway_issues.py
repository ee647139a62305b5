"""Issues, their labels, events and comments.

Promises: a pull request is never shown as an issue. Who labelled and who edited comes from GitHub's events, with
`None` where GitHub names nobody. Text is compared with what GitHub says it stored, because an over-long edit is
answered 200 and dropped.

Race: the list of events lags behind a label change by moments; the newest event may be missing, never wrong.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import msgspec
from cachetools import LRUCache

from bot.domain.commanded import Spoken
from bot.domain.facts import ContentEdit, IssueFacts, LabelEvent, Presence
from bot.domain.labels import appearance, is_ours
from bot.domain.model import IssueKey, Person, RepoKey
from bot.domain.timestamps import iso
from bot.errors import Conflict, Invalid, NotFound, Unavailable
from bot.github.answers import classify_graphql, error_of, read
from bot.github.base import Vars
from bot.github.calls import call
from bot.github.clients import Clients
from bot.github.gateway_apps import AppVerbs
from bot.github.limits import Lane
from bot.github.shapes import CommentShape, EventShape, IssueShape, LabelShape, person
from bot.protocols.github import Comment

MAX_TEXT = 60_000
"""Characters of a title, body or comment: below every limit GitHub documents or was measured to have."""
MAX_NODES = 10_000
"""Node ids remembered for batched changes; a forgotten one costs a look-up."""
ISSUE_PAGES = 500
"""Pages of a list of issues: what a bot has opened or brought to its end is more every year."""
EDITS_PAGE = 100
"""Edits per GraphQL page, GitHub's most."""
EDITS_PAGES = 10
"""Pages of edits we read; a text edited more often is reported as edited by an unknown person."""
ANSWERS = ("eyes", "rocket", "confused")
"""The reactions by which the bot answers commands."""
FRESH_LOOKS = 2
"""Further looks at a comment that GitHub just announced: replicas lag for a second or so."""

EDITS = """
query($owner: String!, $name: String!, $number: Int!, $last: Int!, $before: String) {
  repository(owner: $owner, name: $name) {
    databaseId
    issue(number: $number) {
      createdAt
      lastEditedAt
      editor { ...who }
      userContentEdits(last: $last, before: $before) {
        pageInfo { hasPreviousPage startCursor }
        nodes { editedAt editor { ...who } }
      }
    }
  }
}
fragment who on Actor { __typename login ... on User { databaseId } ... on Bot { databaseId } }
"""

_ISSUE_PLACE = re.compile(r"/(?:repositories/(?P<id>\d+)|repos/(?P<name>[^/]+/[^/]+))/issues/(?P<number>\d+)$")


class _Page(msgspec.Struct, rename="camel"):
    has_previous_page: bool = False
    start_cursor: str | None = None


class _Who(msgspec.Struct, rename="camel"):
    login: str
    typename: str = msgspec.field(name="__typename", default="User")
    database_id: int | None = None


class _Edit(msgspec.Struct, rename="camel"):
    edited_at: datetime
    editor: _Who | None = None


class _Edits(msgspec.Struct, rename="camel"):
    page_info: _Page
    nodes: list[_Edit | None] | None = None


class _Edited(msgspec.Struct, rename="camel"):
    created_at: datetime
    user_content_edits: _Edits | None
    last_edited_at: datetime | None = None
    editor: _Who | None = None


class IssueVerbs(AppVerbs):
    """Verbs about issues and comments."""

    def __init__(self, clients: Clients, names: Callable[[RepoKey], Awaitable[str]]) -> None:
        super().__init__(clients, names)
        self._label_nodes: LRUCache[tuple[RepoKey, str], str] = LRUCache(MAX_NODES)
        self._comment_ids: LRUCache[str, int] = LRUCache(MAX_NODES)

    # --- reading

    async def issue(self, key: IssueKey) -> tuple[Presence, IssueFacts | None]:
        """The issue, or why there is none. A pull request under the number is never an item."""
        repo = key.repo_key
        path = "/repos/{owner}/{repo}/issues/{issue_number}"
        for _ in range(2):
            owner, name = await self._name(repo)
            vars_: Vars = {"owner": owner, "repo": name, "issue_number": key.number}
            try:
                answer = await self._client(key.installation).request(call("GET", path, vars_, follow=False))
            except NotFound as error:
                gone = error.status == HTTPStatus.GONE
                return (Presence.DELETED if gone else Presence.UNREADABLE), None
            if answer.location is None:
                shape = self._read(IssueShape, answer, f"GET {path}")
                if shape.pull_request is not None:
                    return Presence.PULL, None
                return Presence.HERE, self._issue_facts(repo, shape)
            if await self._moved_away(key, answer.location):
                return Presence.TRANSFERRED, None
            self._names.forget(repo)  # only the repository's name changed
        return Presence.UNREADABLE, None

    async def issues_with_label(
        self, key: RepoKey, label: str, closed_since: datetime | None = None
    ) -> list[IssueFacts]:
        """Open and closed issues with the label, without pull requests, oldest first. With `closed_since`, closed ones
        only if they were changed at or after it, so that what was done long ago costs nothing."""
        query: dict[str, str | int] = {"labels": label, "sort": "created", "direction": "asc"}
        if closed_since is None:
            return await self._issues(key, {**query, "state": "all"})
        found = await self._issues(key, {**query, "state": "open"})
        # What closes between the two is in both.
        found += await self._issues(key, {**query, "state": "closed", "since": stamp(closed_since)})
        return list({issue.key: issue for issue in found}.values())

    async def issues_by_bot(self, key: RepoKey, since: datetime | None = None) -> list[IssueFacts]:
        """Issues our bot opened, changed at or after `since`, oldest first."""
        us = await self.bot_user(key.installation)
        query = {"creator": us.login, "state": "all", "sort": "created", "direction": "asc"}
        if since is not None:
            query["since"] = stamp(since)
        return [facts for facts in await self._issues(key, query) if facts.author.id == us.id]

    async def label_events(self, key: IssueKey) -> list[LabelEvent]:
        """All label events, oldest first."""
        return [
            LabelEvent(
                id=event.id,
                label=event.label.name.casefold() if is_ours(event.label.name) else event.label.name,
                added=event.event == "labeled",
                actor=person(event.actor) if event.actor is not None else None,
                at=event.created_at,
            )
            for event in await self._events(key)
            if event.event in {"labeled", "unlabeled"} and event.label is not None
        ]

    async def content_edits(self, key: IssueKey) -> list[ContentEdit]:
        """Edits of title and body after opening, oldest first, without roles. Renames come from the issue's events,
        edits of the body from GraphQL, which alone knows the editors."""
        renames = [
            ContentEdit(person(event.actor) if event.actor is not None else None, event.created_at)
            for event in await self._events(key)
            if event.event == "renamed"
        ]
        found = {*renames, *await self._body_edits(key)}
        return sorted(found, key=lambda edit: (edit.at, edit.editor.id if edit.editor is not None else 0))

    async def comment(self, key: RepoKey, comment_id: int) -> Comment | None:
        path = "/issues/comments/{comment_id}"
        answer = await self._find(key, path, {"comment_id": comment_id}, fresh=FRESH_LOOKS)
        if answer is None:
            return None
        return self._comment(self._read(CommentShape, answer, f"GET {path}"))

    async def comments(self, key: IssueKey, since: datetime | None = None) -> list[Comment]:
        """Comments, oldest first; with `since`, those changed at or after it."""
        path = "/issues/{issue_number}/comments"
        query: dict[str, str | int] = {} if since is None else {"since": stamp(since)}
        found = await self._pages(key.repo_key, path, {"issue_number": key.number}, query=query)
        return [self._comment(read(CommentShape, raw, f"GET {path}")) for raw in found]

    async def comments_in(self, key: RepoKey, since: datetime) -> list[Spoken]:
        """Comments on all issues and pull requests that were written or edited at or after `since`, oldest change
        first. A comment whose issue cannot be told is left out."""
        path = "/issues/comments"
        query = {"since": stamp(since), "sort": "updated", "direction": "asc"}
        found = []
        for raw in await self._pages(key, path, query=query):
            shape = read(CommentShape, raw, f"GET {path}")
            number = _ISSUE_PLACE.search(urlsplit(shape.issue_url).path)
            if number is None:
                continue
            issue = IssueKey(key.installation, key.repo, int(number["number"]))
            author = person(shape.user) if shape.user is not None else None
            body = shape.body or ""
            found.append(Spoken(issue, shape.id, shape.node_id, body, author, shape.created_at, shape.updated_at))
        return found

    # --- writing

    async def remove_label(self, key: IssueKey, label: str) -> bool:
        """True: removed by this call. False: it was not there (404 `Label does not exist`); any other 404 raises."""
        path = "/issues/{issue_number}/labels/{name}"
        vars_: Vars = {"issue_number": key.number, "name": label}
        try:
            await self._send(key.repo_key, "DELETE", path, vars_, lane=Lane.CLAIM)
        except NotFound as error:
            if "label does not exist" in error.message.lower():
                return False
            raise
        return True

    async def add_labels(self, key: IssueKey, labels: Sequence[str]) -> None:
        """Adds labels, creating those the repository does not have; labels that are there stay."""
        if labels:
            await self._add_labels(key, labels, Lane.CLAIM)

    async def create_comment(self, key: IssueKey, body: str) -> Comment:
        path = "/issues/{issue_number}/comments"
        check_text(body, f"POST {path}")
        vars_ = {"issue_number": key.number}
        answer = await self._send(key.repo_key, "POST", path, vars_, body={"body": body}, lane=Lane.WORDS, content=True)
        return self._comment(self._read(CommentShape, answer, f"POST {path}"))

    async def react(self, key: RepoKey, comment_id: int, content: str) -> None:
        """Adds a reaction (`eyes`, `rocket`, …); one that is there stays."""
        path = "/issues/comments/{comment_id}/reactions"
        await self._send(
            key, "POST", path, {"comment_id": comment_id}, body={"content": content}, lane=Lane.WORDS, fresh=FRESH_LOOKS
        )

    async def create_issue(self, key: RepoKey, title: str, body: str, labels: Sequence[str]) -> IssueFacts:
        check_text(body, "POST /issues")
        wanted: dict[str, object] = {"title": title, "body": body, "labels": list(labels)}
        await self._make_labels(key, labels)
        answer = await self._send(key, "POST", "/issues", body=wanted, lane=Lane.BOARD, content=True)
        return self._issue_facts(key, self._read(IssueShape, answer, "POST /issues"))

    async def edit_issue(
        self,
        key: IssueKey,
        *,
        title: str | None = None,
        body: str | None = None,
        open_: bool | None = None,
        reason: str | None = None,
    ) -> IssueFacts:
        """Changes the given fields only. Raises Invalid when GitHub kept another body than the one sent."""
        path = "/issues/{issue_number}"
        wanted: dict[str, object] = {}
        if title is not None:
            wanted["title"] = title
        if body is not None:
            check_text(body, f"PATCH {path}")
            wanted["body"] = body
        if open_ is not None:
            wanted["state"] = "open" if open_ else "closed"
        if reason is not None:
            wanted["state_reason"] = reason
        vars_ = {"issue_number": key.number}
        answer = await self._send(key.repo_key, "PATCH", path, vars_, body=wanted, lane=Lane.BOARD)
        facts = self._issue_facts(key.repo_key, self._read(IssueShape, answer, f"PATCH {path}"))
        if body is not None and not same_text(facts.body, body):
            raise Invalid("GitHub answered 200 but did not store the body", status=200, request=f"PATCH {path}")
        return facts

    # --- parts

    async def _issues(self, key: RepoKey, query: Mapping[str, str | int]) -> list[IssueFacts]:
        shapes = [
            read(IssueShape, raw, "GET /issues")
            for raw in await self._pages(key, "/issues", query=query, most=ISSUE_PAGES)
        ]
        return [self._issue_facts(key, shape) for shape in shapes if shape.pull_request is None]

    async def _events(self, key: IssueKey) -> list[EventShape]:
        path = "/issues/{issue_number}/events"
        found = await self._pages(key.repo_key, path, {"issue_number": key.number})
        shapes = [read(EventShape, raw, f"GET {path}") for raw in found]
        return sorted(shapes, key=lambda event: (event.created_at, event.id))

    async def _body_edits(self, key: IssueKey) -> list[ContentEdit]:
        owner, name = await self._name(key.repo_key)
        label, client = "issue edits", self._client(key.installation)
        found: list[ContentEdit] = []
        before: str | None = None
        for _ in range(EDITS_PAGES):
            variables = {"owner": owner, "name": name, "number": key.number, "last": EDITS_PAGE, "before": before}
            answer = await client.graphql_call(EDITS, variables, label=label)
            if answer.errors:
                error = answer.errors[0]
                raise error_of(classify_graphql(error), error.message, status=200, request=f"POST graphql:{label}")
            repository = answer.data.get("repository")
            if isinstance(repository, dict):
                self._check_repo(key.repo_key, repository.get("databaseId"), f"POST graphql:{label}")
            issue = _edited(repository, label)
            if issue.last_edited_at is None:
                return []
            newest = ContentEdit(_who(issue.editor), issue.last_edited_at)
            edits = issue.user_content_edits
            nodes = [node for node in (edits.nodes if edits is not None else None) or [] if node is not None]
            # The first entry of the list is the text as it was opened, not an edit.
            found += [ContentEdit(_who(x.editor), x.edited_at) for x in nodes if x.edited_at > issue.created_at]
            if edits is None or not edits.page_info.has_previous_page:
                return found if any(edit.at == newest.at for edit in found) else [*found, newest]
            before = edits.page_info.start_cursor
        return [*found, ContentEdit(None, newest.at)]

    async def _moved_away(self, key: IssueKey, location: str) -> bool:
        """Whether a redirected issue is now another one: another repository, or another number."""
        place = _ISSUE_PLACE.search(urlsplit(location).path)
        if place is None or int(place["number"]) != key.number:
            return True
        if place["id"] is not None:
            return int(place["id"]) != key.repo
        return (await self.repository(key.repo_key)).full_name.lower() != place["name"].lower()

    async def _add_labels(self, key: IssueKey, labels: Sequence[str], lane: Lane) -> None:
        path = "/issues/{issue_number}/labels"
        vars_ = {"issue_number": key.number}
        answer = await self._send(key.repo_key, "POST", path, vars_, body={"labels": list(labels)}, lane=lane)
        for raw in answer.data if isinstance(answer.data, list) else []:
            self._learn_label(key.repo_key, read(LabelShape, raw, f"POST {path}"))

    async def _make_labels(self, key: RepoKey, names: Iterable[str]) -> None:
        """Makes those of our labels that the repository does not have yet, with their colours and descriptions.

        A label that somebody made meanwhile is as good; GitHub then answers 422 and the label is used as it is.
        """
        for name in names:
            if not is_ours(name) or (key, name.lower()) in self._label_nodes:
                continue
            colour, description = appearance(name)
            body: dict[str, object] = {"name": name, "color": colour, "description": description}
            try:
                answer = await self._send(key, "POST", "/labels", body=body, lane=Lane.WORDS)
            except (Conflict, Invalid):
                continue
            self._learn_label(key, self._read(LabelShape, answer, "POST /labels"))

    def _learn_label(self, key: RepoKey, label: LabelShape) -> None:
        if label.node_id:
            self._label_nodes[key, label.name.lower()] = label.node_id

    def _issue_facts(self, key: RepoKey, shape: IssueShape) -> IssueFacts:
        names = []
        for label in shape.labels:
            name = label if isinstance(label, str) else label.name
            # GitHub compares label names without case; ours are known by one spelling from here on.
            names.append(name.casefold() if is_ours(name) else name)
            if not isinstance(label, str):
                self._learn_label(key, label)
        return IssueFacts(
            key=IssueKey(key.installation, key.repo, shape.number),
            node_id=shape.node_id,
            title=shape.title,
            body=shape.body or "",
            open=shape.state == "open",
            state_reason=shape.state_reason,
            author=person(shape.user),
            labels=frozenset(names),
            assignees=tuple(person(user) for user in shape.assignees or []),
            created_at=shape.created_at,
            updated_at=shape.updated_at,
            locked=shape.locked,
            comments=shape.comments,
        )

    def _comment(self, shape: CommentShape) -> Comment:
        self._comment_ids[shape.node_id] = shape.id
        return Comment(
            id=shape.id,
            node_id=shape.node_id,
            body=shape.body or "",
            author=person(shape.user),
            created_at=shape.created_at,
            updated_at=shape.updated_at,
            html_url=shape.html_url,
            reacted=any((shape.reactions or {}).get(content) for content in ANSWERS),
        )


def _edited(repository: object, label: str) -> _Edited:
    request = f"POST graphql:{label}"
    issue = repository.get("issue") if isinstance(repository, dict) else None
    if issue is None:
        raise NotFound("there is no such issue", status=404, request=request)
    try:
        return msgspec.convert(issue, _Edited)
    except msgspec.ValidationError as error:
        raise Unavailable(f"the answer is not what the schema describes: {error}", request=request) from None


def _who(who: _Who | None) -> Person | None:
    """None when GitHub names nobody by id: an editor we can't identify is unknown."""
    if who is None or who.database_id is None:
        return None
    return Person(who.database_id, who.login, who.typename == "Bot")


def stamp(at: datetime) -> str:
    """The time as the API takes it in queries: UTC, whole seconds."""
    return iso(at)


def check_text(text: str, request: str) -> None:
    """Raises Invalid for a text GitHub may cut or drop."""
    if len(text) > MAX_TEXT:
        raise Invalid(f"the text has {len(text)} characters, more than {MAX_TEXT}", request=request)


def same_text(stored: str, sent: str) -> bool:
    """Whether GitHub stored the text, apart from line ends and outer white space, which it normalises."""
    return stored.replace("\r\n", "\n").strip() == sent.replace("\r\n", "\n").strip()
