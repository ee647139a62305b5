"""GraphQL: the hub's records as the schema's objects.

Promise: an object is a dictionary whose values are data or functions of the field's arguments, so
that nothing is computed that was not asked for. Only what the caller may see is reachable.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from graphql import GraphQLResolveInfo

from bot.localhub import present
from bot.localhub.actor import Actor
from bot.localhub.graphql_talk import in_order, pulls_of, reaction_groups
from bot.localhub.http import not_found
from bot.localhub.hub import Hub
from bot.localhub.model import (
    Account,
    AccountType,
    Comment,
    Issue,
    Json,
    Label,
    Reaction,
    Repository,
    Role,
)
from bot.localhub.ports import GitObject

MAX_FIRST = 100
"""GitHub's largest page."""
CONTENT = {
    "THUMBS_UP": "+1",
    "THUMBS_DOWN": "-1",
    "LAUGH": "laugh",
    "HOORAY": "hooray",
    "CONFUSED": "confused",
    "HEART": "heart",
    "ROCKET": "rocket",
    "EYES": "eyes",
}
"""GraphQL's reaction names to REST's."""

LABELLING = {"labeled": ("LabeledEvent", "LABELED_EVENT"), "unlabeled": ("UnlabeledEvent", "UNLABELED_EVENT")}
"""REST's names of events to GraphQL's, as a type and as a kind of entry."""

Resolver = Callable[..., object]
Info = GraphQLResolveInfo[object]


def connection(items: Sequence[Json], first: int | None, after: str | None) -> Json:
    """A connection; cursors are opaque."""
    size = min(first or MAX_FIRST, MAX_FIRST)
    start = int(base64.b64decode(after)) if after else 0
    part = list(items[start : start + size])
    end = start + len(part)

    def cursor(position: int) -> str | None:
        return base64.b64encode(str(position).encode()).decode() if part else None

    return {
        "nodes": part,
        "totalCount": len(items),
        "pageInfo": {
            "startCursor": cursor(start),
            "endCursor": cursor(end),
            "hasNextPage": end < len(items),
            "hasPreviousPage": start > 0,
        },
    }


