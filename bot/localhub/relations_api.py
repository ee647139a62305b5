"""REST: what blocks an issue, and what it consists of.

Promise: both ends of a relation change together; a circle and an issue blocking itself are 422;
each change sends its two webhooks, one from each side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.localhub import present
from bot.localhub.actor import Actor
from bot.localhub.http import ApiError, Need, Reply, Request, Route, not_found
from bot.localhub.issues_api import wanted_issue
from bot.localhub.model import Issue, Json, Role

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

READ = (Need("issues", "read"),)
WRITE = (Need("issues", "write"),)
MAX_RELATED = 50
"""Dependencies of one kind an issue can have, and sub-issues times two."""


def _by_id(request: Request, identifier: object) -> Issue:
    for repo in request.hub.repositories.values():
        for item in repo.issues.values():
            if item.id == identifier and not item.deleted and request.actor.can_see(repo):
                return item
    raise not_found()


def _many(request: Request, items: list[Issue]) -> Reply:
    return request.paginate([present.issue(request.hub, x) for x in items if not x.deleted])


def _reaches(start: Issue, goal: Issue) -> bool:
    """Whether `goal` blocks `start`, directly or through others."""
    seen, waiting = set[int](), [start]
    while waiting:
        item = waiting.pop()
        if item is goal:
            return True
        if item.id not in seen:
            seen.add(item.id)
            waiting += item.blocked_by
    return False


def _announce(hub: Hub, change: str, blocked: Issue, blocking: Issue, actor: Actor) -> None:
    both: Json = {
        "blocked_issue_id": blocked.id,
        "blocked_issue": present.issue(hub, blocked),
        "blocking_issue_id": blocking.id,
        "blocking_issue": present.issue(hub, blocking),
    }
    other: Json = {"blocking_issue_repo": present.repository(hub, blocking.repo)}
    event, sender = "issue_dependencies", actor.user
    hub.emit(event, f"blocked_by_{change}", blocked.repo, sender, both | other)
    other = {"blocked_issue_repo": present.repository(hub, blocked.repo)}
    hub.emit(event, f"blocking_{change}", blocking.repo, sender, both | other)


async def list_blocked_by(request: Request) -> Reply:
    """`GET …/dependencies/blocked_by`."""
    return _many(request, wanted_issue(request, "read").blocked_by)


async def list_blocking(request: Request) -> Reply:
    """`GET …/dependencies/blocking`."""
    return _many(request, wanted_issue(request, "read").blocking)


async def add_blocked_by(request: Request) -> Reply:
    """`POST …/dependencies/blocked_by` with `issue_id` (not the number)."""
    item = wanted_issue(request, "write", Role.TRIAGE)
    other = _by_id(request, request.body().get("issue_id"))
    if other in item.blocked_by:
        raise ApiError(422, "Issue dependency already exists")
    if _reaches(other, item):
        raise ApiError(422, "Issue dependency would create a circle")
    if len(item.blocked_by) >= MAX_RELATED or other.is_pull or item.is_pull:
        raise ApiError(422, "Issue dependency cannot be added")
    item.blocked_by.append(other)
    other.blocking.append(item)
    item.updated_at = other.updated_at = request.hub.now()
    _announce(request.hub, "added", item, other, request.actor)
    return Reply(201, present.issue(request.hub, item))


async def remove_blocked_by(request: Request) -> Reply:
    """`DELETE …/dependencies/blocked_by/{issue_id}`."""
    item = wanted_issue(request, "write", Role.TRIAGE)
    other = _by_id(request, request.number("issue_id"))
    if other not in item.blocked_by:
        raise not_found()
    item.blocked_by.remove(other)
    other.blocking.remove(item)
    item.updated_at = other.updated_at = request.hub.now()
    _announce(request.hub, "removed", item, other, request.actor)
    return Reply(200, present.issue(request.hub, item))


async def list_sub_issues(request: Request) -> Reply:
    """`GET …/sub_issues`."""
    return _many(request, wanted_issue(request, "read").sub_issues)


async def get_parent(request: Request) -> Reply:
    """`GET …/parent`."""
    parent = wanted_issue(request, "read").parent
    if parent is None:
        raise not_found()
    return Reply(200, present.issue(request.hub, parent))


def _emit_parts(hub: Hub, change: str, parent: Issue, child: Issue, actor: Actor) -> None:
    both: Json = {
        "parent_issue_id": parent.id,
        "parent_issue": present.issue(hub, parent),
        "sub_issue_id": child.id,
        "sub_issue": present.issue(hub, child),
    }
    of_child: Json = {"sub_issue_repo": present.repository(hub, child.repo)}
    of_parent: Json = {"parent_issue_repo": present.repository(hub, parent.repo)}
    event, sender = "sub_issues", actor.user
    hub.emit(event, f"sub_issue_{change}", parent.repo, sender, both | of_child)
    hub.emit(event, f"parent_issue_{change}", child.repo, sender, both | of_parent)


async def add_sub_issue(request: Request) -> Reply:
    """`POST …/sub_issues` with `sub_issue_id` and `replace_parent`."""
    item, body = wanted_issue(request, "write", Role.TRIAGE), request.body()
    child = _by_id(request, body.get("sub_issue_id"))
    above: Issue | None = item
    while above is not None and above is not child:
        above = above.parent
    if above is not None or child.repo.owner is not item.repo.owner:
        raise ApiError(422, "Sub-issue cannot be added to this issue")
    if child.parent is not None and body.get("replace_parent") is not True:
        raise ApiError(422, "Sub-issue may only have one parent")
    if len(item.sub_issues) >= 2 * MAX_RELATED:
        raise ApiError(422, "Too many sub-issues")
    if child.parent is not None:
        child.parent.sub_issues.remove(child)
        _emit_parts(request.hub, "removed", child.parent, child, request.actor)
    child.parent = item
    item.sub_issues.append(child)
    _emit_parts(request.hub, "added", item, child, request.actor)
    return Reply(201, present.issue(request.hub, item))


async def remove_sub_issue(request: Request) -> Reply:
    """`DELETE …/sub_issue` with `sub_issue_id`."""
    item = wanted_issue(request, "write", Role.TRIAGE)
    child = _by_id(request, request.body().get("sub_issue_id"))
    if child not in item.sub_issues:
        raise not_found()
    item.sub_issues.remove(child)
    child.parent = None
    _emit_parts(request.hub, "removed", item, child, request.actor)
    return Reply(200, present.issue(request.hub, item))


def routes(hub: Hub) -> list[Route]:
    """All routes of this module."""
    one = "/repos/{owner}/{repo}/issues/{issue_number}"
    blocked, triage = f"{one}/dependencies/blocked_by", Role.TRIAGE
    return [
        Route("GET", blocked, list_blocked_by, READ, anyone=True),
        Route("POST", blocked, add_blocked_by, WRITE, triage),
        Route("DELETE", f"{blocked}/{{issue_id}}", remove_blocked_by, WRITE, triage),
        Route("GET", f"{one}/dependencies/blocking", list_blocking, READ, anyone=True),
        Route("GET", f"{one}/sub_issues", list_sub_issues, READ, anyone=True),
        Route("POST", f"{one}/sub_issues", add_sub_issue, WRITE, triage),
        Route("DELETE", f"{one}/sub_issue", remove_sub_issue, WRITE, triage),
        Route("GET", f"{one}/parent", get_parent, READ, anyone=True),
    ]
