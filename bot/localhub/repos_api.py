"""REST: repositories and the people who work on them.

Promise: a caller learns of a private repository only if it may see it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.localhub import present
from bot.localhub.actor import role_on
from bot.localhub.http import ApiError, Need, Reply, Request, Route, invalid, not_found
from bot.localhub.model import Account, AccountType, Json, Role

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

METADATA = (Need("metadata", "read"),)
ADMINISTRATION = (Need("administration", "write"),)


async def get_repository(request: Request) -> Reply:
    """`GET /repos/{owner}/{repo}`."""
    viewer = request.actor.account
    return Reply(200, present.full_repository(request.hub, request.repo, viewer=viewer))


async def edit_repository(request: Request) -> Reply:
    """`PATCH /repos/{owner}/{repo}`: name, archived, description, merge settings."""
    repo, body, by = request.repo, request.body(), request.actor.user
    for setting in (
        "delete_branch_on_merge",
        "allow_merge_commit",
        "allow_squash_merge",
        "allow_rebase_merge",
        "has_issues",
    ):
        if isinstance(value := body.get(setting), bool):
            setattr(repo, setting, value)
    if isinstance(text := body.get("description"), str):
        repo.description = text
    if isinstance(name := body.get("name"), str) and name != repo.name:
        if request.hub.find_repository(f"{repo.owner.login}/{name}") not in (None, repo):
            raise invalid("Repository", "name", "already_exists")
        request.hub.rename_repo(repo, name, by=by)
    if isinstance(archived := body.get("archived"), bool) and archived != repo.archived:
        request.hub.set_archived(repo, archived, by=by)
    return Reply(200, present.full_repository(request.hub, repo, viewer=by))


async def user_repositories(request: Request) -> Reply:
    """`GET /user/repos`."""
    viewer = request.actor.user
    found = [
        present.repository(request.hub, x, viewer=viewer)
        for x in request.hub.repositories.values()
        if role_on(x, viewer) > Role.READ or viewer.id in x.collaborators
    ]
    return request.paginate(found)


def _with_role(request: Request, person: Account) -> Json:
    shown = present.repository(request.hub, request.repo, viewer=person)
    return present.simple_user(request.hub, person) | {
        "permissions": shown["permissions"],
        "role_name": role_on(request.repo, person).role_name,
    }


async def get_permission(request: Request) -> Reply:
    """The role of a person; an App's bot is 404 `... is not a user`."""
    login = request.params["username"]
    person = request.hub.find_account(login)
    if person is None or person.type is not AccountType.USER:
        raise ApiError(404, f"{login} is not a user")
    role = role_on(request.repo, person)
    user = _with_role(request, person)
    return Reply(200, {"permission": role.permission, "user": user, "role_name": role.role_name})


def _people(request: Request) -> list[Account]:
    repo = request.repo
    return [
        x
        for x in request.hub.accounts.values()
        if x.type is AccountType.USER and (x is repo.owner or x.id in repo.collaborators or x.id in repo.owner.members)
    ]


async def list_collaborators(request: Request) -> Reply:
    """`GET …/collaborators`."""
    return request.paginate([_with_role(request, x) for x in _people(request)])


async def check_collaborator(request: Request) -> Reply:
    """204 or 404."""
    login = request.params["username"].lower()
    if all(x.login.lower() != login for x in _people(request)):
        raise not_found()
    return Reply(204)


async def list_assignees(request: Request) -> Reply:
    """`GET …/assignees`."""
    hub = request.hub
    people = [x for x in hub.accounts.values() if hub.issues.assignable(request.repo, x)]
    return request.paginate([present.simple_user(hub, x) for x in people])


async def check_assignee(request: Request) -> Reply:
    """204 if the person can be assigned, else 404."""
    person = request.hub.find_account(request.params["assignee"])
    if person is None or not request.hub.issues.assignable(request.repo, person):
        raise not_found()
    return Reply(204)


def routes(hub: Hub) -> list[Route]:
    """All routes of this module."""
    repo = "/repos/{owner}/{repo}"
    people = f"{repo}/collaborators"
    return [
        Route("GET", repo, get_repository, METADATA, anyone=True),
        # Not a write to the repository's content: an archived one can be unarchived.
        Route("PATCH", repo, edit_repository, ADMINISTRATION, Role.ADMIN, writes=False),
        Route("GET", "/user/repos", user_repositories),
        Route("GET", people, list_collaborators, METADATA, Role.WRITE),
        Route("GET", f"{people}/{{username}}", check_collaborator, METADATA),
        Route("GET", f"{people}/{{username}}/permission", get_permission, METADATA),
        Route("GET", f"{repo}/assignees", list_assignees, METADATA),
        Route("GET", f"{repo}/assignees/{{assignee}}", check_assignee, METADATA),
    ]
