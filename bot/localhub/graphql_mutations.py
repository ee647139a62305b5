"""GraphQL mutations, each with the same effect and webhook as its REST sibling.

Promise: permissions are checked per mutation; `updateRefs` is all or nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from bot.localhub.graphql_view import CONTENT, Info, View
from bot.localhub.http import ApiError, not_found
from bot.localhub.model import Account, Comment, Issue, Json, Label, Repository, Role
from bot.localhub.ports import RefUpdate

Work = Callable[[Json], Awaitable[Json]]


@dataclass(frozen=True)
class Mutations:
    """The mutations of one request."""

    view: View

    def table(self) -> dict[str, Callable[..., Awaitable[Json]]]:
        """Field name to resolver."""
        work: dict[str, Work] = {
            "updateRefs": self.update_refs,
            "addLabelsToLabelable": self.add_labels,
            "removeLabelsFromLabelable": self.remove_labels,
            "addAssigneesToAssignable": self.add_assignees,
            "removeAssigneesFromAssignable": self.remove_assignees,
            "addComment": self.add_comment,
            "updateIssueComment": self.update_comment,
            "addReaction": self.add_reaction,
            "minimizeComment": self.minimize_comment,
            "markPullRequestReadyForReview": self.mark_ready,
            "convertPullRequestToDraft": self.convert_to_draft,
            "deleteIssue": self.delete_issue,
            "transferIssue": self.transfer_issue,
            "closeIssue": self.close_issue,
            "reopenIssue": self.reopen_issue,
        }
        return {name: _resolver(x) for name, x in work.items()}

    def _need(self, item: Issue, role: Role) -> None:
        repo, kind = item.repo, "pull_requests" if item.is_pull else "issues"
        self.view.actor.require(repo, kind, "write", role=role)
        _not_archived(repo)

    def _issue(self, node_id: object, role: Role, *, pull: bool | None = None) -> Issue:
        found = self.view.resolve(str(node_id))
        if not isinstance(found, Issue) or (pull is not None and found.is_pull is not pull):
            raise not_found(f"Could not resolve to a node with the global id of '{node_id}'")
        self._need(found, role)
        return found

    def _comment(self, node_id: object) -> Comment:
        found = self.view.resolve(str(node_id))
        if not isinstance(found, Comment):
            raise not_found(f"Could not resolve to a node with the global id of '{node_id}'")
        own = found.user is self.view.actor.account
        self._need(found.issue, Role.READ if own else Role.WRITE)
        return found

    def _repository(self, node_id: object) -> Repository:
        found = self.view.resolve(str(node_id))
        if not isinstance(found, Repository):
            raise not_found(f"Could not resolve to a node with the global id of '{node_id}'")
        return found

    def _labels(self, item: Issue, ids: object) -> list[str]:
        names = []
        for node_id in cast("list[str]", ids):
            label = self.view.resolve(node_id)
            if not isinstance(label, Label) or label not in item.repo.labels.values():
                raise not_found(f"Could not resolve to a node with the global id of '{node_id}'")
            names.append(label.name)
        return names

    def _logins(self, ids: object) -> list[str]:
        people = [self.view.resolve(x) for x in cast("list[str]", ids)]
        return [x.login for x in people if isinstance(x, Account)]

    async def update_refs(self, given: Json) -> Json:
        """Move, create and delete several refs in one step."""
        repo = self._repository(given["repositoryId"])
        self.view.actor.require(repo, "contents", "write")
        _not_archived(repo)
        updates = [
            RefUpdate(
                str(x["name"]),
                None if x.get("beforeOid") is None else str(x["beforeOid"]),
                str(x["afterOid"]),
                bool(x.get("force", False)),
            )
            for x in cast("list[Json]", given["refUpdates"])
        ]
        await self.view.hub.git.update_refs(repo, updates, self.view.actor)
        return {}

    async def add_labels(self, given: Json) -> Json:
        """Labels by node id: they must exist."""
        item = self._issue(given["labelableId"], Role.TRIAGE)
        names = self._labels(item, given["labelIds"])
        self.view.hub.labels.add(item, names, self.view.actor)
        return {"labelable": self.view.issue(item)}

    async def remove_labels(self, given: Json) -> Json:
        """Unlike REST, an absent label is no error."""
        item = self._issue(given["labelableId"], Role.TRIAGE)
        for name in self._labels(item, given["labelIds"]):
            if item.label(name) is not None:
                self.view.hub.labels.remove(item, name, self.view.actor)
        return {"labelable": self.view.issue(item)}

    async def add_assignees(self, given: Json) -> Json:
        """Who can't be assigned is dropped."""
        item = self._issue(given["assignableId"], Role.TRIAGE)
        logins = self._logins(given["assigneeIds"])
        self.view.hub.issues.assign(item, logins, self.view.actor)
        return {"assignable": self.view.issue(item)}

    async def remove_assignees(self, given: Json) -> Json:
        """Take assignees away."""
        item = self._issue(given["assignableId"], Role.TRIAGE)
        logins = self._logins(given["assigneeIds"])
        self.view.hub.issues.unassign(item, logins, self.view.actor)
        return {"assignable": self.view.issue(item)}

    async def add_comment(self, given: Json) -> Json:
        """A comment on an issue or pull request."""
        item = self._issue(given["subjectId"], Role.READ)
        comment = self.view.hub.comments.create(item, given["body"], self.view.actor)
        return {
            "commentEdge": {"node": self.view.comment(comment)},
            "subject": self.view.issue(item),
        }

    async def update_comment(self, given: Json) -> Json:
        """Edit a comment."""
        comment = self._comment(given["id"])
        self.view.hub.comments.edit(comment, given["body"], self.view.actor)
        return {"issueComment": self.view.comment(comment)}

    async def add_reaction(self, given: Json) -> Json:
        """React to an issue, pull request or comment."""
        target = self.view.resolve(str(given["subjectId"]))
        if isinstance(target, Comment):
            self._need(target.issue, Role.READ)
        elif isinstance(target, Issue):
            self._need(target, Role.READ)
        else:
            raise not_found("Could not resolve to a Reactable")
        content = CONTENT[str(given["content"])]
        reaction, _ = self.view.hub.comments.react(target, content, self.view.actor)
        return {"reaction": self.view.reaction(reaction), "subject": self.view.show(target)}

    async def minimize_comment(self, given: Json) -> Json:
        """Hide a comment behind a reason."""
        comment = self._comment(given["subjectId"])
        comment.minimized_reason = str(given["classifier"]).lower().replace("_", "-")
        return {"minimizedComment": self.view.comment(comment)}

    async def mark_ready(self, given: Json) -> Json:
        """End a draft."""
        item = self._issue(given["pullRequestId"], Role.WRITE, pull=True)
        await self.view.hub.pulls.set_draft(item, False, self.view.actor)
        return {"pullRequest": self.view.issue(item)}

    async def convert_to_draft(self, given: Json) -> Json:
        """Back to a draft."""
        item = self._issue(given["pullRequestId"], Role.WRITE, pull=True)
        await self.view.hub.pulls.set_draft(item, True, self.view.actor)
        return {"pullRequest": self.view.issue(item)}

    async def delete_issue(self, given: Json) -> Json:
        """For administrators; an App needs more than it can have."""
        item = self._issue(given["issueId"], Role.ADMIN, pull=False)
        if self.view.actor.is_app:
            raise ApiError(403, "Resource not accessible by integration")
        self.view.hub.issues.delete(item, self.view.actor)
        return {"repository": self.view.repository(item.repo)}

    async def transfer_issue(self, given: Json) -> Json:
        """To another repository of the same owner."""
        item = self._issue(given["issueId"], Role.WRITE, pull=False)
        target = self._repository(given["repositoryId"])
        self.view.actor.require(target, "issues", "write", role=Role.WRITE)
        _not_archived(target)
        moved = self.view.hub.issues.transfer(item, target, self.view.actor)
        return {"issue": self.view.issue(moved)}

    async def close_issue(self, given: Json) -> Json:
        """Close with a reason."""
        item = self._issue(given["issueId"], Role.TRIAGE, pull=False)
        reason = given.get("stateReason")
        self.view.hub.issues.set_state(item, "closed", self.view.actor, reason=str(reason).lower() if reason else None)
        return {"issue": self.view.issue(item)}

    async def reopen_issue(self, given: Json) -> Json:
        """Open again."""
        item = self._issue(given["issueId"], Role.TRIAGE, pull=False)
        self.view.hub.issues.set_state(item, "open", self.view.actor)
        return {"issue": self.view.issue(item)}


def _not_archived(repo: Repository) -> None:
    if repo.archived:
        raise ApiError(403, "Repository was archived so is read-only.")


def _resolver(work: Work) -> Callable[..., Awaitable[Json]]:
    async def resolve(_info: Info, input: Json) -> Json:  # noqa: A002 - the schema's name
        return {"clientMutationId": input.get("clientMutationId")} | await work(input)

    return resolve
