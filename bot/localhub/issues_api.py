"""REST: issues, their labels, assignees, events, time line and lock.

Promise: on a pull request's number the caller needs `pull_requests`, on an issue's `issues`; what
the real service drops silently is dropped silently here too, and shown in the answer.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, cast

from bot.localhub import present
from bot.localhub.http import ApiError, Need, Reply, Request, Route, invalid
from bot.localhub.model import Issue, Json, Role

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

READ = (Need("issues", "read"), Need("pull_requests", "read"))
WRITE = (Need("issues", "write"), Need("pull_requests", "write"))
LOCK_REASONS = ("off-topic", "too heated", "resolved", "spam")


def wanted_issue(request: Request, level: str, role: Role = Role.READ) -> Issue:
    """The issue in the path, if the caller has the permission for its kind."""
    item = request.issue()
    kind = "pull_requests" if item.is_pull else "issues"
    request.actor.require(request.repo, kind, level, role=role)
    return item


def names_of(value: object, what: str) -> list[str]:
    """A list of strings (or of objects with a name). Raises ApiError 422."""
    if isinstance(value, list):
        names = [x.get("name") if isinstance(x, dict) else x for x in value]
        if all(isinstance(x, str) for x in names):
            return cast("list[str]", names)
    raise invalid("Issue", what)


def text_of(body: Json, name: str) -> str | None:
    """An optional string member. Raises ApiError 422 for another type."""
    value = body.get(name)
    if value is None or isinstance(value, str):
        return value
    raise ApiError(422, f"For '{name}', {value!r} is not a string or null.")


def since(request: Request) -> datetime | None:
    """The `since` parameter. Raises ApiError 422 if it is no ISO time."""
    text = request.query.get("since")
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise invalid("Issue", "since") from None
    if moment.tzinfo is None:
        raise invalid("Issue", "since")
    return moment


def assignee_names(body: Json) -> list[str] | None:
    """`assignees`, or the older `assignee`."""
    if body.get("assignees") is not None:
        return names_of(body["assignees"], "assignees")
    if "assignee" in body:
        one = text_of(body, "assignee")
        return [one] if one else []
    return None


async def list_issues(request: Request) -> Reply:
    """Issues and pull requests, filtered and sorted; newest first by default."""
    query, after = request.query, since(request)
    state = query.get("state", "open")
    if state not in ("open", "closed", "all"):
        raise invalid("Issue", "state")
    labels = [x.strip() for x in query.get("labels", "").split(",") if x.strip()]
    sees_pulls = request.actor.may(request.repo, "pull_requests", "read", role=Role.READ)
    assignee, creator = query.get("assignee"), query.get("creator")

    def fits(item: Issue) -> bool:
        logins = [x.login.lower() for x in item.assignees]
        return (
            not item.deleted
            and item.transferred_to is None
            and state in (item.state, "all")
            and all(item.label(x) is not None for x in labels)
            and (after is None or item.updated_at.replace(microsecond=0) >= after)
            and (sees_pulls or not item.is_pull)
            and (
                assignee is None
                or (assignee == "none" and not logins)
                or (assignee == "*" and bool(logins))
                or assignee.lower() in logins
            )
            and (creator is None or item.user.login.lower() == creator.lower())
        )

    found = [x for x in request.repo.issues.values() if fits(x)]
    match query.get("sort", "created"):
        case "created":
            found.sort(key=lambda x: (x.created_at, x.number))
        case "updated":
            found.sort(key=lambda x: (x.updated_at, x.number))
        case "comments":
            found.sort(key=lambda x: (len(x.comments), x.number))
        case _:
            raise invalid("Issue", "sort")
    if query.get("direction", "desc") == "desc":
        found.reverse()
    page, size = request.page()
    window = set(range((page - 1) * size, page * size))
    # Only what is on the page is rendered: a list of hundreds is asked for often.
    shown = [present.issue(request.hub, x) if i in window else x for i, x in enumerate(found)]
    return request.paginate(shown)


async def create_issue(request: Request) -> Reply:
    """`POST …/issues`."""
    if not request.repo.has_issues:
        raise ApiError(410, "Issues has been disabled in this repository.")
    body = request.body()
    item = request.hub.issues.open(
        request.repo,
        cast("str", body.get("title")),
        text_of(body, "body"),
        actor=request.actor,
        labels=names_of(body.get("labels") or [], "labels"),
        assignees=assignee_names(body) or [],
    )
    shown = present.issue(request.hub, item)
    return Reply(201, shown, {"Location": str(shown["url"])})


async def get_issue(request: Request) -> Reply:
    """`GET …/issues/{issue_number}`."""
    return Reply(200, present.issue(request.hub, wanted_issue(request, "read")))


async def edit_issue(request: Request) -> Reply:
    """`PATCH …/issues/{issue_number}`: labels and assignees given here replace the set."""
    item, actor, issues = wanted_issue(request, "write"), request.actor, request.hub.issues
    kind = "pull_requests" if item.is_pull else "issues"
    triage = actor.may(request.repo, kind, "write", role=Role.TRIAGE)
    if not triage and actor.user is not item.user:
        raise ApiError(403, "Must have admin rights to Repository.")
    body = request.body()
    labels = names_of(body["labels"], "labels") if body.get("labels") is not None else None
    people, state = assignee_names(body), text_of(body, "state")
    issues.edit(item, actor, title=text_of(body, "title"), body=text_of(body, "body"))
    if labels is not None and triage:
        request.hub.labels.replace(item, labels, actor)
    if people is not None and triage:
        issues.set_assignees(item, people, actor)
    if state is not None:
        reason = text_of(body, "state_reason")
        if reason not in (None, "completed", "not_planned", "duplicate", "reopened"):
            raise invalid("Issue", "state_reason")
        if item.is_pull:
            await request.hub.pulls.set_state(item, state, actor)
        else:
            issues.set_state(item, state, actor, reason=reason)
    return Reply(200, present.issue(request.hub, item))


# Labels of an issue


def _labels(request: Request, item: Issue) -> list[Json]:
    return [present.label(request.hub, item.repo, x) for x in item.labels]


def _label_names(request: Request) -> list[str]:
    """`["a"]`, `[{"name": "a"}]` or `{"labels": ["a"]}`; other forms are refused."""
    data = request.json()
    if isinstance(data, dict):
        data = data.get("labels")
        if isinstance(data, list) and any(not isinstance(x, str) for x in data):
            raise invalid("Label", "name", "missing_field")
    if not isinstance(data, list):
        raise ApiError(422, 'Invalid request.\n\nNo subschema in "oneOf" matched.')
    return names_of(data, "labels")


async def list_labels(request: Request) -> Reply:
    """`GET …/labels`."""
    return request.paginate(_labels(request, wanted_issue(request, "read")))


async def add_labels(request: Request) -> Reply:
    """`POST …/labels`: adds, answers with all."""
    item = wanted_issue(request, "write", Role.TRIAGE)
    request.hub.labels.add(item, _label_names(request), request.actor)
    return Reply(200, _labels(request, item))


async def set_labels(request: Request) -> Reply:
    """`PUT …/labels`: replaces the set."""
    item = wanted_issue(request, "write", Role.TRIAGE)
    request.hub.labels.replace(item, _label_names(request), request.actor)
    return Reply(200, _labels(request, item))


async def remove_label(request: Request) -> Reply:
    """`DELETE …/labels/{name}`: 404 `Label does not exist` if it is not there."""
    item = wanted_issue(request, "write", Role.TRIAGE)
    request.hub.labels.remove(item, request.params["name"], request.actor)
    return Reply(200, _labels(request, item))


async def remove_all_labels(request: Request) -> Reply:
    """`DELETE …/labels`."""
    item = wanted_issue(request, "write", Role.TRIAGE)
    request.hub.labels.replace(item, [], request.actor)
    return Reply(204)


# Assignees


async def add_assignees(request: Request) -> Reply:
    """`POST …/assignees`: 201 whatever was dropped."""
    item = wanted_issue(request, "write")
    names = assignee_names(request.body()) or []
    kind = "pull_requests" if item.is_pull else "issues"
    if request.actor.may(request.repo, kind, "write", role=Role.TRIAGE):
        request.hub.issues.assign(item, names, request.actor)
    return Reply(201, present.issue(request.hub, item))


async def remove_assignees(request: Request) -> Reply:
    """`DELETE …/assignees`."""
    item = wanted_issue(request, "write")
    names = assignee_names(request.body()) or []
    kind = "pull_requests" if item.is_pull else "issues"
    if request.actor.may(request.repo, kind, "write", role=Role.TRIAGE):
        request.hub.issues.unassign(item, names, request.actor)
    return Reply(200, present.issue(request.hub, item))


async def check_assignee(request: Request) -> Reply:
    """`GET …/issues/{issue_number}/assignees/{assignee}`: 204 or 404."""
    item = wanted_issue(request, "read")
    person = request.hub.find_account(request.params["assignee"])
    if person is None or not request.hub.issues.assignable(item.repo, person, item):
        raise ApiError(404, "Not Found")
    return Reply(204)


# Events, time line, lock


async def list_events(request: Request) -> Reply:
    """`GET …/issues/{issue_number}/events`, oldest first."""
    item = wanted_issue(request, "read")
    return request.paginate([present.issue_event(request.hub, item, x) for x in item.events])


async def list_repository_events(request: Request) -> Reply:
    """`GET …/issues/events`, newest first, each with its issue."""
    found = [(x, event) for x in request.repo.issues.values() for event in x.events]
    found.sort(key=lambda x: x[1].id, reverse=True)
    shown = [
        present.issue_event(request.hub, item, event) | {"issue": present.issue(request.hub, item)}
        for item, event in found
    ]
    return request.paginate(shown)


async def timeline(request: Request) -> Reply:
    """Events and comments together, oldest first."""
    item, hub = wanted_issue(request, "read"), request.hub
    rows: list[tuple[datetime, int, Json]] = [
        (x.created_at, x.id, present.issue_event(hub, item, x)) for x in item.events
    ]
    for comment in item.comments:
        shown = present.comment(hub, comment)
        shown |= {"event": "commented", "actor": present.simple_user(hub, comment.user)}
        rows.append((comment.created_at, comment.id, shown))
    rows.sort(key=lambda x: (x[0], x[1]))
    return request.paginate([x[2] for x in rows])


async def lock(request: Request) -> Reply:
    """`PUT …/lock`."""
    item = wanted_issue(request, "write", Role.WRITE)
    reason = text_of(request.body(), "lock_reason")
    if reason not in (None, *LOCK_REASONS):
        raise invalid("Issue", "lock_reason")
    request.hub.issues.lock(item, reason, request.actor)
    return Reply(204)


async def unlock(request: Request) -> Reply:
    """`DELETE …/lock`."""
    item = wanted_issue(request, "write", Role.WRITE)
    request.hub.issues.unlock(item, request.actor)
    return Reply(204)


def routes(hub: Hub) -> list[Route]:
    """All routes of this module; `events` precedes `{issue_number}`."""
    issues = "/repos/{owner}/{repo}/issues"
    one = f"{issues}/{{issue_number}}"
    labels = f"{one}/labels"
    read, triage = Role.READ, Role.TRIAGE
    return [
        Route("GET", issues, list_issues, READ, anyone=True),
        Route("POST", issues, create_issue, (Need("issues", "write"),), read, content=True),
        Route("GET", f"{issues}/events", list_repository_events, READ, anyone=True),
        Route("GET", one, get_issue, READ, anyone=True),
        Route("PATCH", one, edit_issue, WRITE, read),
        Route("GET", labels, list_labels, READ, anyone=True),
        Route("POST", labels, add_labels, WRITE, triage),
        Route("PUT", labels, set_labels, WRITE, triage),
        Route("DELETE", labels, remove_all_labels, WRITE, triage),
        Route("DELETE", f"{labels}/{{name+}}", remove_label, WRITE, triage),
        Route("POST", f"{one}/assignees", add_assignees, WRITE, read),
        Route("DELETE", f"{one}/assignees", remove_assignees, WRITE, read),
        Route("GET", f"{one}/assignees/{{assignee}}", check_assignee, READ),
        Route("GET", f"{one}/events", list_events, READ, anyone=True),
        Route("GET", f"{one}/timeline", timeline, READ, anyone=True),
        Route("PUT", f"{one}/lock", lock, WRITE),
        Route("DELETE", f"{one}/lock", unlock, WRITE),
    ]
