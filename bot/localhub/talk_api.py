"""REST: comments, reactions and the labels of a repository.

Promise: a person may change only their own comments (or anybody's with write access); an App may
change every comment its token reaches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.localhub import present
from bot.localhub.http import Need, Reply, Request, Route, not_found
from bot.localhub.issues_api import READ, WRITE, since, text_of, wanted_issue
from bot.localhub.labels import DEFAULT_COLOR
from bot.localhub.model import Comment, Issue, Label, Role

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

LABELS_READ = (Need("issues", "read"), Need("pull_requests", "read"))


def _comment(request: Request, level: str) -> Comment:
    wanted = request.number("comment_id")
    for item in request.repo.issues.values():
        if item.deleted or item.transferred_to is not None:
            continue
        for comment in item.comments:
            if comment.id == wanted:
                kind = "pull_requests" if item.is_pull else "issues"
                request.actor.require(request.repo, kind, level, role=Role.READ)
                return comment
    raise not_found()


def _own_comment(request: Request) -> Comment:
    comment, actor = _comment(request, "write"), request.actor
    if not actor.is_app and comment.user is not actor.user:
        actor.require(request.repo, "issues", "write", role=Role.WRITE)
    return comment


async def list_comments(request: Request) -> Reply:
    """`GET …/issues/{issue_number}/comments`, oldest first."""
    item, after = wanted_issue(request, "read"), since(request)
    found = [
        present.comment(request.hub, x)
        for x in item.comments
        if after is None or x.updated_at.replace(microsecond=0) >= after
    ]
    return request.paginate(found)


async def list_repository_comments(request: Request) -> Reply:
    """`GET …/issues/comments`: of all issues, with `since`, `sort` and `direction`."""
    after, by_update = since(request), request.query.get("sort") == "updated"
    found = [
        x
        for item in request.repo.issues.values()
        if not item.deleted and item.transferred_to is None
        for x in item.comments
        if after is None or x.updated_at.replace(microsecond=0) >= after
    ]
    found.sort(
        key=lambda x: (x.updated_at if by_update else x.created_at, x.id),
        reverse=request.query.get("direction", "asc") == "desc",
    )
    return request.paginate([present.comment(request.hub, x) for x in found])


async def create_comment(request: Request) -> Reply:
    """`POST …/comments`."""
    item = wanted_issue(request, "write")
    comment = request.hub.comments.create(item, request.body().get("body"), request.actor)
    shown = present.comment(request.hub, comment)
    return Reply(201, shown, {"Location": str(shown["url"])})


async def get_comment(request: Request) -> Reply:
    """`GET …/issues/comments/{comment_id}`."""
    return Reply(200, present.comment(request.hub, _comment(request, "read")))


async def edit_comment(request: Request) -> Reply:
    """`PATCH …/issues/comments/{comment_id}`."""
    comment = _own_comment(request)
    request.hub.comments.edit(comment, request.body().get("body"), request.actor)
    return Reply(200, present.comment(request.hub, comment))


async def delete_comment(request: Request) -> Reply:
    """`DELETE …/issues/comments/{comment_id}`."""
    request.hub.comments.delete(_own_comment(request), request.actor)
    return Reply(204)


# Reactions


def _target(request: Request, level: str) -> Issue | Comment:
    if "comment_id" in request.params:
        return _comment(request, level)
    return wanted_issue(request, level)


async def list_reactions(request: Request) -> Reply:
    """`GET …/reactions?content=`."""
    wanted = request.query.get("content")
    found = [x for x in _target(request, "read").reactions if wanted in (None, x.content)]
    return request.paginate([present.reaction(request.hub, x) for x in found])


async def create_reaction(request: Request) -> Reply:
    """`POST …/reactions`: 201, or 200 if it was there."""
    target, content = _target(request, "write"), request.body().get("content")
    reaction, new = request.hub.comments.react(target, content, request.actor)
    return Reply(201 if new else 200, present.reaction(request.hub, reaction))


async def delete_reaction(request: Request) -> Reply:
    """`DELETE …/reactions/{reaction_id}`: one's own."""
    target, wanted = _target(request, "write"), request.number("reaction_id")
    found = next((x for x in target.reactions if x.id == wanted), None)
    if found is None or found.user is not request.actor.user:
        raise not_found()
    target.reactions.remove(found)
    return Reply(204)


# Labels of a repository


def _label(request: Request) -> Label:
    found = request.repo.labels.get(request.params["name"].lower())
    if found is None:
        raise not_found()
    return found


async def list_labels(request: Request) -> Reply:
    """`GET …/labels`."""
    repo = request.repo
    return request.paginate([present.label(request.hub, repo, x) for x in repo.labels.values()])


async def create_label(request: Request) -> Reply:
    """`POST …/labels`."""
    body = request.body()
    label = request.hub.labels.create(
        request.repo,
        text_of(body, "name") or "",
        request.actor,
        color=text_of(body, "color") or DEFAULT_COLOR,
        description=text_of(body, "description"),
    )
    return Reply(201, present.label(request.hub, request.repo, label))


async def get_label(request: Request) -> Reply:
    """`GET …/labels/{name}`."""
    return Reply(200, present.label(request.hub, request.repo, _label(request)))


async def edit_label(request: Request) -> Reply:
    """`PATCH …/labels/{name}` with `new_name`, `color`, `description`."""
    label, body = _label(request), request.body()
    request.hub.labels.edit(
        request.repo,
        label,
        request.actor,
        name=text_of(body, "new_name"),
        color=text_of(body, "color"),
        description=text_of(body, "description"),
    )
    return Reply(200, present.label(request.hub, request.repo, label))


async def delete_label(request: Request) -> Reply:
    """`DELETE …/labels/{name}`."""
    request.hub.labels.delete(request.repo, _label(request), request.actor)
    return Reply(204)


def routes(hub: Hub) -> list[Route]:
    """All routes of this module; they must precede `…/issues/{issue_number}`."""
    repo = "/repos/{owner}/{repo}"
    comments = f"{repo}/issues/comments"
    one = f"{comments}/{{comment_id}}"
    on_issue = f"{repo}/issues/{{issue_number}}"
    label = f"{repo}/labels/{{name+}}"
    issues_write = (Need("issues", "write"), Need("pull_requests", "write"))
    out = [
        Route("GET", comments, list_repository_comments, READ, anyone=True),
        Route("GET", one, get_comment, READ, anyone=True),
        Route("PATCH", one, edit_comment, WRITE, Role.READ),
        Route("DELETE", one, delete_comment, WRITE, Role.READ),
        Route("GET", f"{on_issue}/comments", list_comments, READ, anyone=True),
        Route("POST", f"{on_issue}/comments", create_comment, WRITE, Role.READ, content=True),
        Route("GET", f"{repo}/labels", list_labels, LABELS_READ, anyone=True),
        Route("POST", f"{repo}/labels", create_label, issues_write),
        Route("GET", label, get_label, LABELS_READ, anyone=True),
        Route("PATCH", label, edit_label, issues_write),
        Route("DELETE", label, delete_label, issues_write),
    ]
    for base in (one, on_issue):
        out += [
            Route("GET", f"{base}/reactions", list_reactions, READ, anyone=True),
            Route("POST", f"{base}/reactions", create_reaction, WRITE, Role.READ),
            Route("DELETE", f"{base}/reactions/{{reaction_id}}", delete_reaction, WRITE, Role.READ),
        ]
    return out