@dataclass(frozen=True)
class View:
    """The world as one actor sees it."""

    hub: Hub
    actor: Actor

    def account(self, item: Account) -> Json:
        """A User, Bot or Organization."""
        kinds = {
            AccountType.USER: "User",
            AccountType.BOT: "Bot",
            AccountType.ORGANIZATION: "Organization",
        }
        shown = present.simple_user(self.hub, item)
        return {
            "__typename": kinds[item.type],
            "id": item.node_id,
            "databaseId": item.id,
            # GraphQL names a bot without the suffix that REST adds.
            "login": item.login.removesuffix("[bot]"),
            "name": item.name,
            "url": shown["html_url"],
            "avatarUrl": lambda _info, size=None: shown["avatar_url"],
        }

    def label(self, item: Label) -> Json:
        """A Label."""
        return {
            "__typename": "Label",
            "id": item.node_id,
            "name": item.name,
            "color": item.color,
            "description": item.description,
        }

    def _connection_of(self, items: Callable[[], list[Json]]) -> Resolver:
        def resolve(_info: Info, first: int | None = None, after: str | None = None) -> Json:
            return connection(items(), first, after)

        return resolve

    def _shared(self, item: Issue) -> Json:
        return {
            "id": item.node_id,
            "databaseId": item.id,
            "number": item.number,
            "title": item.title,
            "body": item.body or "",
            "url": present.issue_html_url(self.hub, item),
            "locked": item.locked,
            "closed": item.state == "closed",
            "closedAt": present.maybe_time(item.closed_at),
            "createdAt": present.time(item.created_at),
            "updatedAt": present.time(item.updated_at),
            "author": lambda _info: self.account(item.user),
            "lastEditedAt": present.time(item.body_edits[-1][0]) if item.body_edits else None,
            "editor": self.account(item.body_edits[-1][1]) if item.body_edits else None,
            "repository": lambda _info: self.repository(item.repo),
            "labels": self._connection_of(lambda: [self.label(x) for x in item.labels]),
            "assignees": self._connection_of(lambda: [self.account(x) for x in item.assignees]),
            "comments": self._connection_of(lambda: [self.comment(x) for x in item.comments]),
            "reactionGroups": lambda _info: reaction_groups(CONTENT, item.reactions, self.actor.user),
        }

    def issue(self, item: Issue) -> Json:
        """An Issue or PullRequest."""
        if item.is_pull:
            return self._pull(item)
        reason = item.state_reason
        return self._shared(item) | {
            "__typename": "Issue",
            "state": item.state.upper(),
            "stateReason": lambda _info, **_: None if reason is None else reason.upper(),
            "userContentEdits": lambda _info, **window: self._content_edits(item, **window),
            "timelineItems": lambda _info, **window: self._timeline(item, **window),
        }

    def _timeline(
        self,
        item: Issue,
        first: int | None = None,
        after: str | None = None,
        itemTypes: list[str] | None = None,  # noqa: N803 - the schema's name
    ) -> Json:
        found = [
            {
                "__typename": LABELLING[event.event][0],
                "id": event.node_id,
                "createdAt": present.time(event.created_at),
                "actor": self.account(event.actor),
                "label": event.data["label"],
            }
            for event in item.events
            if event.event in LABELLING and (itemTypes is None or LABELLING[event.event][1] in itemTypes)
        ]
        return connection(found, first, after)

    def _content_edits(
        self,
        item: Issue,
        first: int | None = None,
        last: int | None = None,
        after: str | None = None,
        before: str | None = None,
    ) -> Json:
        """The history of the body, newest first; once it was edited, its oldest entry is the text as opened."""
        history = [(item.created_at, item.user), *item.body_edits] if item.body_edits else []
        entries: list[Json] = [
            {
                "__typename": "UserContentEdit",
                "id": f"{item.node_id}-{number}",
                "createdAt": present.time(at),
                "editedAt": present.time(at),
                "editor": self.account(who),
            }
            for number, (at, who) in enumerate(history)
        ]
        entries.reverse()
        end = int(base64.b64decode(before)) if before else len(entries)
        start = max(end - last, 0) if last is not None else 0
        return connection(
            entries[:end], first or (end - start), after or base64.b64encode(str(start).encode()).decode()
        )

    def _pull(self, item: Issue) -> Json:
        payload = self.hub.pulls.payload(item)
        head, base = payload["head"], payload["base"]
        assert isinstance(head, dict)
        assert isinstance(base, dict)
        words: dict[object, str] = {True: "MERGEABLE", False: "CONFLICTING"}
        mergeable = words.get(payload.get("mergeable"), "UNKNOWN")  # null: not computed yet
        return self._shared(item) | {
            "__typename": "PullRequest",
            "state": "MERGED" if item.merged_at is not None else item.state.upper(),
            "isDraft": item.draft,
            "merged": item.merged_at is not None,
            "mergedAt": present.maybe_time(item.merged_at),
            "mergeable": mergeable,
            "baseRefName": base["ref"],
            "headRefName": head["ref"],
            "headRefOid": head["sha"],
            "headRepository": lambda _info: self._side(head),
            "baseRepository": lambda _info: self._side(base),
            "mergeCommit": lambda _info: self._merge_commit(item, payload),
        }

    def _side(self, side: Json) -> Json | None:
        """The repository of one side, if it is there and the caller may see it."""
        shown = side["repo"]
        found = self.hub.repositories.get(shown["id"]) if isinstance(shown, dict) else None
        return self.repository(found) if found is not None and self.actor.can_see(found) else None

    async def _merge_commit(self, item: Issue, payload: Json) -> Json | None:
        sha = payload.get("merge_commit_sha")
        if item.merged_at is None or not isinstance(sha, str):
            return None
        return self.git_object(await self.hub.git.lookup(item.repo, sha))

    def comment(self, item: Comment) -> Json:
        """An IssueComment."""
        return {
            "__typename": "IssueComment",
            "id": item.node_id,
            "databaseId": item.id,
            "fullDatabaseId": str(item.id),
            "reactionGroups": lambda _info: reaction_groups(CONTENT, item.reactions, self.actor.user),
            "body": item.body,
            "lastEditedAt": present.time(item.edited[0]) if item.edited else None,
            "editor": self.account(item.edited[1]) if item.edited else None,
            "author": lambda _info: self.account(item.user),
            "url": present.comment(self.hub, item)["html_url"],
            "createdAt": present.time(item.created_at),
            "updatedAt": present.time(item.updated_at),
            "isMinimized": item.minimized_reason is not None,
            "minimizedReason": item.minimized_reason,
            "issue": lambda _info: self.issue(item.issue),
        }

    def reaction(self, item: Reaction) -> Json:
        """A Reaction."""
        names = {rest: name for name, rest in CONTENT.items()}
        return {
            "__typename": "Reaction",
            "id": item.node_id,
            "content": names[item.content],
            "createdAt": present.time(item.created_at),
        }

    def git_object(self, item: GitObject | None) -> Json | None:
        """A Commit, Tree, Blob or Tag."""
        if item is None:
            return None
        return {
            "__typename": item.kind.capitalize(),
            "id": self.hub.node_id("GO", int(item.oid[:12], 16)),
            "oid": item.oid,
            "abbreviatedOid": item.oid[:7],
            "message": item.message,
            "text": item.text,
            "isBinary": item.text is None,
            "byteSize": item.byte_size,
        }

    def repository(self, repo: Repository) -> Json:
        """A Repository."""

        def issue(_info: Info, number: int) -> Json | None:
            return self._numbered(repo, number, is_pull=False)

        def pull(_info: Info, number: int) -> Json | None:
            return self._numbered(repo, number, is_pull=True)

        def issues(_info: Info, **arguments: object) -> Json:
            return self._issues(repo, **arguments)  # type: ignore[arg-type]  # checked by the schema

        def pulls(_info: Info, **arguments: object) -> Json:
            return self._pulls(repo, **arguments)  # type: ignore[arg-type]  # checked by the schema

        def label(_info: Info, name: str) -> Json | None:
            found = repo.labels.get(name.lower())
            return None if found is None else self.label(found)

        async def ref(_info: Info, qualifiedName: str) -> Json | None:  # noqa: N803 - the schema's name
            return await self._ref(repo, qualifiedName)

        async def git_object(_info: Info, oid: str | None = None, expression: str | None = None) -> Json | None:
            self.actor.require(repo, "contents", "read")
            return self.git_object(await self.hub.git.lookup(repo, oid or expression or "HEAD"))

        def default_branch(info: Info) -> Awaitable[Json | None]:
            return ref(info, f"refs/heads/{repo.default_branch}")

        return {
            "__typename": "Repository",
            "id": repo.node_id,
            "databaseId": repo.id,
            "name": repo.name,
            "nameWithOwner": repo.full_name,
            "url": f"{self.hub.html_url}/{repo.full_name}",
            "isPrivate": repo.private,
            "isArchived": repo.archived,
            "owner": lambda _info: self.account(repo.owner),
            "defaultBranchRef": default_branch,
            "issue": issue,
            "issues": issues,
            "pullRequest": pull,
            "pullRequests": pulls,
            "ref": ref,
            "object": git_object,
            "label": label,
        }

    def _numbered(self, repo: Repository, number: int, *, is_pull: bool) -> Json | None:
        item = repo.issues.get(number)
        gone = item is None or item.deleted or item.transferred_to is not None
        if gone or item is None or item.is_pull is not is_pull:
            kind = "a PullRequest" if is_pull else "an Issue"
            raise not_found(f"Could not resolve to {kind} with the number of {number}.")
        permission = "pull_requests" if is_pull else "issues"
        self.actor.require(repo, permission, "read", role=Role.READ)
        return self.issue(item)

    def _issues(
        self,
        repo: Repository,
        first: int | None = None,
        after: str | None = None,
        states: list[str] | None = None,
        labels: list[str] | None = None,
        orderBy: dict[str, str] | None = None,  # noqa: N803 - the schema's name
    ) -> Json:
        self.actor.require(repo, "issues", "read", role=Role.READ)
        found = [
            x
            for x in repo.issues.values()
            if not (x.is_pull or x.deleted or x.transferred_to)
            and (states is None or x.state.upper() in states)
            and (labels is None or any(x.label(name) for name in labels))
        ]
        return connection([self.issue(x) for x in in_order(found, orderBy)], first, after)

    def _pulls(
        self,
        repo: Repository,
        first: int | None = None,
        after: str | None = None,
        headRefName: str | None = None,  # noqa: N803 - the schema's name
        states: list[str] | None = None,
        orderBy: dict[str, str] | None = None,  # noqa: N803 - the schema's name
    ) -> Json:
        self.actor.require(repo, "pull_requests", "read", role=Role.READ)

        found = in_order(pulls_of(repo, states, headRefName, lambda x: self.hub.pulls.of_issue(x).head_ref), orderBy)
        return connection([self._pull(x) for x in found], first, after)

    async def _ref(self, repo: Repository, name: str) -> Json | None:
        self.actor.require(repo, "contents", "read")
        refs = await self.hub.git.refs(repo)
        for full in (name, f"refs/heads/{name}", f"refs/tags/{name}"):
            if full in refs:
                oid = refs[full]
                prefix, _, short = full.rpartition("/")
                if full.startswith(("refs/heads/", "refs/tags/")):
                    kind = "/".join(full.split("/")[:2])
                    prefix, short = kind, full[len(kind) + 1 :]

                async def target(_info: Info) -> Json | None:
                    return self.git_object(await self.hub.git.lookup(repo, oid))  # noqa: B023 - returned at once

                return {
                    "__typename": "Ref",
                    "id": self.hub.node_id("REF", int(oid[:12], 16)),
                    "name": short,
                    "prefix": f"{prefix}/",
                    "target": target,
                }
        return None

    # Nodes

    def show(self, record: object) -> Json:
        """Any record that has a node id."""
        match record:
            case Repository():
                return self.repository(record)
            case Issue():
                return self.issue(record)
            case Comment():
                return self.comment(record)
            case Label():
                return self.label(record)
            case Account():
                return self.account(record)
            case _:
                raise not_found("Could not resolve to a node")

    def visible(self, record: object) -> bool:
        """Whether the caller may know of the record."""
        match record:
            case Repository():
                return self.actor.can_see(record)
            case Issue():
                return record.transferred_to is None and self.actor.can_see(record.repo)
            case Comment():
                return self.actor.can_see(record.issue.repo)
            case Label():
                return any(self.actor.can_see(x) for x in self.hub.repositories.values() if record in x.labels.values())
            case _:
                return True

    def resolve(self, node_id: str) -> object:
        """The record of a node id. Raises ApiError 404 in GraphQL's words."""
        record = self.hub.nodes.get(node_id)
        if record is None or not self.visible(record):
            raise not_found(f"Could not resolve to a node with the global id of '{node_id}'")
        return record
