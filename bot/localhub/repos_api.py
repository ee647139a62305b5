"""REST: repositories and the people who work on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.localhub import present
from bot.localhub.actor import role_on
from bot.localhub.http import ApiError, Need, Reply, Request, Route, not_found
from bot.localhub.model import AccountType

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

METADATA = (Need("metadata", "read"),)


async def get_repository(request: Request) -> Reply:
    """`GET /repos/{owner}/{repo}`."""
    viewer = request.actor.account
    return Reply(200, present.full_repository(request.hub, request.repo, viewer=viewer))


async def get_permission(request: Request) -> Reply:
    """The role of a person; an App's bot is 404 `... is not a user`."""
    login = request.params["username"]
    person = request.hub.find_account(login)
    if person is None or person.type is not AccountType.USER:
        raise ApiError(404, f"{login} is not a user")
    role = role_on(request.repo, person)
    user = present.simple_user(request.hub, person) | {
        "permissions": (present.repository(request.hub, request.repo, viewer=person))["permissions"],
        "role_name": role.role_name,
    }
    return Reply(200, {"permission": role.permission, "user": user, "role_name": role.role_name})


async def check_assignee(request: Request) -> Reply:
    """204 if the person can be assigned, else 404."""
    person = request.hub.find_account(request.params["assignee"])
    if person is None or not request.hub.issues.assignable(request.repo, person):
        raise not_found()
    return Reply(204)


def routes(hub: Hub) -> list[Route]:
    """All routes of this module."""
    repo = "/repos/{owner}/{repo}"
    return [
        Route("GET", repo, get_repository, METADATA, anyone=True),
        Route("GET", f"{repo}/collaborators/{{username}}/permission", get_permission, METADATA),
        Route("GET", f"{repo}/assignees/{{assignee}}", check_assignee, METADATA),
    ]
