"""`show`: all visible changes of an item in one request where GitHub allows it, by single REST calls where it does not.

Promises: one GraphQL mutation per call in the ordinary case; a label the repository does not have yet is created by
one REST call. What failed is named field by field, and what was answered (assignees, comment text) is GitHub's word,
not our wish. Every change is idempotent, so a caller whose answer was lost may call again.

Races: a remembered node id may be stale (a label was deleted and made anew, or renamed); the field is then done by
REST and the ids of the repository are forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, assert_never

from cachetools import TTLCache

from bot.domain.model import IssueKey, RepoKey
from bot.errors import Conflict, Forbidden, Invalid, NotFound, RateLimited, Suspended
from bot.github.answers import GraphqlError, Refusal, classify_graphql, error_of
from bot.github.base import Vars
from bot.github.batch import Nodes, Part, compile_batch, parts_of
from bot.github.calls import call
from bot.github.clients import Clients
from bot.github.gateway_issues import MAX_NODES, check_text
from bot.github.gateway_pulls import PullVerbs
from bot.github.limits import Lane
from bot.github.shapes import CommentShape, UserShape
from bot.protocols.github import Visible, VisibleOutcome

NODE_TTL = 3600.0
"""Seconds a looked-up node id is trusted: ids last, but a label can be deleted and made anew under its name."""

OF_ONE_PART = frozenset({Refusal.NOT_FOUND, Refusal.FORBIDDEN, Refusal.CONFLICT, Refusal.INVALID})
"""Refusals that say something about the part they name; any other (a hiccup, a limit) says nothing about it."""

COMMENT_ID = "query($id: ID!) { node(id: $id) { ... on IssueComment { databaseId } } }"


class _Shown:
    """What came back so far."""

    def __init__(self) -> None:
        self.assignees: tuple[str, ...] | None = None
        self.comment_body: str | None = None
        self.failed: dict[Part, str] = {}

    def outcome(self) -> VisibleOutcome:
        failed = tuple((str(part), message) for part, message in self.failed.items())
        return VisibleOutcome(self.assignees, self.comment_body, failed)


class ShowVerbs(PullVerbs):
    """The verb that shows an item to people."""

    def __init__(self, clients: Clients, names: Callable[[RepoKey], Awaitable[str]]) -> None:
        super().__init__(clients, names)

        def seconds() -> float:
            return clients.clock.now().timestamp()

        self._repo_nodes: TTLCache[RepoKey, str] = TTLCache(MAX_NODES, NODE_TTL, timer=seconds)
        self._user_nodes: TTLCache[str, str] = TTLCache(MAX_NODES, NODE_TTL, timer=seconds)

    async def show(self, repo: RepoKey, visible: Visible) -> VisibleOutcome:
        """Raises GitHubError kinds only when nothing of it can be known to have happened."""
        if visible.comment_body is not None:
            check_text(visible.comment_body, "POST graphql:show")
        shown = _Shown()
        parts = parts_of(visible)
        if parts:
            by_rest = await self._by_graphql(repo, visible, shown)
            for part in parts:
                if part in by_rest:
                    await self._by_rest(repo, visible, part, shown)
        return shown.outcome()

    # --- GraphQL

    async def _by_graphql(self, repo: RepoKey, visible: Visible, shown: _Shown) -> tuple[Part, ...]:
        """Sends the batch; returns the parts that are left for REST."""
        try:
            batch, left = compile_batch(visible, await self._nodes(repo, visible))
            if batch is None:
                return left
            answer = await self._client(repo.installation).graphql_call(
                batch.document, batch.variables, label="show", lane=Lane.WORDS
            )
        except NotFound:
            return parts_of(visible)  # a server without GraphQL; a missing issue shows itself again by REST
        if any(error.unknown_field for error in answer.errors):
            return parts_of(visible)  # refused as a whole: the server lacks one of the mutations
        stale = self._note(repo, visible, answer.data, answer.errors, shown)
        return (*left, *stale)

    def _note(
        self,
        repo: RepoKey,
        visible: Visible,
        data: Any,
        errors: tuple[GraphqlError, ...],
        shown: _Shown,
    ) -> tuple[Part, ...]:
        """Takes over what was answered; returns the parts whose node ids turned out to be stale."""
        stale: list[Part] = []
        for error in errors:
            part = Part(error.field) if error.field in set(Part) else None
            refusal = classify_graphql(error)
            if part is None or refusal not in OF_ONE_PART:
                raise error_of(refusal, error.message, status=HTTPStatus.OK, request="POST graphql:show", write=True)
            if refusal is Refusal.NOT_FOUND and part in {Part.ADD_LABELS, Part.ASSIGN, Part.UNASSIGN}:
                self._forget_nodes(repo, visible)
                stale.append(part)
            else:
                shown.failed[part] = error.message
        for part in (Part.UNASSIGN, Part.ASSIGN):
            nodes = _dig(data, part, "assignable", "assignees", "nodes")
            if isinstance(nodes, list):
                shown.assignees = tuple(node["login"] for node in nodes if isinstance(node, dict) and "login" in node)
        body = _dig(data, Part.COMMENT_BODY, "issueComment", "body")
        if isinstance(body, str):
            shown.comment_body = body
        if Part.ADD_LABELS not in stale and self._renamed(visible, data):
            # A remembered id is of a label that has another name now: the wanted one is made anew.
            self._forget_nodes(repo, visible)
            stale.append(Part.ADD_LABELS)
        return tuple(stale)

    @staticmethod
    def _renamed(visible: Visible, data: object) -> bool:
        """Whether a label that was added is not among the issue's labels under its name."""
        nodes = _dig(data, Part.ADD_LABELS, "labelable", "labels", "nodes")
        if not visible.add_labels or not isinstance(nodes, list):
            return False
        there = {str(node["name"]).lower() for node in nodes if isinstance(node, dict) and "name" in node}
        return any(name.lower() not in there for name in visible.add_labels)

    async def _nodes(self, repo: RepoKey, visible: Visible) -> Nodes:
        """The node ids the batch needs, from memory or looked up."""
        labels = {name.lower() for name in (*visible.add_labels, *visible.remove_labels)}
        users = {login.lower() for login in (visible.assign, visible.unassign) if login}
        unknown_labels = sorted(name for name in labels if (repo, name) not in self._label_nodes)
        if unknown_labels or (visible.delete_branch is not None and repo not in self._repo_nodes):
            await self._look_up(repo, unknown_labels)
        await self._make_labels(repo, (name for name in visible.add_labels if name.lower() in unknown_labels))
        for login in users - set(self._user_nodes):
            await self._look_up_user(repo, login)
        return Nodes(
            repository=self._repo_nodes.get(repo),
            labels={name: node for name in labels if (node := self._label_nodes.get((repo, name))) is not None},
            users={login: node for login in users if (node := self._user_nodes.get(login)) is not None},
        )

    async def _look_up(self, repo: RepoKey, labels: list[str]) -> None:
        """Asks for the node ids of the repository and of labels; what does not exist stays unknown."""
        owner, name = await self._name(repo)
        lines = [f"l{i}: label(name: {json.dumps(text)}) {{ id }}" for i, text in enumerate(labels)]
        fields = " ".join(("id databaseId", *lines))
        document = f"query($owner: String!, $name: String!) {{ repository(owner: $owner, name: $name) {{ {fields} }} }}"
        client = self._client(repo.installation)
        answer = await client.graphql_call(document, {"owner": owner, "name": name}, label="nodes")
        number = _dig(answer.data, "repository", "databaseId")
        self._check_repo(repo, number if isinstance(number, int) else None, "POST graphql:nodes")
        found = _dig(answer.data, "repository", "id")
        if isinstance(found, str):
            self._repo_nodes[repo] = found
        for i, text in enumerate(labels):
            if isinstance(node := _dig(answer.data, "repository", f"l{i}", "id"), str):
                self._label_nodes[repo, text] = node

    async def _look_up_user(self, repo: RepoKey, login: str) -> None:
        path = "/users/{username}"
        try:
            answer = await self._client(repo.installation).request(call("GET", path, {"username": login}))
        except NotFound:
            return  # REST will say what is wrong with this assignee
        shape = self._read(UserShape, answer, f"GET {path}")
        if shape.node_id:
            self._user_nodes[login] = shape.node_id

    def _forget_nodes(self, repo: RepoKey, visible: Visible) -> None:
        for name in (*visible.add_labels, *visible.remove_labels):
            self._label_nodes.pop((repo, name.lower()), None)
        for login in (visible.assign, visible.unassign):
            self._user_nodes.pop((login or "").lower(), None)

    # --- REST

    async def _by_rest(self, repo: RepoKey, visible: Visible, part: Part, shown: _Shown) -> None:
        """One part by REST; a refusal of this part is noted, trouble that concerns everything is raised."""
        try:
            await self._part(repo, visible, part, shown)
        except (RateLimited, Suspended):
            raise
        except (NotFound, Forbidden, Conflict, Invalid) as error:
            shown.failed[part] = error.message

    async def _part(self, repo: RepoKey, visible: Visible, part: Part, shown: _Shown) -> None:
        key = IssueKey(repo.installation, repo.repo, visible.number)
        match part:
            case Part.ADD_LABELS:
                await self._add_labels(key, visible.add_labels, Lane.WORDS)
            case Part.REMOVE_LABELS:
                for label in visible.remove_labels:
                    await self.remove_label(key, label)
            case Part.ASSIGN:
                shown.assignees = await self._assignees(key, "POST", visible.assign)
            case Part.UNASSIGN:
                shown.assignees = await self._assignees(key, "DELETE", visible.unassign)
            case Part.COMMENT_BODY:
                shown.comment_body = await self._edit_comment(repo, visible)
            case Part.READY_PULL_NODE:
                raise Invalid("this server offers no way to mark a draft ready")
            case Part.DELETE_BRANCH:
                await self._delete_branch(repo, visible)
            case _:
                assert_never(part)

    async def _assignees(self, key: IssueKey, method: str, login: str | None) -> tuple[str, ...]:
        path = "/issues/{issue_number}/assignees"
        vars_: Vars = {"issue_number": key.number}
        answer = await self._send(key.repo_key, method, path, vars_, body={"assignees": [login]}, lane=Lane.WORDS)
        raw = answer.data.get("assignees") if isinstance(answer.data, dict) else None
        return tuple(user["login"] for user in raw or [] if isinstance(user, dict) and "login" in user)

    async def _edit_comment(self, repo: RepoKey, visible: Visible) -> str:
        path = "/issues/comments/{comment_id}"
        comment = await self._comment_number(repo, visible.comment_node or "")
        body = {"body": visible.comment_body}
        answer = await self._send(repo, "PATCH", path, {"comment_id": comment}, body=body, lane=Lane.WORDS)
        return self._read(CommentShape, answer, f"PATCH {path}").body or ""

    async def _comment_number(self, repo: RepoKey, node: str) -> int:
        """REST knows comments by number, `Visible` by node id."""
        known = self._comment_ids.get(node)
        if known is not None:
            return known
        answer = await self._client(repo.installation).graphql_call(COMMENT_ID, {"id": node}, label="comment id")
        found = _dig(answer.data, "node", "databaseId")
        if not isinstance(found, int):
            raise NotFound("there is no such comment", status=404, request="POST graphql:comment id")
        return found

    async def _delete_branch(self, repo: RepoKey, visible: Visible) -> None:
        """Deletes by REST only while the branch is where it was expected; REST can't compare and delete in one step,
        so a push between the two calls would be lost. Servers with `updateRefs` never come here."""
        if visible.delete_branch is None:
            return
        branch, expected = visible.delete_branch
        there = await self.head(repo, branch)
        if there is None:
            return
        if there != expected:
            raise Conflict("the branch has moved")
        await self._send(repo, "DELETE", "/git/refs/heads{/branch*}", {"branch": branch.split("/")}, lane=Lane.WORDS)


def _dig(data: object, *path: str) -> object:
    """The value at a path of nested objects, None when any step is missing."""
    for step in path:
        if not isinstance(data, dict):
            return None
        data = data.get(step)
    return data
