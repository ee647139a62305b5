"""Issues: opening, editing, closing, assigning, locking, deleting and transferring them.

Promise: every change is recorded as an issue event with its actor and sends the webhook the real
service sends; a change that changes nothing sends nothing. Pull requests share the record: for
them the webhook is `pull_request`. Callers have checked permissions; what is checked here is what
the real service validates or silently drops.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.localhub import present
from bot.localhub.actor import Actor, role_on
from bot.localhub.http import ApiError, invalid
from bot.localhub.model import Account, AccountType, Issue, IssueEvent, Json, Repository, Role

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

MAX_BODY_BYTES = 262_144
"""The limit that acts, although the message names 65,536 characters."""
BODY_TOO_LONG = "body is too long (maximum is 65536 characters)"
MAX_TITLE = 256
"""Characters of a title."""
MAX_ASSIGNEES = 10
"""More assignees than this are dropped."""


def clean_body(body: str | None) -> str | None:
    """A body as stored; None stays None. Raises ApiError 422 if it is too long."""
    if body is not None and len(body.encode()) > MAX_BODY_BYTES:
        raise invalid("Issue", "body", "custom", message=BODY_TOO_LONG)
    return body


def clean_title(title: object) -> str:
    """A title. Raises ApiError 422 for a missing, blank or over-long one."""
    if not isinstance(title, str) or not title.strip():
        raise invalid("Issue", "title", "missing_field")
    if len(title) > MAX_TITLE:
        message = f"title is too long (maximum is {MAX_TITLE} characters)"
        raise invalid("Issue", "title", "custom", message=message)
    return title.strip()


@dataclass
class Issues:
    """The issue operations of a hub."""

    hub: Hub

    def record(
        self,
        item: Issue,
        event: str,
        actor: Actor,
        data: Json | None = None,
        commit_id: str | None = None,
    ) -> IssueEvent:
        """Append an event to the issue's list and touch its `updated_at`."""
        number = self.hub.new_id()
        entry = IssueEvent(
            number,
            self.hub.node_id("LE", number),
            event,
            actor.user,
            actor.via_app,
            self.hub.now(),
            dict(data or {}),
            commit_id,
        )
        item.events.append(entry)
        item.updated_at = entry.created_at
        return entry

    def emit(self, item: Issue, action: str, actor: Actor, extra: Json | None = None) -> None:
        """Send `issues.<action>`, or `pull_request.<action>` for a pull request."""
        if item.is_pull:
            payload: Json = {"number": item.number, "pull_request": self.hub.pulls.payload(item)}
            event = "pull_request"
        else:
            payload, event = {"issue": present.issue(self.hub, item)}, "issues"
        self.hub.emit(event, action, item.repo, actor.user, payload | (extra or {}))

    def create_record(
        self, repo: Repository, title: str, body: str | None, actor: Actor, *, is_pull: bool = False
    ) -> Issue:
        """Take the next number and store the record, without any webhook."""
        number, now = self.hub.new_id(), self.hub.now()
        item = Issue(
            id=number,
            node_id=self.hub.node_id("PR" if is_pull else "I", number),
            number=repo.next_number,
            repo=repo,
            title=title,
            body=body,
            user=actor.user,
            app=actor.via_app,
            created_at=now,
            updated_at=now,
            is_pull=is_pull,
        )
        repo.next_number += 1
        repo.issues[item.number] = self.hub.nodes[item.node_id] = item
        return item

    def open(
        self,
        repo: Repository,
        title: str,
        body: str | None = None,
        *,
        actor: Actor,
        labels: Iterable[str] = (),
        assignees: Iterable[str] = (),
    ) -> Issue:
        """Open an issue. Labels and assignees are dropped for people who may not set them."""
        item = self.create_record(repo, clean_title(title), clean_body(body), actor)
        allowed = actor.may(repo, "issues", "write", role=Role.TRIAGE)
        names = list(labels) if allowed else []
        added = self.hub.labels.attach(item, names, actor)
        people = self._attach(item, assignees, actor) if allowed else []
        self.emit(item, "opened", actor)
        for label in added:
            self.hub.labels.emit_change(item, "labeled", label, actor)
        for person in people:
            self._emit_assignee(item, "assigned", person, actor)
        return item

    def edit(self, item: Issue, actor: Actor, *, title: str | None = None, body: str | None = None) -> None:
        """Change title or body. An over-long body is silently ignored, as the real service does."""
        changes: Json = {}
        if title is not None and (title := clean_title(title)) != item.title:
            changes["title"] = {"from": item.title}
            self.record(item, "renamed", actor, {"rename": {"from": item.title, "to": title}})
            item.title = title
        if body is not None and body != item.body and len(body.encode()) <= MAX_BODY_BYTES:
            changes["body"] = {"from": item.body or ""}
            item.body, item.updated_at = body, self.hub.now()
            item.body_edits.append((item.updated_at, actor.user))
        if changes:
            self.emit(item, "edited", actor, {"changes": changes})

    def set_state(
        self,
        item: Issue,
        state: str,
        actor: Actor,
        *,
        reason: str | None = None,
        commit_id: str | None = None,
    ) -> None:
        """Close or reopen an issue (not a pull request). Raises ApiError 422 for other words."""
        if state not in ("open", "closed"):
            raise invalid("Issue", "state")
        if state == item.state:
            if state == "closed" and reason is not None:
                item.state_reason = reason
            return
        item.state = state
        if state == "closed":
            item.state_reason = reason or "completed"
            item.closed_at, item.closed_by = self.hub.now(), actor.user
            data: Json = {"state_reason": item.state_reason}
            self.record(item, "closed", actor, data, commit_id)
            self.emit(item, "closed", actor)
        else:
            item.state_reason = "reopened"
            item.closed_at = item.closed_by = None
            self.record(item, "reopened", actor)
            self.emit(item, "reopened", actor)

    # Assignees

    def assignable(self, repo: Repository, account: Account, item: Issue | None = None) -> bool:
        """People with write access, members, commenters and the author; never an App's bot."""
        if account.type is not AccountType.USER:
            return False
        if role_on(repo, account) >= Role.TRIAGE or account.id in repo.owner.members:
            return True
        if account.id in repo.collaborators:
            return True
        return item is not None and (item.user is account or any(x.user is account for x in item.comments))

    def _attach(self, item: Issue, logins: Iterable[str], actor: Actor) -> list[Account]:
        added = []
        for login in logins:
            person = self.hub.find_account(login)
            if person is None or person in item.assignees or len(item.assignees) >= MAX_ASSIGNEES:
                continue
            if not self.assignable(item.repo, person, item):
                continue
            item.assignees.append(person)
            self.record(item, "assigned", actor, self._assignee_data(person, actor))
            added.append(person)
        return added

    def _assignee_data(self, person: Account, actor: Actor) -> Json:
        return {
            "assignee": present.simple_user(self.hub, person),
            "assigner": present.simple_user(self.hub, actor.user),
        }

    def _emit_assignee(self, item: Issue, action: str, person: Account, actor: Actor) -> None:
        extra: Json = {"assignee": present.simple_user(self.hub, person)}
        self.emit(item, action, actor, extra)

    def assign(self, item: Issue, logins: Iterable[str], actor: Actor) -> None:
        """Add assignees; who can't be assigned is dropped without a word."""
        for person in self._attach(item, logins, actor):
            self._emit_assignee(item, "assigned", person, actor)

    def unassign(self, item: Issue, logins: Iterable[str], actor: Actor) -> None:
        """Remove assignees; who is not assigned is ignored."""
        wanted = {x.lower() for x in logins}
        for person in [x for x in item.assignees if x.login.lower() in wanted]:
            item.assignees.remove(person)
            self.record(item, "unassigned", actor, self._assignee_data(person, actor))
            self._emit_assignee(item, "unassigned", person, actor)

    def set_assignees(self, item: Issue, logins: Iterable[str], actor: Actor) -> None:
        """Replace the assignees."""
        wanted = list(logins)
        lower = {x.lower() for x in wanted}
        self.unassign(item, [x.login for x in item.assignees if x.login.lower() not in lower], actor)
        self.assign(item, wanted, actor)

    # Lock, delete, transfer

    def lock(self, item: Issue, reason: str | None, actor: Actor) -> None:
        """Lock the conversation; locking again only changes the reason."""
        was, item.locked, item.lock_reason = item.locked, True, reason
        if not was:
            self.record(item, "locked", actor, {"lock_reason": reason})
            self.emit(item, "locked", actor)

    def unlock(self, item: Issue, actor: Actor) -> None:
        """Unlock the conversation."""
        was, item.locked, item.lock_reason = item.locked, False, None
        if was:
            self.record(item, "unlocked", actor)
            self.emit(item, "unlocked", actor)

    def delete(self, item: Issue, actor: Actor) -> None:
        """Delete for good; its number answers 410 from now on."""
        if item.is_pull:
            raise ApiError(422, "Pull requests cannot be deleted")
        self.emit(item, "deleted", actor)
        item.deleted = True
        self.hub.nodes.pop(item.node_id, None)

    def transfer(self, item: Issue, target: Repository, actor: Actor) -> Issue:
        """Move to another repository of the same owner; the old address answers 301."""
        if item.is_pull or target.owner is not item.repo.owner or target is item.repo:
            raise ApiError(422, "Issue cannot be transferred to this repository")
        copy = self.create_record(target, item.title, item.body, actor)
        copy.user, copy.app, copy.created_at = item.user, item.app, item.created_at
        copy.comments, copy.events = item.comments, item.events
        for comment in copy.comments:
            comment.issue = copy
        kept = [x.name for x in item.labels if x.name.lower() in target.labels]
        copy.labels = [target.labels[x.lower()] for x in kept]
        changes: Json = {
            "new_issue": present.issue(self.hub, copy),
            "new_repository": present.repository(self.hub, target),
        }
        self.emit(item, "transferred", actor, {"changes": changes})
        item.transferred_to = copy
        self.record(copy, "transferred", actor)
        origin: Json = {
            "old_issue": present.issue(self.hub, item),
            "old_repository": present.repository(self.hub, item.repo),
        }
        self.emit(copy, "opened", actor, {"changes": origin})
        return copy
