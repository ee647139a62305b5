"""Comments and reactions.

Promise: a blank or over-long body is 422; an edit carries the former body in its webhook; a
reaction exists once per account, and giving it again says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.localhub import present
from bot.localhub.actor import Actor
from bot.localhub.http import ApiError, invalid
from bot.localhub.issues import BODY_TOO_LONG, MAX_BODY_BYTES
from bot.localhub.model import Comment, Issue, Json, Reaction, Role

if TYPE_CHECKING:
    from bot.localhub.hub import Hub


def clean_comment(body: object) -> str:
    """A comment's body. Raises ApiError 422 for a blank or over-long one."""
    if not isinstance(body, str) or not body.strip():
        raise invalid("IssueComment", "body", "unprocessable", data="Body can't be blank")
    if len(body.encode()) > MAX_BODY_BYTES:
        raise invalid("IssueComment", "body", "unprocessable", message=BODY_TOO_LONG)
    return body


@dataclass
class Comments:
    """The comment operations of a hub."""

    hub: Hub

    def create(self, item: Issue, body: object, actor: Actor) -> Comment:
        """Comment on an issue or pull request. Raises ApiError 422, 403 on a locked one."""
        text = clean_comment(body)
        if item.locked and not actor.may(item.repo, "issues", "write", role=Role.TRIAGE):
            raise ApiError(403, "Unable to create comment because issue is locked.")
        number, now = self.hub.new_id(), self.hub.now()
        comment = Comment(
            number,
            self.hub.node_id("IC", number),
            item,
            actor.user,
            actor.via_app,
            text,
            now,
            now,
        )
        item.comments.append(comment)
        item.updated_at = now
        self.hub.nodes[comment.node_id] = comment
        self._emit("created", comment, actor)
        return comment

    def edit(self, comment: Comment, body: object, actor: Actor) -> None:
        """Change the body; the webhook carries what it was."""
        text = clean_comment(body)
        if text == comment.body:
            return
        former, comment.body = comment.body, text
        comment.updated_at = comment.issue.updated_at = self.hub.now()
        comment.edited = (comment.updated_at, actor.user)
        self._emit("edited", comment, actor, {"changes": {"body": {"from": former}}})

    def delete(self, comment: Comment, actor: Actor) -> None:
        """Remove a comment."""
        comment.issue.comments.remove(comment)
        comment.issue.updated_at = self.hub.now()
        self.hub.nodes.pop(comment.node_id, None)
        self._emit("deleted", comment, actor)

    def _emit(self, action: str, comment: Comment, actor: Actor, extra: Json | None = None) -> None:
        payload: Json = {
            "issue": present.issue(self.hub, comment.issue),
            "comment": present.comment(self.hub, comment),
        }
        repo = comment.issue.repo
        self.hub.emit("issue_comment", action, repo, actor.user, payload | (extra or {}))

    def react(self, target: Issue | Comment, content: object, actor: Actor) -> tuple[Reaction, bool]:
        """A reaction and whether it is new. Raises ApiError 422 for an unknown content."""
        if content not in present.REACTIONS or not isinstance(content, str):
            raise invalid("Reaction", "content")
        for known in target.reactions:
            if known.user is actor.user and known.content == content:
                return known, False
        number = self.hub.new_id()
        reaction = Reaction(number, self.hub.node_id("REA", number), actor.user, content, self.hub.now())
        target.reactions.append(reaction)
        return reaction, True
