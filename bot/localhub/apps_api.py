"""REST: Apps, their installations and tokens.

Promise: a token can be narrowed and never widened; a suspended installation gives none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from bot.localhub import present
from bot.localhub.actor import LEVELS, ActorKind, level_covers
from bot.localhub.http import ApiError, Reply, Request, Route, not_found
from bot.localhub.model import Account, App, Installation, Json, Repository

if TYPE_CHECKING:
    from bot.localhub.hub import Hub

NO_SUCH_REPOSITORY = (
    "There is at least one repository that does not exist or is not accessible to the parent installation."
)
NOT_GRANTED = "The permissions requested are not granted to this installation."
SUSPENDED = "This installation has been suspended"
NEW_VERSION = "2026-03-10"
"""The API version since which deleting an installation answers 202."""


def calling_app(request: Request) -> App:
    """The App of the JWT; the route has made sure that there is one."""
    assert request.actor.app is not None
    return request.actor.app


def own_installation(request: Request) -> Installation:
    """The installation in the path, if it belongs to the calling App."""
    found = request.hub.installations.get(request.number("installation_id"))
    if found is None or found.app is not calling_app(request):
        raise not_found()
    return found


async def get_app(request: Request) -> Reply:
    """`GET /app`."""
    app = calling_app(request)
    count = len(_installations(request.hub, app))
    return Reply(200, present.app(request.hub, app) | {"installations_count": count})


async def get_app_by_slug(request: Request) -> Reply:
    """`GET /apps/{app_slug}`."""
    found = next((x for x in request.hub.apps.values() if x.slug == request.params["slug"]), None)
    if found is None:
        raise not_found()
    return Reply(200, present.app(request.hub, found))


def _installations(hub: Hub, app: App) -> list[Installation]:
    return [x for x in hub.installations.values() if x.app is app]


async def list_installations(request: Request) -> Reply:
    """`GET /app/installations`."""
    found = _installations(request.hub, calling_app(request))
    return request.paginate([present.installation(request.hub, x) for x in found])


async def get_installation(request: Request) -> Reply:
    """`GET /app/installations/{installation_id}`."""
    return Reply(200, present.installation(request.hub, own_installation(request)))


async def delete_installation(request: Request) -> Reply:
    """Uninstall; 202 in the new API version, 204 before."""
    request.hub.uninstall(own_installation(request))
    version = request.headers.get("x-github-api-version", "")
    return Reply(202, {}) if version >= NEW_VERSION else Reply(204)


async def suspend(request: Request) -> Reply:
    """`PUT …/suspended`."""
    request.hub.suspend(own_installation(request))
    return Reply(204)


async def unsuspend(request: Request) -> Reply:
    """`DELETE …/suspended`."""
    request.hub.unsuspend(own_installation(request))
    return Reply(204)


async def repository_installation(request: Request) -> Reply:
    """`GET /repos/{owner}/{repo}/installation`."""
    repo = request.hub.find_repository(f"{request.params['owner']}/{request.params['repo']}")
    found = repo and request.hub.find_installation(calling_app(request), repo)
    if not found:
        raise not_found()
    return Reply(200, present.installation(request.hub, found))


async def account_installation(request: Request) -> Reply:
    """`GET /users/{username}/installation` and `GET /orgs/{org}/installation`."""
    account = request.hub.find_account(request.params["username"])
    found = account and request.hub.find_installation(calling_app(request), None, account)
    if not found:
        raise not_found()
    return Reply(200, present.installation(request.hub, found))


async def create_token(request: Request) -> Reply:
    """`POST …/access_tokens`, narrowed by `repositories`, `repository_ids` and `permissions`."""
    item, hub = own_installation(request), request.hub
    if item.suspended_at is not None:
        raise ApiError(403, SUSPENDED)
    body = request.body()
    repos = [hub.repositories[x] for x in sorted(item.repository_ids)]
    narrowed = _narrowed(body, repos)
    permissions = _permissions(body.get("permissions"), item)
    chosen = repos if narrowed is None else narrowed
    token = hub.tokens.for_installation(item, [x.id for x in chosen], permissions)
    assert token.expires_at is not None
    out: Json = {
        "token": token.value,
        "expires_at": present.time(token.expires_at),
        "permissions": dict(token.actor.permissions),
        "repository_selection": "selected",
    }
    if narrowed is not None:
        out["repositories"] = [present.repository(hub, x) for x in narrowed]
    return Reply(201, out)


def _narrowed(body: Json, repos: list[Repository]) -> list[Repository] | None:
    names, ids = body.get("repositories"), body.get("repository_ids")
    if names is None and ids is None:
        return None
    if not isinstance(names, list | None) or not isinstance(ids, list | None):
        raise ApiError(422, "repositories and repository_ids must be lists")
    wanted: list[Repository] = []
    for key in [*(names or []), *(ids or [])]:
        found = next((x for x in repos if key in (x.name, x.id)), None)
        if found is None:
            raise ApiError(422, NO_SUCH_REPOSITORY)
        if found not in wanted:
            wanted.append(found)
    return wanted


def _permissions(asked: object, item: Installation) -> dict[str, str]:
    if asked is None or asked == {}:
        return dict(item.permissions)
    if not isinstance(asked, dict):
        raise ApiError(422, "permissions must be an object")
    for name, level in cast("dict[str, object]", asked).items():
        have = "read" if name == "metadata" else item.permissions.get(name)
        if level not in LEVELS or not level_covers(have, str(level)):
            raise ApiError(422, NOT_GRANTED)
    return {str(k): str(v) for k, v in asked.items()}


async def revoke_token(request: Request) -> Reply:
    """`DELETE /installation/token`."""
    if request.actor.kind is not ActorKind.INSTALLATION:
        raise ApiError(403, "Resource not accessible by personal access token")
    request.hub.tokens.revoke(request.headers["authorization"].partition(" ")[2].strip())
    return Reply(204)


async def installation_repositories(request: Request) -> Reply:
    """`GET /installation/repositories`, as narrowed by the token."""
    actor = request.actor
    if not actor.is_app:
        raise ApiError(403, "You must authenticate with an installation access token")
    repos: Iterable[Repository] = (request.hub.repositories[x] for x in sorted(actor.repository_ids))
    shown = [present.repository(request.hub, x) for x in repos]
    return request.paginate(shown, "repositories", repository_selection="selected")


async def get_authenticated_user(request: Request) -> Reply:
    """`GET /user`: for people only."""
    if request.actor.kind is not ActorKind.USER:
        raise ApiError(403, "Resource not accessible by integration")
    return Reply(200, present.full_user(request.hub, request.actor.user))


async def get_user(request: Request) -> Reply:
    """`GET /users/{username}`, also for `<slug>[bot]`."""
    return Reply(200, present.full_user(request.hub, _account(request, "username")))


async def get_user_by_id(request: Request) -> Reply:
    """`GET /user/{account_id}`."""
    found = request.hub.accounts.get(request.number("account_id"))
    if found is None:
        raise not_found()
    return Reply(200, present.full_user(request.hub, found))


def _account(request: Request, name: str) -> Account:
    found = request.hub.find_account(request.params[name])
    if found is None:
        raise not_found()
    return found


async def check_member(request: Request) -> Reply:
    """204 for members; 404 for everybody if the token lacks `members: read`."""
    org, person = _account(request, "org"), _account(request, "username")
    actor = request.actor
    may = not actor.is_app or level_covers(actor.permissions.get("members"), "read")
    if not may or person.id not in org.members:
        raise not_found()
    return Reply(204)


async def rate_limit(request: Request) -> Reply:
    """`GET /rate_limit`, which costs nothing."""
    resources = request.hub.limits.overview(request.actor)
    out: Json = {"resources": resources}
    if request.headers.get("x-github-api-version", "") < NEW_VERSION:
        out["rate"] = resources["core"]
    return Reply(200, out)


async def meta(request: Request) -> Reply:
    """`GET /meta`: where webhooks come from."""
    return Reply(
        200,
        {
            "verifiable_password_authentication": False,
            "hooks": ["127.0.0.0/8", "::1/128"],
            "actions": ["127.0.0.0/8", "::1/128"],
        },
    )


def routes(hub: Hub) -> list[Route]:
    """All routes of this module."""
    one = "/app/installations/{installation_id}"
    return [
        Route("GET", "/app", get_app, app_jwt=True),
        Route("GET", "/apps/{slug}", get_app_by_slug, anyone=True),
        Route("GET", "/app/installations", list_installations, app_jwt=True),
        Route("GET", one, get_installation, app_jwt=True),
        Route("DELETE", one, delete_installation, app_jwt=True),
        Route("PUT", f"{one}/suspended", suspend, app_jwt=True),
        Route("DELETE", f"{one}/suspended", unsuspend, app_jwt=True),
        # A token changes nothing that anybody could see: it is not a write.
        Route("POST", f"{one}/access_tokens", create_token, app_jwt=True, writes=False),
        Route("GET", "/repos/{owner}/{repo}/installation", repository_installation, app_jwt=True),
        Route("GET", "/users/{username}/installation", account_installation, app_jwt=True),
        Route("GET", "/orgs/{username}/installation", account_installation, app_jwt=True),
        Route("DELETE", "/installation/token", revoke_token, writes=False),
        Route("GET", "/installation/repositories", installation_repositories),
        Route("GET", "/user", get_authenticated_user),
        Route("GET", "/user/{account_id}", get_user_by_id, anyone=True),
        Route("GET", "/users/{username}", get_user, anyone=True),
        Route("GET", "/orgs/{org}/members/{username}", check_member),
        Route("GET", "/rate_limit", rate_limit, anyone=True),
        Route("GET", "/meta", meta, anyone=True),
    ]
